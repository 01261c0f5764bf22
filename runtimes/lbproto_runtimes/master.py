"""The master process: signals, reloads, upgrades.

It holds the listening sockets and never touches what comes over them. It waits for
signals, for what workers say and for their end, and for the other process of an
upgrade. It has no thread and no event loop, so that it may fork at any time.

One thing happens at a time: a reload waits for the upgrade that runs, and an upgrade
for the reload.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from typing import TYPE_CHECKING, Protocol

from lbproto.handover.events import HandedOn, WorkersFailed, WorkersReady
from lbproto.handover.events import Interrupted as UpgradeInterrupted
from lbproto.handover.keys import ListenerKey
from lbproto.handover.times import Times
from lbproto.machine.effects import Level
from lbproto.machine.errors import LbError, LocalProtocolError
from lbproto.processes.facts import (
    Interrupted,
    Left,
    Resumed,
    Terminated,
)
from lbproto_runtimes.hand_over import HandOver
from lbproto_runtimes.listen import key_of, own
from lbproto_runtimes.signals import signals
from lbproto_runtimes.take_over import TakeOver
from lbproto_runtimes.upgrade_sock import Meeting
from lbproto_runtimes.watch import Watch
from lbproto_runtimes.workforce import Workforce

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from lbproto.config import Config
    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.moved import Moved
    from lbproto_runtimes.worker import Setup

__all__ = ["Master", "Office", "UpgradeFailed"]


class UpgradeFailed(LbError):
    """This process was to take over, and could not."""


class Office(Protocol):
    """What only the process has that serves: the pid file."""

    def take(self) -> None:
        """The service is this process's.

        Raises:
            LbError: that could not be written down.
        """
        ...

    def leave(self) -> None:
        """The service is another process's."""
        ...


class Master:
    """Starts workers and answers signals, until all is over; a context manager."""

    def __init__(
        self,
        logs: Logs,
        office: Office,
        renew: Callable[[Setup], Setup] | None,
        up: Callable[[], None],
    ) -> None:
        """`renew` makes the next setup, or raises `LbError`; `up`: we serve."""
        self._logs = logs
        self._office = office
        self._renew = renew
        self._up = up
        self._watch = Watch()
        self._workers: Workforce | None = None
        self._generation = 1
        """Counts over upgrades, too."""
        self._prepare: Callable[[Received], Setup] | None = None
        self._take_over: TakeOver | None = None
        self._hand_over: HandOver | None = None
        self._taken: list[str] = []
        """Listeners that came from another process, or have gone to one."""
        self.serves = True
        """The service is this process's, and not its successor's."""
        self._due: list[Callable[[], None]] = []
        self._ending = False
        self._status: int | None = None
        self._failure = ""
        self._stack = contextlib.ExitStack()
        self._own: list[int] = []
        """Descriptors of ours that are not watched."""

    def __enter__(self) -> Master:
        """Take note of signals from now on; `serve` or `take_over` answers them."""
        self._own = self._stack.enter_context(signals(self._watch, self._signalled))
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()
        if self._take_over is not None:
            self._take_over.close()
        if self._workers is not None:
            self._workers.close()

    def serve(self, setup: Setup) -> int:
        """Serve until a signal ends it; return the exit status."""
        self._begin(setup)
        return self._run()

    def take_over(
        self,
        config: Config,
        users: Collection[int],
        prepare: Callable[[Received], Setup],
    ) -> int:
        """Take the service over from the process that runs, then serve.

        `users`: who may hand over beside this one and root. `prepare` binds what was
        not received; it may raise `LbError`.

        Raises:
            UpgradeFailed: the other process goes on.
        """
        path = config.upgrade_sock
        assert path is not None, "checked by who calls"
        self._prepare = prepare
        self.serves = False
        owner = next(iter(users), None)
        meeting = Meeting(path, config.upgrade_sock_mode, owner)
        keys = [
            key_of(listen.target)
            for service in config.services
            for listen in service.listen
            if listen.target.path or listen.target.port
        ]
        self._take_over = TakeOver(
            self, self._watch, self._logs, meeting, users, keys, times_of(config)
        )
        self._take_over.begin()
        return self._run()

    def _begin(self, setup: Setup) -> None:
        self._workers = Workforce(setup, self, self._watch, self._logs)
        self._workers.begin()

    def _run(self) -> int:
        while self._status is None:
            self._watch.turn(self._deadline())
            self._pass_time()
        if self._failure:
            raise UpgradeFailed(self._failure)
        return self._status

    def _deadline(self) -> float:
        upgrades = (self._take_over, self._hand_over)
        times = [one.sequence.deadline for one in upgrades if one is not None]
        if self._workers is not None:
            times.append(self._workers.deadline)
        return min(times)

    def _pass_time(self) -> None:
        if self._workers is not None:
            self._workers.tick()
        if self._take_over is not None:
            self._take_over.tick()
        if self._hand_over is not None:
            self._hand_over.sequence.tick()
            if self._hand_over.machine.over:
                self._hand_over = None
        if self._due and not self._busy and not self._ending:
            self._due.pop(0)()

    @property
    def _busy(self) -> bool:
        """Something has begun that must end before the next."""
        changing = self._workers is None or self._workers.changing
        taking = self._take_over is not None and self._take_over.machine.busy
        return changing or taking or self._hand_over is not None

    # -- signals -------------------------------------------------------------

    def _signalled(self, number: int) -> None:
        match number:
            case signal.SIGTERM | signal.SIGINT:
                self._interrupted(signal.Signals(number).name)
            case signal.SIGUSR1:
                self._logs.reopen()
                if self._workers is not None:
                    self._workers.reopen()
            case signal.SIGHUP:
                self._later(self._reload, "a reload")
            case signal.SIGQUIT if self._hand_over is not None:
                self._hand_over.begin()  # it says that it has
            case signal.SIGQUIT if not self.serves:
                # Told to all of us at once, by name; it means the other one.
                message = "no upgrade of a process that does not serve"
                self._logs.log(Level.INFO, message, {})
            case signal.SIGQUIT:
                self._later(self._upgrade, "an upgrade")

    def _later(self, do: Callable[[], None], what: str) -> None:
        """Do it when nothing else is under way, unless the end has begun."""
        if self._ending:
            self._logs.log(Level.WARNING, f"too late for {what}", {})
            return
        if self._busy:
            self._logs.log(Level.INFO, f"{what} waits for what is under way", {})
        self._due.append(do)

    def _interrupted(self, name: str) -> None:
        """Stop; the machine of an upgrade has its word before."""
        if self._hand_over is not None:
            if self._take_over is not None:
                self._take_over.sequence.feed(HandedOn())
            self._hand_over.sequence.feed(UpgradeInterrupted(name))
        elif self._take_over is not None:
            self._take_over.sequence.feed(UpgradeInterrupted(name))
        else:
            self.stop(name)

    def _reload(self) -> None:
        if self._renew is None or self._workers is None:
            self._logs.log(Level.WARNING, "there is no file to reload", {})
            return
        try:
            setup = self._renew(self._workers.setup)
        except LbError as error:
            detail = {"detail": str(error)}
            self._logs.log(Level.ERROR, "the configuration stays as it is", detail)
            return
        self._workers.renew(setup)

    def _upgrade(self) -> None:
        workers = self._workers
        assert workers is not None, "nothing is under way"
        config = workers.setup.config
        if config.upgrade_sock is None:
            message = "no upgrade without upgrade_sock in the configuration"
            self._logs.log(Level.ERROR, message, {})
            return
        generation = self._generation + workers.newest - 1
        keys = [listener.key for listener in workers.setup.listeners]
        path, times = config.upgrade_sock, times_of(config)
        self._hand_over = HandOver(
            self, workers, self._watch, self._logs, path, keys, generation, times
        )
        self._hand_over.begin()

    # -- what workers bring about --------------------------------------------

    def up(self, generation: int) -> None:
        """All workers of a generation are ready."""
        if self._take_over is not None:
            self._take_over.sequence.feed(WorkersReady())
        if self.serves:
            self._is_up()

    def _is_up(self) -> None:
        up, self._up = self._up, _nothing
        up()

    def ended(self, status: int) -> None:
        """All workers have ended, and none is to be started."""
        if status and self._take_over is not None and self._take_over.machine.busy:
            self._workers = None
            reason = "a worker ended; the log tells why"
            self._take_over.sequence.feed(WorkersFailed(reason))
        self._status = status

    def private(self) -> Iterable[int]:
        """Descriptors that no child may keep."""
        upgrades = (self._take_over, self._hand_over)
        held = [fd for one in upgrades if one is not None for fd in one.private()]
        return [*self._own, *held]

    # -- what an upgrade orders, at either end -------------------------------

    @property
    def _staff(self) -> Workforce:
        if self._workers is None:
            raise LocalProtocolError("there are no workers yet")
        return self._workers

    def start(self, received: Received) -> None:
        """Bind what was not received, and start workers.

        Raises:
            LbError: that does not work.
        """
        assert self._prepare is not None, "to take over is what begins it"
        assert self._take_over is not None, "to take over is what begins it"
        self._taken = [key for key, _ in received]
        self._generation = self._take_over.machine.generation
        self._begin(self._prepare(received))

    def adopt(self, moved: Moved) -> None:
        """Have a worker serve a client."""
        self._staff.adopt(moved)

    def take_service(self) -> None:
        """The service is ours, or ours again."""
        self.serves = True
        try:
            self._office.take()
        except LbError as error:
            self._logs.log(Level.ERROR, "serving without it", {"detail": str(error)})
        own(it for it in self._staff.listeners if it.key in self._taken)
        self._staff.tell(Resumed())
        self._is_up()

    def yield_service(self, taken: Collection[ListenerKey]) -> None:
        """The service is another process's, and so are these listeners."""
        self.serves = False
        self._taken = list(taken)
        self._office.leave()
        for listener in self._staff.listeners:
            if listener.key in self._taken:
                listener.inode = None
        if self._take_over is not None:
            self._take_over.sequence.feed(HandedOn())

    def stop(self, name: str) -> None:
        """Do what a signal asks for."""
        self._ending = True
        if self._workers is None:
            self._status = 0
            return
        self._workers.tell(Terminated() if name == "SIGTERM" else Interrupted())
        self._workers.close_listeners()

    def leave(self, reason: str) -> None:
        """End with the last client."""
        self._ending = True
        self._logs.log(Level.INFO, "leaving", {"reason": reason})
        self._staff.tell(Left())

    def fail(self, reason: str) -> None:
        """End: the other process goes on."""
        self._ending = True
        self._failure = reason
        if self._workers is None:
            self._status = 3
        else:
            self._workers.tell(Interrupted())


Received = list[tuple[ListenerKey, socket.socket]]


def times_of(config: Config) -> Times:
    """Return how long the operator has patience with an upgrade."""
    return Times(config.upgrade_timeout, config.upgrade_bake)


def _nothing() -> None:
    """What was to be done is done."""
