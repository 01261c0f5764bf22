"""How many bytes a worker keeps for all its connections together.

Each connection is bounded by itself: a head, some held content, what a slow peer has
not read. Ten thousand of them at their bounds would still be gigabytes, so there is
one budget for all. Near its end new clients are turned away; at its end nobody's
content is read any more, until what is there has gone on its way. Who waits looks
again after a moment (`LOOK_AGAIN`), since nobody else's event wakes it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final

__all__ = ["HIGH_WATER", "LOOK_AGAIN", "Stock"]

HIGH_WATER: Final = 64 * 1024
"""Bytes that a runtime holds at least for a peer that does not keep up."""

LOOK_AGAIN: Final = 0.1
"""Seconds."""


class Stock:
    """Bytes that were received and wait, of all connections of a worker."""

    __slots__ = ("_guard", "_kept", "_most", "full", "scarce")

    def __init__(self, most: int, guard: AbstractContextManager[object]) -> None:
        self._guard = guard
        self._kept = 0
        self._most = most
        self.scarce = False
        """Nine tenths are used up: no new client is served."""
        self.full = False
        """It is used up: no content is read."""

    @property
    def kept(self) -> int:
        """How many bytes wait now."""
        return self._kept

    def move(self, change: int) -> None:
        """Some more wait, or some less."""
        with self._guard:
            self._kept = kept = self._kept + change
            self.scarce = kept * 10 >= self._most * 9
            self.full = kept >= self._most
