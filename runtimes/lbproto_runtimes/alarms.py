"""One timer of an event loop for all the deadlines of a server.

Each idle client has a deadline, and a timer of the loop for each of them would be
half of what the client costs. So deadlines wait in a heap, and the loop has a timer
for the first. An entry counts only if it is what its driver is armed for; the
others are dropped when they come to the top.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

    from lbproto_runtimes.perform import Driver

__all__ = ["Alarms"]

SLACK: Final = 64
"""Spares a small heap from being rebuilt all the time."""


class Alarms:
    """When to tick which driver."""

    __slots__ = ("_at", "_count", "_entries", "_handle", "_limit", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._entries: list[tuple[float, int, Driver]] = []
        self._count = 0  # drivers are not compared
        self._limit = SLACK
        self._at = math.inf
        self._handle: asyncio.TimerHandle | None = None

    def arm(self, driver: Driver, at: float) -> None:
        """Tick a driver at a time; its `armed_at` says so too."""
        self._count += 1
        heapq.heappush(self._entries, (at, self._count, driver))
        if len(self._entries) > self._limit:
            self._tidy()
        if at < self._at:
            self._set(at)

    def _tidy(self) -> None:
        """Drop what does not count; paid for by as many that were armed."""
        self._entries = [entry for entry in self._entries if self._holds(entry)]
        heapq.heapify(self._entries)
        self._limit = 2 * len(self._entries) + SLACK

    def stop(self) -> None:
        """Tick nobody any more."""
        self._entries.clear()
        self._at = math.inf
        if self._handle is not None:
            self._handle.cancel()

    def _set(self, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._at = at
        self._handle = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._at = math.inf
        now = self._loop.time()
        while (first := self._first()) is not None and first[0] <= now:
            heapq.heappop(self._entries)
            first[2].tick()
        if first is not None and first[0] < self._at:
            self._set(first[0])

    def _first(self) -> tuple[float, int, Driver] | None:
        """Return the first entry that counts."""
        entries = self._entries  # a tick may have replaced it
        while entries and not self._holds(entries[0]):
            heapq.heappop(entries)
        return entries[0] if entries else None

    def _holds(self, entry: tuple[float, int, Driver]) -> bool:
        return entry[2].armed_at == entry[0]
