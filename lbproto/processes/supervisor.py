"""Who works: the master's decisions, without a process.

The `Supervisor` starts workers, replaces those that die, and ends them when the
operator says so. It sees facts (a worker is ready, has exited, a signal came) and
orders deeds (start one, tell one, kill one). Workers are numbered and never reused;
each belongs to a generation, which is one configuration.

A worker that dies is replaced at once. If it lived for less than a second its
successor waits, each time twice as long: something is broken, and starting
processes as fast as the machine can does not mend it.

A new generation takes over when all of its workers are ready, and not before: then
the old ones are told to drain. If one of the new ones dies first, the new
generation is given up and the old one goes on. A worker that cannot even start when
the first generation does ends all: nobody is served, and whoever started us waits.

After an upgrade the service is another process's, so workers retire and are not
replaced; it may come back, and then they are started anew.
"""

from __future__ import annotations

import math
from enum import Enum, auto
from typing import Final, assert_never

from lbproto.machine.effects import Level, Log
from lbproto.processes.channel import Kind, Message
from lbproto.processes.facts import (
    Deed,
    Down,
    Exit,
    Exited,
    Fact,
    Interrupted,
    Kill,
    Left,
    Ready,
    Renewed,
    Reopened,
    Resumed,
    Start,
    Started,
    Tell,
    Terminated,
    Terms,
    Tick,
    Up,
    WorkerId,
    Yielded,
)

__all__ = ["Supervisor"]

SHORT_LIFE: Final = 1.0
"""Seconds; who dies younger makes its successor wait."""
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
"""Seconds between the deaths of young workers and the next start."""
FAILED: Final = 4
"""The exit status when the first workers do not start."""
MERCY: Final = 5.0
"""Seconds that a worker may take to end, beyond what it was given, until it is
killed."""


class Stage(Enum):
    """How far a worker is."""

    STARTING = auto()
    READY = auto()
    ENDING = auto()


class _Worker:
    __slots__ = ("generation", "kill_at", "stage", "started")

    def __init__(self, generation: int, now: float) -> None:
        self.generation = generation
        self.started = now
        self.stage = Stage.STARTING
        self.kill_at = math.inf


class Supervisor:
    """The master's mind."""

    def __init__(self, terms: Terms) -> None:
        self._terms = {1: terms}
        self._current = 1
        """The generation that serves, or is to."""
        self._whole = False
        """The first generation has been ready."""
        self._next = 0
        """The generation that is to take over; 0 if there is none."""
        self._newest = 1
        self._workers: dict[WorkerId, _Worker] = {}
        self._last = 0
        self._pause = 0.0
        self._restart_at = math.inf
        self._owed = 0
        """Workers to be started at `_restart_at`."""
        self._resting = False
        """Another process serves, and nobody is to be started."""
        self._ending = False
        self._patient = False
        """The end is that of the last client, and nobody has asked for an earlier."""
        self._fast = False
        self._status = 0
        self._out: list[Deed] = []

    @property
    def deadline(self) -> float:
        """When to feed `Tick`; infinite when nothing is armed."""
        times = [worker.kill_at for worker in self._workers.values()]
        return min([self._restart_at, *times])

    @property
    def ready(self) -> list[WorkerId]:
        """Those who serve, and go on."""
        return self._in(Stage.READY)

    @property
    def starting(self) -> bool:
        """Somebody will serve soon."""
        return bool(self._in(Stage.STARTING) or self._owed)

    def _in(self, stage: Stage) -> list[WorkerId]:
        return [it for it, worker in self._workers.items() if worker.stage is stage]

    def handle(self, fact: Fact, now: float, /) -> list[Deed]:
        """Advance by one fact."""
        self._out = []
        match fact:
            case Started():
                for _ in range(self._terms[1].workers):
                    self._start(1, now)
            case Ready(worker):
                self._ready(worker, now)
            case Exited(worker, how, clean):
                self._exited(worker, how, clean, now)
            case Terminated():
                self._terminate(now)
            case Interrupted():
                self._stop(now)
            case Reopened():
                for worker in self._workers:
                    self._out.append(Tell(worker, Message(Kind.REOPEN, {})))
            case Renewed(terms):
                self._renew(terms, now)
            case Yielded(left):
                self._yield(left, now)
            case Resumed():
                self._resume(now)
            case Left():
                self._leave(now)
            case Tick():
                self._tick(now)
            case _ as never:
                assert_never(never)
        return self._out

    # -- birth ---------------------------------------------------------------

    def _start(self, generation: int, now: float) -> None:
        self._last += 1
        worker = WorkerId(self._last)
        self._workers[worker] = _Worker(generation, now)
        self._out.append(Start(worker, generation))

    def _ready(self, number: WorkerId, now: float) -> None:
        worker = self._workers.get(number)
        if worker is None or worker.stage is not Stage.STARTING:
            return
        worker.stage = Stage.READY
        if worker.generation == self._next and self._is_whole(self._next):
            before, self._current, self._next = self._current, self._next, 0
            self._pause, self._restart_at, self._owed = 0.0, math.inf, 0
            self._out.append(Up(self._current))
            for other, old in self._workers.items():
                if old.generation == before:
                    self._retire(other, old, now)
        elif not self._whole and self._is_whole(self._current):
            self._whole = True
            self._out.append(Up(self._current))

    def _is_whole(self, generation: int) -> bool:
        ready = [
            worker
            for worker in self._workers.values()
            if worker.generation == generation and worker.stage is Stage.READY
        ]
        return len(ready) >= self._terms[generation].workers

    def _renew(self, terms: Terms, now: float) -> None:
        if self._ending:
            return
        if self._next:
            self._give_up(now)  # overtaken before it was whole
        self._newest += 1
        self._next = self._newest
        self._terms[self._next] = terms
        for _ in range(terms.workers):
            self._start(self._next, now)

    # -- an upgrade ----------------------------------------------------------

    def _yield(self, left: bool, now: float) -> None:
        if self._next:
            self._give_up(now)
        self._retire_all(now)
        self._resting = True
        self._restart_at, self._owed = math.inf, 0
        if left:
            self._resume(now)

    def _resume(self, now: float) -> None:
        if self._resting and not self._ending:
            self._resting = False
            for _ in range(self._terms[self._current].workers):
                self._start(self._current, now)

    def _leave(self, now: float) -> None:
        if not self._ending:
            self._begin_end()
            self._patient = True
            self._retire_all(now)
            self._check_over()

    def _retire_all(self, now: float) -> None:
        for number, worker in self._workers.items():
            if worker.stage is not Stage.ENDING:
                self._retire(number, worker, now)

    # -- death ---------------------------------------------------------------

    def _exited(self, number: WorkerId, how: str, clean: bool, now: float) -> None:
        worker = self._workers.pop(number, None)
        if worker is None:
            return
        expected = worker.stage is Stage.ENDING
        if not (expected and clean):
            fields = {"worker": number, "how": how}
            self._out.append(Log(Level.ERROR, "worker died", fields))
        if self._ending:
            self._check_over()
        elif expected or self._resting:
            pass
        elif not self._whole and worker.stage is Stage.STARTING:
            self._status = FAILED
            self._stop(now)
        elif worker.generation == self._next:
            message = "the new configuration does not start; the old one goes on"
            self._out.append(Log(Level.ERROR, message, {}))
            self._give_up(now)
        elif now - worker.started >= SHORT_LIFE:
            self._pause = 0.0
            self._start(self._current, now)
        else:
            self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
            self._owed += 1
            self._restart_at = min(self._restart_at, now + self._pause)

    def _give_up(self, now: float) -> None:
        """End the generation that was to take over."""
        for number, worker in self._workers.items():
            if worker.generation == self._next and worker.stage is not Stage.ENDING:
                self._end(number, worker, Message(Kind.STOP, {}), now + MERCY)
        self._out.append(Down(self._next))
        self._next = 0

    # -- the end -------------------------------------------------------------

    def _terminate(self, now: float) -> None:
        if self._ending and not self._patient:
            self._stop(now)  # a second time: at once
            return
        self._patient = False
        self._begin_end()
        message = {"signal": "SIGTERM"}
        self._out.append(Log(Level.INFO, "stopping gracefully", message))
        for number, worker in self._workers.items():
            self._drain(number, worker, now)
        self._check_over()

    def _stop(self, now: float) -> None:
        if self._fast:
            return
        self._begin_end()
        self._fast = True
        self._out.append(Log(Level.INFO, "stopping at once", {}))
        for number, worker in self._workers.items():
            self._end(number, worker, Message(Kind.STOP, {}), now + MERCY)
        self._check_over()

    def _begin_end(self) -> None:
        self._ending = True
        self._restart_at, self._owed = math.inf, 0

    def _check_over(self) -> None:
        if not self._workers:
            # Another process serves on, and may write into the same log.
            message = "left" if self._patient else "stopped"
            self._out.append(Log(Level.INFO, message, {}))
            self._out.append(Exit(self._status))

    def _drain(self, number: WorkerId, worker: _Worker, now: float) -> None:
        """Let a worker end as the operator says, even if it retires already."""
        terms = self._terms[worker.generation]
        times: dict[str, object] = {"grace": terms.grace, "timeout": terms.timeout}
        latest = now + terms.grace + terms.timeout + MERCY
        order = Message(Kind.DRAIN, times)
        self._end(number, worker, order, min(latest, worker.kill_at))

    def _retire(self, number: WorkerId, worker: _Worker, now: float) -> None:
        """Let a worker end when its clients do: others take the new ones.

        Closing an idle connection under a client that is just sending would lose a
        request, so all the time there is, is grace.
        """
        patience = self._terms[worker.generation].timeout
        times: dict[str, object] = {"grace": patience, "timeout": 0.0}
        order = Message(Kind.DRAIN, times)
        self._end(number, worker, order, now + patience + MERCY)

    def _end(
        self, number: WorkerId, worker: _Worker, order: Message, latest: float
    ) -> None:
        worker.stage = Stage.ENDING
        worker.kill_at = latest
        self._out.append(Tell(number, order))

    # -- time ----------------------------------------------------------------

    def _tick(self, now: float) -> None:
        if self._restart_at <= now:
            owed, self._owed, self._restart_at = self._owed, 0, math.inf
            for _ in range(owed):
                self._start(self._current, now)
        for number, worker in self._workers.items():
            if worker.kill_at <= now:
                worker.kill_at = math.inf
                fields = {"worker": number}
                self._out.append(Log(Level.WARNING, "worker killed", fields))
                self._out.append(Kill(number))
