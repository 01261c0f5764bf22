"""A world in which nothing is left to chance: always the same second."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Final

from lbproto.selection.chance import Draws

__all__ = ["FixedEnv"]

NOBODY: Final = nullcontext()


class FixedEnv:
    """An `Env` in which it is always the same second, and chance repeats itself."""

    def __init__(self, seed: int = 1) -> None:
        self._draw = Draws(seed)

    def random(self) -> float:
        """Return the next number of a generator that everybody can repeat."""
        return self._draw()

    @property
    def guard(self) -> AbstractContextManager[object]:
        """Nothing runs beside us."""
        return NOBODY

    def http_date(self, now: float) -> bytes:
        """Return a fixed date."""
        return b"Sun, 06 Nov 1994 08:49:37 GMT"
