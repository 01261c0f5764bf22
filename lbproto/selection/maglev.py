"""Maglev's table: a key to a backend in one step, with even shares.

Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI
2016, 3.4. Every backend has a permutation of the table's places, by two hashes of its
address. In turns each takes the first place in its permutation that is still free,
until the table is full. A weight is how often it gets a turn, as in Envoy.

Shares differ from the weights by a turn or two: of a table of 65,537 places, 1 in
6,500 for 10 backends. When a backend is taken from the list, its places are filled
by others and a few places of others change hands too: 0.6 % of the table, for one of
100 backends of equal weight. Ketama moves none of them, but its shares are less even.
A backend that is only out keeps its places: its keys go on to the next place of the
table, and no other key moves.

The table has at least 100 places for each backend, as the paper asks; its size is a
prime, so that every step of a permutation reaches every place.
"""

from __future__ import annotations

import hashlib
import heapq
import zlib
from collections.abc import Iterator, Sequence
from typing import Final

from lbproto.selection.backend import BackendState
from lbproto.selection.chooser import Chooser
from lbproto.selection.members import Members

__all__ = ["SIZES", "Maglev"]

SIZES: Final = (65537, 131101, 262147, 524309, 1048583)
"""Primes, each the first after a power of two."""


class Maglev(Chooser):
    """Maps keys to the backends of one upstream by a table."""

    __slots__ = ("_members", "_size", "_table")

    def __init__(
        self, backends: Sequence[BackendState], percent: int | None = None
    ) -> None:
        """Begin with these, all in; `percent` above 100 bounds their loads."""
        self._members = Members(backends, percent)
        self._lay_out()

    def pick(self, key: bytes, now: float) -> BackendState | None:
        """Return the backend of a key."""
        members = self._members
        if members.plain:
            return self._table[zlib.crc32(key) % self._size]
        return members.choose(key, self.walk(key, now))

    def walk(self, key: bytes, now: float) -> Iterator[BackendState]:
        """Yield the owners of the places from a key on, round and round."""
        table, size = self._table, self._size
        at = zlib.crc32(key)
        while size:
            at %= size
            yield table[at]
            at += 1

    def enter(self, backend: BackendState) -> None:
        """Give it its keys back."""
        self._members.enter(backend)

    def leave(self, backend: BackendState) -> None:
        """Give its keys to the next places."""
        self._members.leave(backend)

    def leased(self, backend: BackendState) -> None:
        """Count its load."""
        self._members.count(1)

    def released(self, backend: BackendState) -> None:
        """Count its load."""
        self._members.count(-1)

    def _lay_out(self) -> None:
        backends = self._members.backends
        places = 100 * len(backends)
        size = next((size for size in SIZES if size >= places), SIZES[-1])
        self._table = _fill(backends, size) if backends else []
        self._size = len(self._table)


def _fill(backends: Sequence[BackendState], size: int) -> list[BackendState]:
    """Let the backends take places in turns until none is free."""
    # By address, so that the order of the list changes nothing.
    order = sorted(backends, key=lambda one: (str(one.target), one.id))
    table: list[BackendState | None] = [None] * size
    at, step = [], []
    for backend in order:
        digest = hashlib.blake2b(str(backend.target).encode(), digest_size=16).digest()
        at.append(int.from_bytes(digest[:8], "big") % size)
        step.append(int.from_bytes(digest[8:], "big") % (size - 1) + 1)
    for turn in _turns([backend.weight for backend in order], size):
        place, skip = at[turn], step[turn]
        while table[place] is not None:
            place += skip
            if place >= size:
                place -= size
        table[place] = order[turn]
        at[turn] = place
    return [backend for backend in table if backend is not None]


def _turns(weights: Sequence[int], count: int) -> Iterator[int]:
    """Yield whose turn it is: a weight of 2 has two turns where 1 has one."""
    due = [(1.0 / weight, at, 1) for at, weight in enumerate(weights)]
    heapq.heapify(due)
    for _ in range(count):
        _, at, had = due[0]
        yield at
        heapq.heapreplace(due, ((had + 1) / weights[at], at, had + 1))
