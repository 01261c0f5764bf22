"""Chunks in the form in which we write them, which most senders share.

The first line says a size without leading zeros, and no extension. What is not of this
kind is for the decoder to judge line by line.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_extensions import i64

__all__ = ["CANONICAL", "HEX", "SMALL", "SMALL_RUN", "whole_chunk"]

ZERO: Final = 0x30

SMALL: Final = 16
"""Bytes; smaller chunks are counted, and not passed on as they came."""

CANONICAL: Final = re.compile(rb"([1-9A-Fa-f][0-9A-Fa-f]{0,7}+)\r\n")
"""The first line of a chunk that may pass as it is: no leading 0, no extension."""

SMALL_RUN: Final = re.compile(
    b"(?s:%b)++"
    % b"|".join(b"[%x%X]\r\n.{%d}\r\n" % (size, size, size) for size in range(1, SMALL))
)
"""Small canonical chunks, as many as follow each other."""

NO_DIGIT: Final = 16
HEX: Final = bytes(
    int(chr(octet), 16) if chr(octet) in "0123456789ABCDEFabcdef" else NO_DIGIT
    for octet in range(256)
)
"""What a digit of a chunk's first line says."""

LONGEST: Final = 8
"""Digits of a size."""


def whole_chunk(data: bytes) -> int:
    """Return the size of the one chunk that a read is.

    0: it is anything else, a small chunk among them.
    """
    at: i64 = 0
    size: i64 = 0
    longest: i64 = min(len(data), LONGEST)
    while at < longest and HEX[data[at]] != NO_DIGIT:
        size = size * 16 + HEX[data[at]]
        at += 1
    if size < SMALL or at + size + 4 != len(data) or data[0] == ZERO:
        return 0
    ends = data[at : at + 2] == b"\r\n" and data.endswith(b"\r\n")
    return size if ends else 0
