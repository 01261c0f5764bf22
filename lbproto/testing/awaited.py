"""Coroutines of applications on a clock that exists only as data.

`Sim` runs what an application awaits with this: no loop, no system clock. A coroutine
may await `sleep` of this module, and others that end in it.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from types import coroutine
from typing import Any

from lbproto.machine.effects import Await
from lbproto.machine.env import Machine
from lbproto.machine.events import Settled

__all__ = ["Awaited", "sleep"]


@coroutine
def sleep(seconds: float) -> Generator[float, None, None]:
    """Wait for some seconds of virtual time."""
    yield seconds


class Awaited:
    """What is awaited for the machines of one simulator."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, int], _Waiting] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def deadline(self) -> float:
        """When the next of them goes on; infinite when there is none."""
        return min((one.due for one in self._waiting.values()), default=math.inf)

    def begin(self, machine: Machine, effect: Await, now: float) -> None:
        """Await something from now on; it does not run before `ripe`."""
        steps = effect.awaitable.__await__()
        waiting = _Waiting(machine, effect, steps, now)
        self._waiting[id(machine), effect.ticket] = waiting

    def cancel(self, machine: Machine, ticket: int) -> None:
        """Cancel it, if it still runs."""
        waiting = self._waiting.pop((id(machine), ticket), None)
        if waiting is not None:
            waiting.steps.close()

    def ripe(self, now: float) -> tuple[Machine, Settled] | None:
        """Run what is due; return the next answer, and whose it is."""
        for key, waiting in list(self._waiting.items()):
            while waiting.due <= now:
                settled = waiting.step()
                if settled is not None:
                    del self._waiting[key]
                    return waiting.machine, settled
        return None


class _Waiting:
    def __init__(
        self,
        machine: Machine,
        effect: Await,
        steps: Generator[Any, Any, object],
        now: float,
    ) -> None:
        self.machine = machine
        self.effect = effect
        self.steps = steps
        self.due = now

    def step(self) -> Settled | None:
        conn, ticket = self.effect.conn, self.effect.ticket
        try:
            seconds = self.steps.send(None)
        except StopIteration as stop:
            return Settled(conn, ticket, stop.value)
        except Exception as error:
            return Settled(conn, ticket, None, error)
        assert isinstance(seconds, int | float), "await `sleep` of this module only"
        self.due += seconds
        return None
