"""A server whose services a program brings along: Pingora's `Server`.

    server = Server(Opt.parse_args())
    server.bootstrap()
    ...
    server.add_service(proxy)
    server.run_forever()

It is `lb` in all else: the same master and workers, the same file, which may have
services of its own, the same signals, upgrades and exit statuses. A reload reads the
file again; what the program has added stays.

With `-u` the sockets come from the process that runs once this one is ready to use
them, that is in `run`: until then the other one serves.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import TYPE_CHECKING, Any, Final, NoReturn

from lbproto.config.shown import shown
from lbproto.phases.http import coroutine_phases
from lbproto_cli.arguments import ExitStatus, Options, program_parser
from lbproto_cli.load import STDIN
from lbproto_cli.plan import locked_out, settle
from lbproto_cli.running import ServiceError, check_upgrade, end, outcome, serve
from lbproto_cli.services import BackgroundService, HttpProxyService
from lbproto_runtimes.contexts import Contexts, TlsConfigError
from lbproto_runtimes.program import Program

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from lbproto.config import Config, Service
    from lbproto.machine.effects import Level
    from lbproto_cli.plan import Plan

__all__ = ["Opt", "Server"]

WITHOUT_LOOP: Final = ("gevent", "threads")
"""Runtimes that cannot await."""


@dataclass(slots=True, kw_only=True)
class Opt:
    """What a command line says; see `lb --help`."""

    conf: str | None = None
    daemon: bool = False
    upgrade: bool = False
    test: bool = False
    runtime: str | None = None
    threads: int | None = None
    log_level: Level | None = None

    @classmethod
    def parse_args(cls, args: Sequence[str] | None = None) -> Opt:
        """Read a command line; None: the process's own.

        It ends the process if that is wrong, or asks for help.
        """
        found = Options()
        program_parser().parse_args(args, namespace=found)
        return cls(**vars(found))

    def options(self) -> Options:
        """Return it as the command reads it."""
        found = Options(listen=[], backend=[], demo=False)
        for name in self.__slots__:
            setattr(found, name, getattr(self, name))
        return found


class Server:
    """A master and its workers, for services of a program and of a file."""

    def __init__(
        self, opt: Opt | None = None, configuration: Config | None = None
    ) -> None:
        """Do nothing yet. A configuration that is given takes the place of the file."""
        self._options = (opt or Opt()).options()
        self._given = configuration
        self._contexts = Contexts()
        self._plan: Plan | None = None
        self._proxies: list[HttpProxyService] = []
        self._background: list[BackgroundService[Any]] = []
        self._environ = dict(os.environ)

    @property
    def configuration(self) -> Config:
        """What the file says, or what was given, with flags and defaults.

        Raises:
            LbError: that is wrong.
        """
        return self._settled().config

    def bootstrap(self) -> None:
        """Read and check the configuration.

        It ends the process, with the status of `lb`, if something is wrong or if no
        more than a test was asked for.
        """
        status = outcome(self._check, self._options)
        if status:
            sys.exit(status)
        if self._options.test:
            print("lb: the configuration is valid, exiting", file=sys.stderr)
            sys.exit(ExitStatus.DONE)

    def add_service(self, service: HttpProxyService | BackgroundService[Any]) -> None:
        """Run a service.

        Raises:
            ServiceError: it needs an event loop, and the runtime has none.
            LbError: the configuration is wrong.
        """
        if isinstance(service, BackgroundService):
            self._background.append(service)
            return
        _check_runtime(service, self._settled().runtime)
        taken = [one.name for one in self.configuration.services]
        taken += [one.name for one in self._proxies]
        name = _distinct(service.name, taken)
        service.options = replace(service.options, name=name)
        self._proxies.append(service)

    def add_services(
        self, services: Iterable[HttpProxyService | BackgroundService[Any]]
    ) -> None:
        """Run several services; see `add_service`."""
        for service in services:
            self.add_service(service)

    def run(self) -> int:
        """Serve until a signal ends it; return the exit status of `lb`.

        As a daemon it goes on in the background, and this returns when that serves.
        """
        self.bootstrap()
        return outcome(self._serve, self._options)

    def run_forever(self) -> NoReturn:
        """Serve until a signal ends it, and end the process."""
        end(self.run())

    # -- how it is done --------------------------------------------------------

    def _settled(self) -> Plan:
        if self._plan is None:
            given, options = self._given, self._options
            found = settle(options, self._environ, self._contexts, given)
            if given is not None and options.conf is not None:
                note = "the program has its own configuration; --conf is not read"
                found = replace(found, notes=(*found.notes, note))
            self._plan = found
        return self._plan

    def _check(self) -> int:
        return check_upgrade(self._options, self._settled().config)

    def _serve(self) -> int:
        decided = self._complete(self._settled(), self._contexts)
        if not decided.config.services:
            raise ServiceError("nothing to serve, expected a service with a listener")
        reads = self._given is None and self._options.conf not in (None, STDIN)
        program = Program(
            {one.name: one.application for one in self._proxies},
            {name: one.task() for name, one in self._named().items()},
        )
        decide = self._decide if reads else None
        return serve(self._options, decided, self._contexts, decide, program)

    def _decide(self, contexts: Contexts) -> Plan:
        """Read the file again, for a reload."""
        found = settle(self._options, self._environ, contexts)
        return self._complete(found, contexts)

    def _complete(self, found: Plan, contexts: Contexts) -> Plan:
        """Add the program's services to what was read.

        Raises:
            ServiceError: they do not go together.
        """
        config = found.config
        added = [one.options for one in self._proxies]
        for one in self._proxies:
            _check_runtime(one, found.runtime)
        _check_names(config, added, self._named())
        _check_listeners([*config.services, *added])
        for service in added:
            _check_certificates(service, contexts)
        notes = locked_out(replace(config, services=tuple(added)))
        config = replace(config, services=(*config.services, *added))
        return replace(found, config=config, notes=(*found.notes, *notes))

    def _named(self) -> dict[str, BackgroundService[Any]]:
        """Return the background services, each under a name of its own."""
        named: dict[str, BackgroundService[Any]] = {}
        for one in self._background:
            named[_distinct(one.name, named)] = one
        return named


def _distinct(wanted: str, taken: Collection[str]) -> str:
    """Return a name that nobody has, with a number if need be."""
    numbered = (f"{wanted}-{number}" for number in count(2))
    return next(name for name in chain([wanted], numbered) if name not in taken)


def _check_runtime(service: HttpProxyService, runtime: str) -> None:
    phases = coroutine_phases(service.application)
    if runtime in WITHOUT_LOOP and phases:
        kind = type(service.application).__name__
        names = ", ".join(f"{kind}.{name}" for name in phases)
        are = (
            "is a coroutine function" if len(phases) == 1 else "are coroutine functions"
        )
        message = f"{names} {are}, which the runtime {runtime} cannot await"
        raise ServiceError(f"{message}, expected asyncio or uvloop")


def _check_names(
    config: Config, added: Iterable[Service], background: Iterable[str]
) -> None:
    names = [service.name for service in config.services]
    for service in added:
        if service.name in names:
            message = f"the program and the file have a service {shown(service.name)}"
            raise ServiceError(f"{message}, expected different names")
    for name in background:
        if name in config.upstreams:
            message = f"a background service is named {shown(name)}"
            raise ServiceError(f"{message}, expected no upstream of that name")


def _check_listeners(services: Iterable[Service]) -> None:
    seen: dict[str, str] = {}
    for service in services:
        for listen in service.listen:
            target = listen.target
            address, name = str(target), shown(service.name)
            if address in seen:
                message = f"{address} is an address of service {seen[address]}"
                raise ServiceError(f"{message} and of service {name}")
            if target.path or target.port:
                seen[address] = name


def _check_certificates(service: Service, contexts: Contexts) -> None:
    for listen in service.listen:
        if listen.tls is not None:
            try:
                contexts.server(listen.tls)
            except TlsConfigError as error:
                where = f"service {shown(service.name)}, {listen.target}"
                raise ServiceError(f"{where}: cannot use {error}") from None
