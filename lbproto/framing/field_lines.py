"""One field on one line: a name, a colon, a value.

Only white space around a value, which is not part of it (RFC 9110 5.5), is made
canonical. Values that would split a message are refused.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["FIELD_VALUE", "TOKEN", "canonical", "field_line"]

TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++")
"""A field name (RFC 9110 5.6.2)."""

UNUSUAL: Final = re.compile(rb"[ \t]\r\n|:(?:\t| [ \t])")
"""White space around a value other than one space before it, or what looks so."""

FIELD_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*+")
"""What may stand in a field value (RFC 9110 5.5)."""


def field_line(name: bytes, value: bytes) -> bytes:
    """Write one field line, without its CRLF.

    Raises:
        ValueError: the name is no token, or the value holds a control character.
    """
    if TOKEN.fullmatch(name) is None:
        raise ValueError(f"field name {name[:64]!r} is not a token")
    if FIELD_VALUE.fullmatch(value) is None:
        raise ValueError(f"field value {value[:64]!r} holds a control character")
    return name + b": " + value.strip(b" \t")


def canonical(raw: bytes, lines: list[bytes]) -> list[bytes]:
    """Leave one space before each value, or none if there was none.

    `raw` is the same lines in one piece, each ended by CRLF.
    """
    if UNUSUAL.search(raw) is None:
        return lines
    return [_trimmed(line) for line in lines]


def _trimmed(line: bytes) -> bytes:
    name, _, value = line.partition(b":")
    trimmed = value.strip(b" \t")
    return line if value in (trimmed, b" " + trimmed) else name + b": " + trimmed
