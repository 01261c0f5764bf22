"""A machine of an upgrade, fed one event at a time.

An effect may bring about the next event while it is carried out (what is sent may
have left at once), so events are queued: the machine is never entered twice, and
its effects are carried out in order.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from lbproto.handover.events import Wake

if TYPE_CHECKING:
    from collections.abc import Callable

    from lbproto.handover.effects import Effect

__all__ = ["Sequence"]

E_contra = TypeVar("E_contra", contravariant=True)
E = TypeVar("E")


class Machine(Protocol[E_contra]):
    """One side of an upgrade."""

    @property
    def deadline(self) -> float:
        """When to feed `Wake`."""
        ...

    def handle(self, event: E_contra, now: float, /) -> list[Effect]:
        """Advance by one fact."""
        ...


class Sequence(Generic[E]):
    """Events in, effects out."""

    def __init__(
        self, machine: Machine[E | Wake], perform: Callable[[Effect], None]
    ) -> None:
        self._machine = machine
        self._perform = perform
        self._queue: deque[E | Wake] = deque()
        self._busy = False

    @property
    def deadline(self) -> float:
        """When to call `tick`, on the monotonic clock."""
        return self._machine.deadline

    def tick(self) -> None:
        """Tell the machine the time, if it waits for that."""
        if self._machine.deadline <= time.monotonic():
            self.feed(Wake())

    def feed(self, event: E | Wake) -> None:
        """Tell the machine a fact, and carry out what it orders."""
        self._queue.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._queue:
                event = self._queue.popleft()
                for effect in self._machine.handle(event, time.monotonic()):
                    self._perform(effect)
        finally:
            self._busy = False
