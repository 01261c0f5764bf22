"""Who of a map's backends may be chosen, and the way on from one who may not.

A map gives each key a first backend and an order of others. While all are in and
nothing bounds their loads the first one it is. Otherwise its walk is followed to the
first backend that fits; and if that takes too long, because nearly all are out, the
key chooses among those that fit.

Bounded load: with `percent` no backend has more than that percentage of its fair
share of the exchanges in flight, the one to come counted in; rounded up, so that
somebody always has room. Keys of a backend that is at its bound go on to the next on
their way. Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads"
(2016); HAProxy's `hash-balance-factor`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Final

from lbproto.selection.backend import BackendState
from lbproto.selection.policy import unique

__all__ = ["MAX_STEPS", "Members"]

MAX_STEPS: Final = 256
"""How far a walk is followed."""


class Members:
    """The backends of one map: those that are in, and how loaded all are."""

    __slots__ = ("_active", "_out", "_percent", "_weight", "backends", "plain")

    def __init__(
        self, backends: Sequence[BackendState], percent: int | None = None
    ) -> None:
        """Begin with these, all in; `percent` above 100 bounds their loads."""
        self._percent = percent
        self._out: dict[int, None] = {}
        self.backends = tuple(backends)
        self._active = sum(one.active for one in backends)
        self._changed()

    def enter(self, backend: BackendState) -> None:
        """Let a backend be chosen again."""
        self._out.pop(backend.id, None)
        self._changed()

    def leave(self, backend: BackendState) -> None:
        """Let a backend not be chosen."""
        self._out[backend.id] = None
        self._changed()

    def count(self, leases: int) -> None:
        """Take note of so many leases more, or less."""
        self._active += leases

    def choose(self, key: bytes, walk: Iterator[BackendState]) -> BackendState | None:
        """Follow a walk to the first who fits; None if nobody is in."""
        if not self._weight:
            return None
        for backend in unique(walk, MAX_STEPS):
            if self._fits(backend):
                return backend
        fitting = [backend for backend in self.backends if self._fits(backend)]
        return fitting[zlib.crc32(key) % len(fitting)]

    def _fits(self, backend: BackendState) -> bool:
        if backend.id in self._out:
            return False
        if self._percent is None:
            return True
        share = self._percent * (self._active + 1) * backend.weight
        return backend.active * 100 * self._weight < share

    def _changed(self) -> None:
        gone = self._out
        self._weight = sum(one.weight for one in self.backends if one.id not in gone)
        self.plain = bool(self.backends) and not gone and self._percent is None
        """The first backend of a key is always the one."""
