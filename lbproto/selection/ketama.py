"""Consistent hashing on a ring, with the points of nginx and Pingora.

Each backend has 160 points per weight on a ring of 2^32; a key belongs to the first
point at or after its CRC-32, and its next choices are the points that follow. When a
backend goes, its keys go to the next points and no other key moves. The points are
those of nginx (`hash ... consistent`, `ngx_http_upstream_hash_module.c`, which took
them from Cache::Memcached::Fast) and of the crate `pingora-ketama`:

    base = crc32(HOST "\\0" PORT); point = crc32 of base continued with the point before

HOST is the text of the address, without brackets, as Pingora has it (nginx hashes
the brackets of an IPv6 address), or the path of a socket, with no PORT. Of equal
points of two backends the one listed first counts: neither nginx nor Pingora says
which, since both sort without keeping the order.

The idea: Karger et al., STOC 1997; the ring: R. Jones, "libketama", 2007.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

from lbproto.selection.backend import BackendState
from lbproto.selection.chooser import Chooser
from lbproto.selection.members import Members

__all__ = ["POINTS", "Ketama"]

POINTS: Final = 160
"""Points on the ring for a weight of 1."""

_pack = struct.Struct("<I").pack


class Ketama(Chooser):
    """Maps keys to the backends of one upstream by a ring."""

    __slots__ = ("_hashes", "_members", "_owners")

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
            at = bisect_left(self._hashes, zlib.crc32(key))
            return self._owners[at]  # the last one is the first again
        return members.choose(key, self.walk(key, now))

    def walk(self, key: bytes, now: float) -> Iterator[BackendState]:
        """Yield the owners of the points from a key on, round and round."""
        owners = self._owners
        at, count = bisect_left(self._hashes, zlib.crc32(key)), len(self._hashes)
        while count:
            at %= count
            yield owners[at]
            at += 1

    def enter(self, backend: BackendState) -> None:
        """Give it its keys back."""
        self._members.enter(backend)

    def leave(self, backend: BackendState) -> None:
        """Give its keys to the next points."""
        self._members.leave(backend)

    def leased(self, backend: BackendState) -> None:
        """Count its load."""
        self._members.count(1)

    def released(self, backend: BackendState) -> None:
        """Count its load."""
        self._members.count(-1)

    def _lay_out(self) -> None:
        ring: dict[int, BackendState] = {}
        for backend in self._members.backends:
            for point in _points(backend):
                ring.setdefault(point, backend)
        self._hashes = sorted(ring)
        self._owners = [ring[point] for point in self._hashes]
        self._owners += self._owners[:1]


def _points(backend: BackendState) -> Iterator[int]:
    target = backend.target
    host, port = (target.path, "") if target.path else (target.host, str(target.port))
    base = zlib.crc32(f"{host}\0{port}".encode("utf-8", "surrogateescape"))
    point = 0
    for _ in range(backend.weight * POINTS):
        point = zlib.crc32(_pack(point), base)
        yield point
