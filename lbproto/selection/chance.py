"""Numbers that look like chance where nobody gives better ones.

SplitMix64: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators"
(OOPSLA 2014). The n-th number depends on the seed and on n alone, so a program that
injects nothing does the same every time it runs; and two that begin alike go on alike,
which is why a server gives each of its processes chance of its own.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Draws"]

MASK: Final = 0xFFFFFFFFFFFFFFFF


class Draws:
    """A source of numbers in [0, 1)."""

    __slots__ = ("_state",)

    def __init__(self, seed: int = 1) -> None:
        self._state = seed & MASK

    def __call__(self) -> float:
        """Return the next number."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & MASK
        mixed = ((self._state ^ (self._state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
        return ((mixed ^ (mixed >> 31)) >> 11) / (1 << 53)
