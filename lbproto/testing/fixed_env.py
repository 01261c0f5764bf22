"""A world in which nothing is left to chance: always the same second."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Final

__all__ = ["FixedEnv"]

NOBODY: Final = nullcontext()


class FixedEnv:
    """An `Env` in which it is always the same second, and chance repeats itself."""

    def __init__(self, seed: int = 1) -> None:
        self._state = seed

    def random(self) -> float:
        """Return the next number of a generator that everybody can repeat.

        SplitMix64: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number
        Generators" (OOPSLA 2014).
        """
        mask = 0xFFFFFFFFFFFFFFFF
        self._state = (self._state + 0x9E3779B97F4A7C15) & mask
        mixed = ((self._state ^ (self._state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        return ((mixed ^ (mixed >> 31)) >> 11) / (1 << 53)

    @property
    def guard(self) -> AbstractContextManager[object]:
        """Nothing runs beside us."""
        return NOBODY

    def http_date(self, now: float) -> bytes:
        """Return a fixed date."""
        return b"Sun, 06 Nov 1994 08:49:37 GMT"
