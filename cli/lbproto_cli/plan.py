"""What one run of `lb` is to do: flags, environment, file and defaults joined.

A flag wins over the environment, the environment over the file, the file over a
default. Files are read here, certificates too; nothing is opened for good or bound.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from lbproto.config import Backend, Config, Listen, Service, Upstream
from lbproto.config.shown import shown
from lbproto.machine.effects import Level, Target
from lbproto.machine.errors import LbError
from lbproto_cli.arguments import Options, level_of
from lbproto_cli.certificates import check_files
from lbproto_cli.load import Loaded, load
from lbproto_cli.problems import ConfigProblems, nearest
from lbproto_runtimes import RuntimeUnavailable, names, require
from lbproto_runtimes.privileges import PrivilegeError, identity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lbproto_cli.problems import Problem
    from lbproto_runtimes.contexts import Contexts

__all__ = [
    "DEMO_ADDRESS",
    "Plan",
    "Usage",
    "locked_out",
    "plan",
    "service_of_flags",
    "settle",
]

CLI: Final = "cli"
"""The service that flags make."""

DEMO_ADDRESS: Final = Target("127.0.0.1", 6188)

FALLBACK: Final = "asyncio"


class Usage(LbError):
    """The command line is wrong."""

    def __init__(self, message: str, *, ask: bool = False) -> None:
        super().__init__(message)
        self.ask = ask
        """Nothing was asked for: say what can be."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run, decided."""

    config: Config
    level: Level
    runtime: str
    notes: tuple[str, ...] = ()
    """Warnings for the log."""


def plan(options: Options, environ: Mapping[str, str], contexts: Contexts) -> Plan:
    """Decide what to run, and make the contexts of TLS that it takes.

    Raises:
        Usage: flags or environment are wrong or contradict each other.
        ConfigProblems: the file is wrong.
        Unreadable: there is no file to read.
    """
    _check_flags(options)
    return settle(options, environ, contexts)


def settle(
    options: Options,
    environ: Mapping[str, str],
    contexts: Contexts,
    given: Config | None = None,
) -> Plan:
    """Decide as `plan` does, for one that may have services from elsewhere.

    `given` takes the place of the file.

    Raises:
        Usage: flags or environment are wrong.
        ConfigProblems: the file is wrong.
        Unreadable: there is no file to read.
    """
    level = _level(options, environ)
    loaded: Loaded | None = None
    config = given or Config(services=(), upstreams={})
    if options.conf is not None and given is None:
        loaded = load(options.conf, names())
        if problems := [*check_files(loaded, contexts), *_strangers(loaded)]:
            raise ConfigProblems(problems)
        config = loaded.config
    config = _with_flags(config, options)
    runtime, notes = _runtime(options, loaded, config.runtime)
    threads = config.threads if options.threads is None else options.threads
    config = replace(config, runtime=runtime, threads=threads)
    return Plan(config, level, runtime, (*notes, *locked_out(config)))


def service_of_flags(
    name: str, listen: Sequence[Target], backends: Sequence[Target]
) -> tuple[Service, Upstream]:
    """Make a service, and the upstream of the same name, out of addresses."""
    upstream = Upstream(
        name=name, backends=tuple(Backend(target=target) for target in backends)
    )
    listens = tuple(Listen(target=target) for target in listen)
    return Service(name=name, upstream=name, listen=listens), upstream


def _strangers(loaded: Loaded) -> Iterator[Problem]:
    """Yield the user and the group of a file that this machine does not have."""
    for key, user, group in (
        ("user", loaded.config.user, None),
        ("group", None, loaded.config.group),
    ):
        try:
            identity(user, group)
        except PrivilegeError as error:
            yield loaded.problem((key,), str(error))


def _check_flags(options: Options) -> None:
    if options.demo:
        for flag, given in (("--conf", options.conf), ("--backend", options.backend)):
            if given:
                raise Usage(f"--demo brings its own backends, expected no {flag}")
        for flag, set_ in (
            ("--daemon", options.daemon),
            ("--upgrade", options.upgrade),
        ):
            if set_:
                raise Usage(f"--demo runs in the foreground, expected no {flag}")
        return
    if options.listen and not options.backend:
        raise Usage("--listen without --backend, expected at least one backend")
    if options.backend and not options.listen:
        raise Usage("--backend without --listen, expected an address to listen on")
    if options.conf is None and not options.listen:
        message = "nothing to do, expected --conf, --listen and --backend, or --demo"
        raise Usage(message, ask=True)


def _level(options: Options, environ: Mapping[str, str]) -> Level:
    if options.log_level is not None:
        return options.log_level
    text = environ.get("LB_LOG", "")
    if not text:
        return Level.INFO
    try:
        return level_of(text)
    except ValueError as error:
        raise Usage(f"LB_LOG: {error}") from None


def _with_flags(config: Config, options: Options) -> Config:
    seen = {
        str(listen.target): f"service {shown(service.name)}"
        for service in config.services
        for listen in service.listen
        if listen.target.path or listen.target.port
    }
    for target in options.listen:
        if str(target) in seen:
            where = seen[str(target)]
            raise Usage(f"--listen {target} is also an address of {where}")
        if target.path or target.port:
            seen[str(target)] = "another --listen"
    if not options.listen or options.demo:
        return config
    if CLI in config.upstreams or any(it.name == CLI for it in config.services):
        message = f"--listen and --backend make a service named {CLI}"
        raise Usage(f"{message}, expected no other of that name in the file")
    service, upstream = service_of_flags(CLI, options.listen, options.backend)
    return replace(
        config,
        services=(*config.services, service),
        upstreams={**config.upstreams, CLI: upstream},
    )


def locked_out(config: Config) -> Iterator[str]:
    """Warn of listeners that ask for what they believe of nobody."""
    for service in config.services:
        for listen in service.listen:
            if listen.target.path:
                believes, missing = service.trust_unix, "no unix: in trusted_proxies"
            else:
                believes, missing = bool(service.trusted_proxies), "no trusted_proxies"
            if listen.proxy_protocol and not believes:
                where = f"service {shown(service.name)}, {listen.target}"
                fate = "every connection will be refused"
                yield f"{where}: proxy_protocol with {missing}: {fate}"


def _runtime(
    options: Options, loaded: Loaded | None, configured: str
) -> tuple[str, tuple[str, ...]]:
    if options.runtime is not None:
        _check_runtime(options.runtime)
        return options.runtime, ()
    try:
        require(configured)
    except RuntimeUnavailable as error:
        if loaded is not None and loaded.states("runtime"):
            raise ConfigProblems([loaded.problem(("runtime",), str(error))]) from None
        return FALLBACK, (f"{error}; using {FALLBACK}",)
    return configured, ()


def _check_runtime(name: str) -> None:
    known = names()
    if name not in known:
        expected = f"expected {', '.join(known)}"
        raise Usage(f"--runtime {shown(name)}, {expected}{nearest(name, known)}")
    try:
        require(name)
    except RuntimeUnavailable as error:
        raise Usage(f"--runtime {name}: {error}") from None
