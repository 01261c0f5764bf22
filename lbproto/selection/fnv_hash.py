"""FNV-1a of the key over the weighted list, as Pingora's `FNVHash`.

Pingora (`pingora-load-balancing`, `selection/weighted.rs` and `algorithms.rs`) keeps
backends in the order of their addresses and takes the one in which the hash falls,
modulo the sum of the weights. The next choices for the same key are the hash of the
last number (8 bytes, least significant first), modulo the count of the backends:
weights count once. FNV-1a, 64 bits: Fowler, Noll, Vo, RFC 9923.

It is the simplest map and moves most keys when the list of backends changes; ketama
and maglev do not.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final, TypeAlias

from lbproto.machine.effects import Target
from lbproto.selection.backend import BackendState
from lbproto.selection.chooser import Chooser
from lbproto.selection.members import Members

__all__ = ["FnvHash", "fnv1a"]

OFFSET: Final = 0xCBF29CE484222325
PRIME: Final = 0x100000001B3
MASK: Final = 0xFFFFFFFFFFFFFFFF

Order: TypeAlias = tuple[int, int, str, int, int]


def fnv1a(data: bytes) -> int:
    """Return the FNV-1a hash of 64 bits."""
    number = OFFSET
    for byte in data:
        number = ((number ^ byte) * PRIME) & MASK
    return number


class FnvHash(Chooser):
    """Maps keys to the backends of one upstream by a hash."""

    __slots__ = ("_ends", "_members", "_order", "_total")

    def __init__(self, backends: Sequence[BackendState]) -> None:
        """Begin with these, all in."""
        self._members = Members(backends)
        self._list()

    def pick(self, key: bytes, now: float) -> BackendState | None:
        """Return the backend of a key."""
        members = self._members
        if members.plain:
            at = bisect_right(self._ends, fnv1a(key) % self._total)
            return self._order[at]
        return members.choose(key, self.walk(key, now))

    def walk(self, key: bytes, now: float) -> Iterator[BackendState]:
        """Yield the backend of a key and the next choices, endlessly."""
        if not self._order:
            return
        number = fnv1a(key)
        yield self._order[bisect_right(self._ends, number % self._total)]
        while True:
            number = fnv1a(number.to_bytes(8, "little"))
            yield self._order[number % len(self._order)]

    def enter(self, backend: BackendState) -> None:
        """Give it its keys back."""
        self._members.enter(backend)

    def leave(self, backend: BackendState) -> None:
        """Give its keys to their next choices."""
        self._members.leave(backend)

    def _list(self) -> None:
        self._order = sorted(self._members.backends, key=_order)
        self._ends = list(accumulate(one.weight for one in self._order))
        self._total = self._ends[-1] if self._ends else 0


def _order(backend: BackendState) -> Order:
    """Order as Pingora: IPv4, IPv6, sockets; a host name comes before a socket."""
    target = backend.target
    kind, number = _number(target)
    return kind, number, target.path or target.host, target.port, backend.weight


def _number(target: Target) -> tuple[int, int]:
    if target.path:
        return 3, 0
    try:
        address = ipaddress.ip_address(target.host)
    except ValueError:
        return 2, 0
    return (0 if address.version == 4 else 1), int(address)
