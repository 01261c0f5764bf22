"""The workers of a master, and what they serve.

Carries out what the `Supervisor` decides, and keeps a setup for each generation: a
listener is closed when no generation has it any more. For an upgrade, all workers
are asked the same things: to hold listeners, to give up clients, to go on with some.
"""

from __future__ import annotations

import os
import resource
import time
from typing import TYPE_CHECKING, Final, Protocol

from lbproto.machine.effects import Level, Log
from lbproto.processes.channel import Kind, Message
from lbproto.processes.facts import (
    Deed,
    Down,
    Exit,
    Exited,
    Fact,
    Kill,
    Ready,
    Renewed,
    Reopened,
    Start,
    Started,
    Tell,
    Terms,
    Tick,
    Up,
    WorkerId,
    Yielded,
)
from lbproto.processes.supervisor import Supervisor
from lbproto_runtimes.children import Children, worker_count
from lbproto_runtimes.listen import unlink
from lbproto_runtimes.moved import Moved, message, unpack
from lbproto_runtimes.prober import Prober
from lbproto_runtimes.rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.watch import Watch
    from lbproto_runtimes.worker import Setup

__all__ = ["Employer", "Workforce"]

SPARE: Final = 64
"""Descriptors that a master keeps free while it holds clients of its workers."""


def terms_of(setup: Setup) -> Terms:
    """Say what the supervisor has to know of a configuration."""
    config = setup.config
    return Terms(
        worker_count(config.threads),
        config.grace_period_seconds,
        config.graceful_shutdown_timeout_seconds,
    )


class Employer(Protocol):
    """The master."""

    def up(self, generation: int) -> None:
        """All workers of a generation are ready."""
        ...

    def ended(self, status: int) -> None:
        """All workers have ended, and none is to be started."""
        ...

    def private(self) -> Iterable[int]:
        """Descriptors that no child may keep, beside those that are watched."""
        ...


class Workforce:
    """All workers, of all generations."""

    def __init__(
        self, setup: Setup, employer: Employer, watch: Watch, logs: Logs
    ) -> None:
        self._setups = {1: setup}
        self._newest = 1
        self._whole = False
        self._employer = employer
        self._watch = watch
        self._logs = logs
        self._supervisor = Supervisor(terms_of(setup))
        # Room for several generations at a time; without a place one goes without.
        places = 4 * terms_of(setup).workers + 16
        self._children = Children(self, watch, logs, places)
        self._prober = Prober(watch, logs, self._tell_all, self.private)
        self._rounds = Rounds()
        self._held: dict[str, None] = {}
        self._given_up: list[Moved] = []
        self._left = 0
        self._waiting: list[Moved] = []
        """Clients for whom there is no worker yet."""
        self._turn = 0

    def begin(self) -> None:
        """Start the first workers."""
        self.tell(Started())

    @property
    def setup(self) -> Setup:
        """The newest configuration that was accepted."""
        return self._setups[max(self._setups)]

    @property
    def changing(self) -> bool:
        """A generation is about to take over, be it the first."""
        return not self._whole or len(self._setups) > 1

    @property
    def newest(self) -> int:
        """The number of the newest generation."""
        return self._newest

    @property
    def clients(self) -> int:
        """How many clients there are."""
        return self._children.clients

    @property
    def deadline(self) -> float:
        """When to call `tick`, on the monotonic clock."""
        return min(self._supervisor.deadline, self._prober.deadline)

    def tick(self) -> None:
        """Time has passed."""
        if self._supervisor.deadline <= time.monotonic():
            self.tell(Tick())
        self._prober.tick()

    def tell(self, fact: Fact) -> None:
        """Tell the supervisor a fact, and do what it decides."""
        for deed in self._supervisor.handle(fact, time.monotonic()):
            self._do(deed)

    def renew(self, setup: Setup) -> None:
        """Have a new generation of workers take over."""
        self._newest += 1
        self._setups[self._newest] = setup
        self.tell(Renewed(terms_of(setup)))

    # -- what workers do -----------------------------------------------------

    def told(self, worker: WorkerId, told: Message) -> None:
        """A worker has said something."""
        match told.kind:
            case Kind.READY:
                fields = {"worker": worker, "worker_pid": self._children.pid(worker)}
                self._logs.log(Level.INFO, "worker ready", fields)
                self.tell(Ready(worker))
                waiting, self._waiting = self._waiting, []
                self.give_back(waiting)
            case Kind.IDLE:
                self._given_up += unpack(told)
            case Kind.COLLECTED:
                left = told.fields["left"]
                assert isinstance(left, int)
                self._left += left
                self._rounds.answered(worker, told.kind)
            case _:
                self._rounds.answered(worker, told.kind)

    def exited(self, worker: WorkerId, how: str, clean: bool) -> None:
        """A worker's process is gone."""
        self._rounds.exited(worker)
        self.tell(Exited(worker, how, clean))

    def private(self, kept: Sequence[Listener] = ()) -> Iterable[int]:
        """Descriptors that a child may not keep; it keeps these listeners.

        A copy of another one would leave it open when it is closed here.
        """
        used = [it.socket for it in kept]
        held = [it.sock for it in (*self._given_up, *self._waiting)]
        held += [it.socket for it in self.listeners if it.socket not in used]
        own = [*self._watch.descriptors, *self._employer.private()]
        return [*own, *(sock.fileno() for sock in held)]

    def _tell_all(self, message: Message) -> None:
        for worker in self._children.alive:
            self._children.tell(worker, message)

    # -- deeds ---------------------------------------------------------------

    def _do(self, deed: Deed) -> None:
        match deed:
            case Start(worker, generation):
                setup, known = self._setups[generation], self._prober.bulletin
                self._children.start(worker, setup, self._held, known)
            case Tell(worker, said):
                self._children.tell(worker, said)
            case Kill(worker):
                self._children.kill(worker)
            case Up(generation):
                self._whole = True
                self._drop([it for it in self._setups if it < generation])
                fields = {"generation": generation}
                self._logs.log(Level.INFO, "generation serves", fields)
                self._prober.serve(self._setups[generation])
                self._employer.up(generation)
            case Down(generation):
                self._drop([generation])
            case Log():
                self._logs.perform(deed)
            case Exit(status):
                for one in self._waiting:
                    one.sock.close()
                self._employer.ended(status)

    def _drop(self, generations: list[int]) -> None:
        """Forget configurations, and close the listeners that no other one has."""
        dropped = [self._setups.pop(number) for number in generations]
        kept = [it.socket for it in self.listeners]
        for setup in dropped:
            gone = [it for it in setup.listeners if it.socket not in kept]
            for listener in gone:
                listener.socket.close()
            unlink(gone)

    # -- listeners -----------------------------------------------------------

    @property
    def listeners(self) -> list[Listener]:
        """The listeners of all generations; some have the same socket."""
        return [it for setup in self._setups.values() for it in setup.listeners]

    def close(self) -> None:
        """Probe no more, close what is left, and remove the files of sockets."""
        self._prober.end()
        self.close_listeners()
        unlink(self.listeners)

    def reopen(self) -> None:
        """Have everybody open the logs anew."""
        self._prober.reopen()
        self.tell(Reopened())

    def close_listeners(self, keys: Collection[str] | None = None) -> None:
        """Leave these sockets, or all, to the workers.

        They see to what waits in their queues.
        """
        for listener in self.listeners:
            if keys is None or listener.key in keys:
                listener.socket.close()

    def descriptor(self, key: str) -> int:
        """Return the descriptor of a listener."""
        listeners = self.setup.listeners
        return next(it.socket.fileno() for it in listeners if it.key == key)

    def drain(self, taken: Collection[str]) -> None:
        """Have clients end; listeners that nobody took are served on."""
        left = any(listener.key not in taken for listener in self.setup.listeners)
        self.tell(Yielded(left))

    def hold(self, keys: Collection[str], done: Callable[[], None]) -> None:
        """Have no worker accept on these listeners, and say when."""
        self._held.update(dict.fromkeys(keys))
        self._ask(Message(Kind.HOLD, {"keys": list(keys)}), Kind.HELD, done)

    def accept(self, keys: Collection[str]) -> None:
        """Have workers accept on these listeners again."""
        for key in keys:
            self._held.pop(key, None)
        for worker in self._children.alive:
            self._children.tell(worker, Message(Kind.ACCEPT, {"keys": list(keys)}))

    # -- clients -------------------------------------------------------------

    def collect(
        self, keys: Collection[str], done: Callable[[list[Moved], int], None]
    ) -> None:
        """Have workers give up idle clients of these listeners."""
        self._left = 0

        def all_answered() -> None:
            given_up, self._given_up = self._given_up, []
            done(given_up, self._left)

        most = _room() // max(1, len(self._children.alive))
        order = Message(Kind.COLLECT, {"keys": list(keys), "most": most})
        self._ask(order, Kind.COLLECTED, all_answered)

    def give_back(self, moved: Iterable[Moved]) -> None:
        """Have workers go on with clients that they gave up."""
        for one in moved:
            self.adopt(one)

    def adopt(self, one: Moved) -> None:
        """Have a worker serve a client."""
        workers = self._supervisor.ready
        if not workers and self._supervisor.starting:
            self._waiting.append(one)
            return
        workers = workers or self._children.alive
        if not workers:
            one.sock.close()
            return
        self._turn += 1
        worker = workers[self._turn % len(workers)]
        order = message([one])
        one.sock.detach()  # closed when it has left
        self._children.tell(worker, order)

    def _ask(self, order: Message, answer: Kind, done: Callable[[], None]) -> None:
        workers = self._children.alive
        self._rounds.ask(answer, workers, done)
        for worker in workers:
            self._children.tell(worker, order)


def _room() -> int:
    """Return how many more descriptors this process may have."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        limit = 1 << 20
    return max(0, limit - len(os.listdir("/proc/self/fd")) - SPARE)
