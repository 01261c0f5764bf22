"""Being the master of a running `lb`, at its start and at every reload.

Rights are given up between the two things that need them: when all listeners are
bound, and the logs and the pid file are open and belong to the new user. A process
that takes over gets its listeners late, so it keeps its rights until then.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from lbproto.machine.effects import Level
from lbproto_cli.announce import tell, tell_demo, warnings
from lbproto_cli.arguments import ExitStatus
from lbproto_cli.changes import changes, fixed
from lbproto_cli.load import read_backends
from lbproto_cli.pid_file import PidFile
from lbproto_cli.plan import Usage
from lbproto_runtimes import load
from lbproto_runtimes.contexts import Contexts
from lbproto_runtimes.early import import_early
from lbproto_runtimes.listen import (
    Listener,
    bind,
    handed_over,
    key_of,
    received,
    unlink,
)
from lbproto_runtimes.logs import Logs
from lbproto_runtimes.master import Master
from lbproto_runtimes.notify import Notify, inherited
from lbproto_runtimes.privileges import become, identity
from lbproto_runtimes.program import NOTHING, Program
from lbproto_runtimes.signals import HANDLED
from lbproto_runtimes.worker import Setup

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence

    from lbproto.config import Config
    from lbproto.handover.keys import ListenerKey
    from lbproto_cli.daemon import Detached
    from lbproto_cli.plan import Plan
    from lbproto_runtimes.api import Runtime

__all__ = ["Governor", "located"]


def located(config: Config, folder: str) -> Config:
    """Name files so that it does not matter where the process is."""

    def whole(path: str | None) -> str | None:
        return None if path is None else os.path.join(folder, path)

    return replace(
        config,
        error_log=whole(config.error_log),
        pid_file=whole(config.pid_file),
        upgrade_sock=whole(config.upgrade_sock),
    )


class Governor:
    """One run of the command; a context manager that gives back what it bound."""

    def __init__(
        self,
        decided: Plan,
        contexts: Contexts,
        runtime: Runtime,
        here: str,
        *,
        upgrade: bool,
        decide: Callable[[Contexts], Plan] | None,
        program: Program = NOTHING,
        demo_lines: Sequence[str] = (),
    ) -> None:
        """Begin with what was decided; `decide` does it again, for a reload.

        Raises:
            LbError: there is no such user or group.
        """
        self._upgrade = upgrade
        self._decide = decide
        self._program = program
        self._plan = decided
        self._config = decided.config
        self._contexts = contexts
        self._runtime = runtime
        self._here = here
        self._demo_lines = demo_lines
        self._who = identity(self._config.user, self._config.group)
        self._notify = Notify(os.environ)
        self._listeners: list[Listener] = []

    def __enter__(self) -> Governor:
        return self

    def __exit__(self, *exc: object) -> None:
        # The caller of a daemon is here too, so no file is removed.
        for listener in self._listeners:
            listener.socket.close()

    def bind(self) -> None:
        """Listen everywhere, on sockets that were handed over where there are some.

        Raises:
            BindError: an address cannot be had.
        """
        self._bind([handed_over(sock) for sock in inherited(os.environ)])

    def _bind(self, known: list[Listener]) -> None:
        try:
            self._listeners = bind(self._config, known)
        finally:
            for spare in known:
                if all(spare.socket is not one.socket for one in self._listeners):
                    spare.socket.close()  # the file does not name it

    def run(self, detached: Detached | None) -> int:
        """Be the master; return the exit status.

        Raises:
            LbError: it does not work.
        """
        config = self._config
        logs = Logs(config.error_log, self._plan.level)
        sys.unraisablehook = partial(_note, logs)

        def up() -> None:
            self._notify.ready()
            if detached is not None:
                detached.up()

        decide = self._decide
        renew = None if decide is None else partial(self._renew, logs, decide)
        master = Master(logs, pid_file := PidFile(config.pid_file), renew, up)
        try:
            with _stopped_early(), pid_file:
                self._who.own(config.error_log)
                if not self._upgrade:
                    pid_file.claim()
                    self._who.own(config.pid_file)
                    self._become()
                with master:
                    if not self._upgrade:
                        return master.serve(self._setup(logs))
                    users = () if self._who.user is None else (self._who.user,)
                    prepare = partial(self._received, logs)
                    return master.take_over(config, users, prepare)
        finally:
            if master.serves:
                self._notify.stopping()
            unlink(self._listeners)  # what the master has not got
            logs.close()

    def _become(self) -> None:
        """Give up rights, if the configuration says so."""
        if self._who.user is not None or self._who.group is not None:
            import_early(self._config, self._runtime.name, self._program)
        become(self._who)

    def _setup(self, logs: Logs) -> Setup:
        """Say what runs, and hand the listeners on."""
        listeners, self._listeners = self._listeners, []
        tell(self._plan, listeners, self._contexts, logs)
        if self._demo_lines:
            tell_demo(self._demo_lines, listeners)
        return Setup(
            self._config,
            self._runtime,
            listeners,
            self._contexts,
            read_backends,
            self._program,
        )

    def _received(
        self, logs: Logs, handed: list[tuple[ListenerKey, socket.socket]]
    ) -> Setup:
        """Bind what another process did not hand over, and give up rights."""
        targets = {
            key_of(listen.target): listen.target
            for service in self._config.services
            for listen in service.listen
        }
        try:
            known = [received(sock, targets[key]) for key, sock in handed]
        except BaseException:
            for _, sock in handed:
                sock.close()
            raise
        self._bind(known)
        self._become()
        return self._setup(logs)

    def _renew(
        self, logs: Logs, decide: Callable[[Contexts], Plan], old: Setup
    ) -> Setup:
        """Read the file again; nothing has changed if this raises."""
        self._notify.reloading()
        try:
            contexts = Contexts()
            decided = decide(contexts)
            config = located(decided.config, self._here)
            config, differ = fixed(old.config, config)
            if not config.services and not self._program.background:
                raise Usage("the file has no services any more")
            runtime = load(decided.runtime)
            listeners = bind(config, old.listeners)
        finally:
            self._notify.ready()
        for what, before, after in changes(old.config, config):
            about = {"key": what, "from": before, "to": after}
            logs.log(Level.INFO, "changed", about)
        for key in differ:
            logs.log(Level.WARNING, f"{key} changes with a restart only", {})
        for warning, fields in warnings(decided, contexts):
            logs.log(Level.WARNING, warning, fields)
        return Setup(config, runtime, listeners, contexts, read_backends, self._program)


def _note(logs: Logs, found: sys.UnraisableHookArgs) -> None:
    """Log an error that Python could only print, in one line.

    The ssl module meets one in the handshake of a client whose server name is not
    ASCII; the handshake fails then, which has a line of its own.
    """
    strange_name = isinstance(found.exc_value, UnicodeError)
    level = Level.DEBUG if strange_name else Level.ERROR
    detail = f"{type(found.exc_value).__name__}: {found.exc_value}"
    logs.log(level, "error in a callback", {"detail": detail})


@contextlib.contextmanager
def _stopped_early() -> Iterator[None]:
    """End well on a signal that comes before the master handles them."""

    def stop(signum: int, frame: object) -> None:
        raise SystemExit(ExitStatus.DONE)

    if threading.current_thread() is not threading.main_thread():
        yield  # signals are somebody else's
        return
    before = {
        number: signal.signal(
            number,
            # What else the master answers is not for one that does not serve.
            stop if number in (signal.SIGTERM, signal.SIGINT) else signal.SIG_IGN,
        )
        for number in HANDLED
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
