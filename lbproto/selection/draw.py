"""Drawing backends by lot, each as likely as its weight.

The weights are summed up once, and a draw is a binary search for where a random
number falls: O(log n); with equal weights it is a multiplication. Two different
ones are drawn without a second try: the second number falls into what is left when
the first one's stretch is cut out.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import accumulate

from lbproto.selection.backend import BackendId, BackendState

__all__ = ["Lots"]


class Lots:
    """The backends that can be drawn."""

    __slots__ = ("_backends", "_ends", "_equal", "_total")

    def __init__(self, backends: Iterable[BackendState] = ()) -> None:
        self._backends = sorted(backends, key=_place)
        self._sum_up()

    def __len__(self) -> int:
        return len(self._backends)

    def add(self, backend: BackendState) -> None:
        """Let one more be drawn."""
        at = bisect_left(self._backends, backend.id, key=_place)
        self._backends.insert(at, backend)
        self._sum_up()

    def remove(self, backend: BackendState) -> None:
        """Let one not be drawn any more."""
        self._backends.remove(backend)
        self._sum_up()

    def one(self, number: float) -> BackendState:
        """Draw one; there is at least one. `number` is in [0, 1)."""
        backends = self._backends
        if self._equal:
            return backends[int(number * len(backends))]
        return backends[bisect_right(self._ends, int(number * self._total))]

    def two(self, number: float, other: float) -> tuple[BackendState, BackendState]:
        """Draw two different ones; there are at least two."""
        backends = self._backends
        if self._equal:
            count = len(backends)
            first = int(number * count)
            second = int(other * (count - 1))
            return backends[first], backends[second + (second >= first)]
        ends = self._ends
        first = bisect_right(ends, int(number * self._total))
        weight = backends[first].weight
        point = int(other * (self._total - weight))
        if point >= ends[first] - weight:
            point += weight
        return backends[first], backends[bisect_right(ends, point)]

    def _sum_up(self) -> None:
        weights = [backend.weight for backend in self._backends]
        self._ends = list(accumulate(weights))
        self._total = self._ends[-1] if weights else 0
        self._equal = not weights or min(weights) == max(weights)


def _place(backend: BackendState) -> BackendId:
    return backend.id
