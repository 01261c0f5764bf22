"""Two by lot, the one from which an answer is expected sooner.

Finagle's `PeakEwma`, as in Linkerd and tower: the cost of a backend is its latency
times the exchanges it would have in flight, per weight. The latency is a moving
average that forgets within `DECAY` seconds and jumps to a peak at once: bad news
counts immediately, good news must last. What is measured is the time to the head of
the response; content may be long for reasons of its own.

A backend that fails at once looks fast, and would attract everything. So a failure
counts as a latency: `PENALTY`, or twice what its average was, up to `WORST`. Then it
is chosen only if both lots fall on such backends, until the average has decayed:
from `WORST` to 5 ms that takes 110 seconds. A backend that has never answered costs
nothing until it has its first exchange, and `PENALTY` while that lasts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from lbproto.selection.backend import BackendState
from lbproto.selection.chooser import Chooser
from lbproto.selection.draw import Lots

__all__ = ["DECAY", "PENALTY", "WORST", "PeakEwma"]

DECAY: Final = 10.0
"""Seconds in which an old latency loses all but 1/e of its say."""

PENALTY: Final = 5.0
"""Seconds that the first failure counts for."""

WORST: Final = 300.0
"""Seconds that a failure counts for at most."""


class PeakEwma(Chooser):
    """Draws two of the backends of one upstream and compares their costs."""

    __slots__ = ("_lots", "_random")

    def __init__(
        self, backends: Iterable[BackendState], random: Callable[[], float]
    ) -> None:
        """Begin with these, all in; `random` gives numbers in [0, 1)."""
        self._lots = Lots(backends)
        self._random = random

    def pick(self, key: bytes, now: float) -> BackendState | None:
        """Draw two and take the less costly; the key is ignored."""
        lots = self._lots
        if len(lots) < 2:
            return lots.one(0.0) if len(lots) else None
        one, other = lots.two(self._random(), self._random())
        return one if _cost(one, now) <= _cost(other, now) else other

    def walk(self, key: bytes, now: float) -> Iterator[BackendState]:
        """Yield one choice after the other."""
        while (backend := self.pick(key, now)) is not None:
            yield backend

    def enter(self, backend: BackendState) -> None:
        """Draw it from now on."""
        self._lots.add(backend)

    def leave(self, backend: BackendState) -> None:
        """Draw it no more."""
        self._lots.remove(backend)

    def observe(
        self, backend: BackendState, seconds: float, now: float, *, failed: bool
    ) -> None:
        """Move the average of a backend."""
        old = backend.latency
        if failed:
            doubled = 0.0 if old is None else 2.0 * old * _kept(backend, now)
            worst = min(max(PENALTY, doubled), WORST)
            seconds = max(seconds, worst)
        if old is not None:
            kept = _kept(backend, now)
            seconds = max(seconds, old * kept + seconds * (1.0 - kept))
        backend.latency, backend.measured = seconds, now


def _kept(backend: BackendState, now: float) -> float:
    """Return the part of its old latency that still counts."""
    return math.exp(min(backend.measured - now, 0.0) / DECAY)


def _cost(backend: BackendState, now: float) -> float:
    weight = backend.weight * backend.ramp
    if backend.latency is None:
        return PENALTY * backend.active / weight
    return backend.latency * _kept(backend, now) * (backend.active + 1) / weight
