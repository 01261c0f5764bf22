"""Smooth weighted round robin, in the order of nginx, without its scan.

On each turn every backend gains its weight, the one with most is chosen (the first
of equals), and it pays back what was handed out. Weights 5, 1, 1 so give a a b a c
a a, not a a a a a b c: a heavy backend gets its share without bursts, and over one
cycle of sum(weights) turns every share is exact. See nginx commit
52327e0627f49dbda1e8db695e63a4b0af4448b1, "Upstream: smooth weighted round-robin
balancing".

nginx adds to every backend on every turn. Here nobody gains anything: after `turn`
turns a backend has `weight * turn - paid`, and only the chosen one's `paid` changes.
Among backends of one weight the one with least paid is first, whatever the turn. As
long as nobody comes or goes each of them pays the same, so that who had a turn is last:
they stand in a circle, and a turn compares the heads of the circles: O(d) for d
different weights. The order is nginx's to the last pick.

A backend that is out takes no part in the turns: it neither gains nor adds to what
the chosen one pays, and comes back with what it had.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lbproto.selection.backend import BackendState
from lbproto.selection.chooser import Chooser

__all__ = ["RoundRobin"]


class Circle:
    """The backends of one weight, in the order of what they have paid."""

    __slots__ = ("_backends", "_first", "weight")

    def __init__(self, weight: int) -> None:
        self._backends: list[BackendState] = []
        self._first = 0
        self.weight = weight

    def __len__(self) -> int:
        return len(self._backends)

    @property
    def head(self) -> BackendState:
        """Whose turn it is among these."""
        return self._backends[self._first]

    def turn(self, payment: int) -> BackendState:
        """Let the head pay, and return it."""
        backends, at = self._backends, self._first
        backend, last = backends[at], backends[at - 1]
        backend.paid += payment
        at += 1
        self._first = 0 if at == len(backends) else at
        if _is_before(backend, last):
            self._rearrange()  # there were more to share with when the last one paid
        return backend

    def add(self, backend: BackendState) -> None:
        """Take one in, where its payments put it."""
        self._backends.insert(self._first, backend)
        self._first += 1
        self._rearrange()

    def remove(self, backend: BackendState) -> None:
        """Let one out."""
        at = self._backends.index(backend)
        del self._backends[at]
        if at < self._first:
            self._first -= 1
        elif self._first == len(self._backends):
            self._first = 0

    def _rearrange(self) -> None:
        """Let the last one go before those that have paid more."""
        backends = self._backends[self._first :] + self._backends[: self._first]
        at = len(backends) - 1
        while at and _is_before(backends[at], backends[at - 1]):
            backends[at - 1], backends[at] = backends[at], backends[at - 1]
            at -= 1
        self._backends = backends
        self._first = 0


class RoundRobin(Chooser):
    """Turns of the backends of one upstream."""

    __slots__ = ("_circles", "_total", "_turn")

    def __init__(self, backends: Iterable[BackendState] = ()) -> None:
        """Begin with these, all in."""
        self._circles: list[Circle] = []
        self._total = 0
        self._turn = 0
        for backend in backends:
            self.enter(backend)

    def pick(self, key: bytes, now: float) -> BackendState | None:
        """Give the turn to the next; the key is ignored."""
        self._turn = turn = self._turn + 1
        chosen: Circle | None = None
        most = first = 0
        for circle in self._circles:
            head = circle.head
            claim = circle.weight * turn - head.paid
            if chosen is None or claim > most or (claim == most and head.id < first):
                most, first, chosen = claim, head.id, circle
        return None if chosen is None else chosen.turn(self._total)

    def walk(self, key: bytes, now: float) -> Iterator[BackendState]:
        """Yield the next turns."""
        while (backend := self.pick(key, now)) is not None:
            yield backend

    def enter(self, backend: BackendState) -> None:
        """Let a backend take part, with the smooth weight that it left with."""
        weight = backend.weight
        self._total += weight
        backend.paid = weight * self._turn - backend.current
        circle = self._circle(weight)
        if circle is None:
            circle = Circle(weight)
            self._circles.append(circle)
        circle.add(backend)

    def leave(self, backend: BackendState) -> None:
        """Let a backend take no part, and keep its smooth weight."""
        weight = backend.weight
        circle = self._circle(weight)
        assert circle is not None, "it takes part"
        backend.current = weight * self._turn - backend.paid
        self._total -= weight
        circle.remove(backend)
        if not len(circle):
            self._circles.remove(circle)

    def _circle(self, weight: int) -> Circle | None:
        for circle in self._circles:
            if circle.weight == weight:
                return circle
        return None


def _is_before(one: BackendState, other: BackendState) -> bool:
    """Tell who is first of a circle; of equals the first of the configuration."""
    return one.paid < other.paid or (one.paid == other.paid and one.id < other.id)
