"""One timer for all the deadlines of a hub.

Each idle client has a deadline, and a timer of an event loop for each of them would be
half of what the client costs. So deadlines wait in a heap, and whoever runs the hub has
to know the first. An entry counts only if it is what its owner is armed for; the
others are dropped when they come to the top.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Alarm", "Alarms", "Call"]

SLACK: Final = 64
"""Spares a small heap from being rebuilt all the time."""


class Alarm:
    """Who is ticked; a driver is one.

    A class to inherit from, since its time is looked at for each that was armed.
    """

    __slots__ = ("armed_at",)

    def __init__(self, at: float) -> None:
        self.armed_at = at
        """When, in seconds; entries for other times count no more."""

    def tick(self) -> None:
        """The time has come; it may arm itself again."""
        raise NotImplementedError


class Call(Alarm):
    """Something to be called once."""

    __slots__ = ("_call",)

    def __init__(self, at: float, call: Callable[[], object]) -> None:
        super().__init__(at)
        self._call = call

    def tick(self) -> None:
        """Call it."""
        self.armed_at = math.inf
        self._call()


class Alarms:
    """When to tick whom."""

    __slots__ = ("_count", "_entries", "_limit")

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Alarm]] = []
        self._count = 0  # alarms are not compared
        self._limit = SLACK

    @property
    def next(self) -> float:
        """The time of the first entry, or earlier; infinity if there is none."""
        return self._entries[0][0] if self._entries else math.inf

    def arm(self, alarm: Alarm, at: float) -> None:
        """Tick at a time; `alarm.armed_at` says so too."""
        self._count += 1
        heapq.heappush(self._entries, (at, self._count, alarm))
        if len(self._entries) > self._limit:
            self._tidy()

    def ring(self, now: float) -> None:
        """Tick those whose time has come."""
        while self._entries and self._entries[0][0] <= now:
            entry = heapq.heappop(self._entries)
            if self._holds(entry):
                entry[2].tick()
        while self._entries and not self._holds(self._entries[0]):
            heapq.heappop(self._entries)

    def clear(self) -> None:
        """Tick nobody any more."""
        self._entries.clear()

    def _tidy(self) -> None:
        """Drop what does not count; paid for by as many that were armed."""
        self._entries = [entry for entry in self._entries if self._holds(entry)]
        heapq.heapify(self._entries)
        self._limit = 2 * len(self._entries) + SLACK

    def _holds(self, entry: tuple[float, int, Alarm]) -> bool:
        return entry[2].armed_at == entry[0]
