"""Classes of octets, and how far a run of them goes.

A grammar over octets is made of such runs: a token, the text of a value. Compiled, the
loop over a table takes half of what an expression takes for each octet, and nothing to
begin with; as Python it would take thirty times as much, so that there an expression
finds the end.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lbproto.machine.compilation import COMPILED

if TYPE_CHECKING:
    from mypy_extensions import i64

__all__ = ["Octets", "begins_with"]


class Octets:
    """Some of the 256 octets."""

    __slots__ = ("_by_table", "_match", "_table")

    def __init__(self, members: bytes, *, by_table: bool = COMPILED) -> None:
        self._by_table = by_table
        self._table = bytes(octet in members for octet in range(256))
        self._match = re.compile(b"[%b]*+" % re.escape(members)).match

    def end(self, data: bytes, begin: i64) -> i64:
        """Return where the run that begins here ends, if only before it has begun.

        Raises:
            IndexError: the data ends first, or so the caller finds at the place that
                is returned.
        """
        if not self._by_table:
            found = self._match(data, begin)
            assert found is not None, "an empty run matches"
            return found.end()
        at: i64 = begin
        table = self._table
        while table[data[at]]:
            at += 1
        return at


def begins_with(data: bytes, begin: i64, lower: bytes) -> bool:
    """Tell whether some text begins with letters and hyphens, which are in lower case.

    Its case does not matter. It has no control characters; CR is taken for a hyphen.

    Raises:
        IndexError: the data ends first.
    """
    at: i64 = 0
    size: i64 = len(lower)
    while at < size:
        octet: i64 = data[begin + at]
        wanted: i64 = lower[at]
        if octet | 0x20 != wanted:  # upper case is without this bit
            return False
        at += 1
    return True
