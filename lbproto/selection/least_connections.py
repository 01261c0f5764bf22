"""The backend with the fewest exchanges in flight per weight.

As nginx's `least_conn` and HAProxy's `leastconn`; one worker knows all of its own
exchanges. Equals take turns by weight, or else everything would go to the first
backend while there is little to do: each has the place where its next turn would
begin (start-time fair queueing: Goyal, Vin, Cheng, SIGCOMM 1996), and who comes
back does not catch up on turns it missed.

A heap orders them. What changes gets a new entry, and the old one is dropped when
it comes to the top, or when the dead outnumber the living: O(log n).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from lbproto.selection.backend import BackendId, BackendState
from lbproto.selection.chooser import Chooser
from lbproto.selection.load import load

__all__ = ["LeastConnections"]

Entry: TypeAlias = tuple[float, float, BackendId, int, BackendState]
"""Its load, its place among equals, who it is, and a number that no other has."""

SLACK: Final = 16
"""Spares a small heap from being rebuilt all the time."""


class LeastConnections(Chooser):
    """Compares the loads of the backends of one upstream."""

    __slots__ = ("_clock", "_count", "_entries", "_heap")

    def __init__(self, backends: Sequence[BackendState] = ()) -> None:
        """Begin with these, all in; those with a past are not behind the others."""
        self._clock = min((one.turn for one in backends if one.turn), default=0.0)
        self._count = 0
        self._entries: dict[BackendId, Entry] = {}
        self._heap: list[Entry] = []
        for backend in backends:
            self.enter(backend)

    def pick(self, key: bytes, now: float) -> BackendState | None:
        """Return the least loaded; the key is ignored."""
        heap, entries = self._heap, self._entries
        while heap:
            entry = heap[0]
            known = entries.get(entry[2])
            if known is not None and known[3] == entry[3]:
                return entry[4]
            heapq.heappop(heap)
        return None

    def walk(self, key: bytes, now: float) -> Iterator[BackendState]:
        """Yield from the least to the most loaded."""
        for entry in sorted(self._entries.values()):
            yield entry[4]

    def enter(self, backend: BackendState) -> None:
        """Compare it from now on."""
        backend.turn = max(backend.turn, self._clock)
        heapq.heappush(self._heap, self._entry(backend))

    def leave(self, backend: BackendState) -> None:
        """Compare it no more."""
        del self._entries[backend.id]

    def leased(self, backend: BackendState) -> None:
        """Move its place among equals behind the turn that it has had."""
        self._clock = max(self._clock, backend.turn)
        backend.turn = self._clock + 1.0 / backend.weight
        self._move(backend)

    def released(self, backend: BackendState) -> None:
        """Put it where its load belongs."""
        self._move(backend)

    def ramped(self, backend: BackendState) -> None:
        """Put it where its load belongs."""
        self._move(backend)

    def _move(self, backend: BackendState) -> None:
        old = self._entries.get(backend.id)
        if old is None:
            return
        heap = self._heap
        entry = self._entry(backend)
        if heap[0][3] == old[3]:
            heapq.heapreplace(heap, entry)
            return
        heapq.heappush(heap, entry)
        if len(heap) > 2 * (len(self._entries) + SLACK):
            self._heap = list(self._entries.values())
            heapq.heapify(self._heap)

    def _entry(self, backend: BackendState) -> Entry:
        """Make the entry of a backend that counts from now on."""
        self._count += 1
        entry = (load(backend), backend.turn, backend.id, self._count, backend)
        self._entries[backend.id] = entry
        return entry
