"""Smooth weighted round robin, in the order of nginx, without its scan.

On each turn every backend gains its weight, the one with most is chosen (the first
of equals), and it pays back what was handed out. Weights 5, 1, 1 so give a a b a c
a a, not a a a a a b c: a heavy backend gets its share without bursts, and over one
cycle of sum(weights) turns every share is exact. See nginx commit
52327e0627f49dbda1e8db695e63a4b0af4448b1, "Upstream: smooth weighted round-robin
balancing".

nginx adds to every backend on every turn. Here nobody gains anything: after `turn`
turns a backend has `weight * turn - paid`, and only the chosen one's `paid` changes.
Among backends of one weight the one with least paid is first, whatever the turn, so
each weight has a heap, and a turn compares the heads of the heaps: O(log n + d) for d
different weights. The order is nginx's to the last pick.

A backend that is out takes no part in the turns: it neither gains nor adds to what
the chosen one pays, and comes back with what it had.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from lbproto.selection.backend import BackendId, BackendState
from lbproto.selection.policy import Policy

__all__ = ["RoundRobin"]

Entry: TypeAlias = tuple[int, BackendId, BackendState]
"""What it has paid, and who it is."""


class RoundRobin(Policy):
    """Turns of the backends of one upstream."""

    __slots__ = ("_heaps", "_total", "_turn")

    def __init__(self, backends: Iterable[BackendState] = ()) -> None:
        """Begin with these, all in."""
        self._heaps: dict[int, list[Entry]] = {}
        self._total = 0
        self._turn = 0
        for backend in backends:
            self.enter(backend)

    def pick(self, key: bytes, now: float) -> BackendState | None:
        """Give the turn to the next; the key is ignored."""
        self._turn = turn = self._turn + 1
        heaps = self._heaps
        if len(heaps) == 1:
            (chosen,) = heaps.values()
        else:
            most, first, chosen = -math.inf, 0, []
            for weight, heap in heaps.items():
                paid, at, _ = heap[0]
                claim = weight * turn - paid
                if claim > most or (claim == most and at < first):
                    most, first, chosen = claim, at, heap
            if not chosen:
                return None
        paid, at, backend = chosen[0]
        heapq.heapreplace(chosen, (paid + self._total, at, backend))
        return backend

    def walk(self, key: bytes, now: float) -> Iterator[BackendState]:
        """Yield the next turns."""
        while (backend := self.pick(key, now)) is not None:
            yield backend

    def enter(self, backend: BackendState) -> None:
        """Let a backend take part, with the smooth weight that it left with."""
        weight = backend.weight
        self._total += weight
        entry = (weight * self._turn - backend.current, backend.id, backend)
        heapq.heappush(self._heaps.setdefault(weight, []), entry)

    def leave(self, backend: BackendState) -> None:
        """Let a backend take no part, and keep its smooth weight."""
        weight = backend.weight
        heap = self._heaps[weight]
        (entry,) = (entry for entry in heap if entry[2] is backend)
        backend.current = weight * self._turn - entry[0]
        self._total -= weight
        heap.remove(entry)
        heapq.heapify(heap)
        if not heap:
            del self._heaps[weight]
