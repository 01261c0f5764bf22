"""Ways to divide a stream of bytes into reads.

What a core answers must not depend on how its input was cut (RFC 9112 2.2 knows
no packets), so scenarios run whole, byte by byte, and at every single cut.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

__all__ = ["at", "bytewise", "segmentations", "two_way", "whole"]


def whole(data: bytes) -> list[bytes]:
    """Leave the bytes in one piece."""
    return [data] if data else []


def bytewise(data: bytes) -> list[bytes]:
    """Make a piece of every byte."""
    return [data[i : i + 1] for i in range(len(data))]


def at(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Cut at these places; the pieces are never empty."""
    edges = [0, *sorted({place for place in places if 0 < place < len(data)})]
    edges.append(len(data))
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


def two_way(data: bytes) -> Iterator[list[bytes]]:
    """Yield every division into two pieces."""
    for place in range(1, len(data)):
        yield [data[:place], data[place:]]


def segmentations(data: bytes, every: int = 1) -> Iterator[list[bytes]]:
    """Yield the bytes whole, byte by byte, and cut in two at every n-th place."""
    yield whole(data)
    yield bytewise(data)
    for place in range(1, len(data), every):
        yield [data[:place], data[place:]]
