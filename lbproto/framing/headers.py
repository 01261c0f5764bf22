"""Header fields over the bytes in which they came.

A proxy looks at a few fields, takes some out, adds some, and passes the rest on.
So a field is kept as its own line of the message; reading gives lower-case names
and trimmed values, editing replaces or leaves out whole lines, and writing joins
what is left: order, case and bytes of untouched fields stay (RFC 9110 5.3). Only
white space around a value, which is not part of it (RFC 9110 5.5), is made
canonical.

The verbs are Pingora's: `insert_header` replaces, `append_header` adds,
`remove_header` removes. Values that would split a message are refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

__all__ = ["Headers", "field_line"]

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


def _canonical(line: bytes) -> bytes:
    """Leave one space before the value, or none if there was none."""
    name, _, value = line.partition(b":")
    trimmed = value.strip(b" \t")
    return line if value in (trimmed, b" " + trimmed) else name + b": " + trimmed


class Headers:
    """The fields of one message, in order."""

    __slots__ = ("_lines", "_names", "_raw")

    def __init__(self, raw: bytes = b"") -> None:
        """Take complete field lines, each ended by CRLF, that passed the grammar."""
        self._raw: bytes | None = raw
        self._names: list[bytes] = []
        self._lines: list[bytes] = []

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Build fields from names and values.

        Raises:
            ValueError: as `field_line`.
        """
        return cls(b"".join(field_line(*pair) + b"\r\n" for pair in pairs))

    def _parse(self) -> None:
        raw, self._raw = self._raw, None
        if not raw:
            return
        lines = raw[:-2].split(b"\r\n")
        if UNUSUAL.search(raw) is not None:
            lines = [_canonical(line) for line in lines]
        self._lines = lines
        self._names = [line[: line.index(b":")].lower() for line in lines]

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield lower-case names and trimmed values in order."""
        if self._raw is not None:
            self._parse()
        for name, line in zip(self._names, self._lines, strict=True):
            yield name, line[len(name) + 1 :].strip(b" \t")

    def names(self) -> Sequence[bytes]:
        """Return the lower-case names in order."""
        if self._raw is not None:
            self._parse()
        return self._names

    def any_name_has(self, part: bytes) -> bool:
        """Tell whether some lower-case name contains these bytes."""
        if self._raw is not None:
            self._parse()
        return part in b"\n".join(self._names)

    def raw_items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield names as they were written, and trimmed values, in order."""
        if self._raw is not None:
            self._parse()
        for name, line in zip(self._names, self._lines, strict=True):
            yield line[: len(name)], line[len(name) + 1 :].strip(b" \t")

    def __len__(self) -> int:
        if self._raw is not None:
            self._parse()
        return len(self._lines)

    def __contains__(self, name: bytes) -> bool:
        if self._raw is not None:
            self._parse()
        return name in self._names

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return self.wire() == other.wire()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Headers({self.wire()!r})"

    def get(self, name: bytes) -> bytes | None:
        """Return the first value of a field, by its lower-case name."""
        if self._raw is not None:
            self._parse()
        if name not in self._names:
            return None
        line = self._lines[self._names.index(name)]
        return line[len(name) + 1 :].strip(b" \t")

    def get_all(self, name: bytes) -> list[bytes]:
        """Return every value of a field, in order, by its lower-case name."""
        return [value for known, value in self if known == name]

    def insert_header(self, name: bytes, value: bytes) -> None:
        """Replace a field where it stands, or add it at the end.

        Raises:
            ValueError: as `field_line`.
        """
        line = field_line(name, value)
        if self._raw is not None:
            self._parse()
        lower = name.lower()
        if lower not in self._names:
            self._names.append(lower)
            self._lines.append(line)
            return
        first = self._names.index(lower)
        self._lines[first] = line
        for at in range(len(self._names) - 1, first, -1):
            if self._names[at] == lower:
                del self._names[at], self._lines[at]

    def append_header(self, name: bytes, value: bytes) -> None:
        """Add a field at the end, beside others of its name.

        Raises:
            ValueError: as `field_line`.
        """
        line = field_line(name, value)
        if self._raw is not None:
            self._parse()
        self._names.append(name.lower())
        self._lines.append(line)

    def remove_header(self, name: bytes) -> bool:
        """Remove every field of a lower-case name; tell whether there was one."""
        if self._raw is not None:
            self._parse()
        if name not in self._names:
            return False
        self.remove_all((name,))
        return True

    def remove_all(self, names: Collection[bytes]) -> None:
        """Remove every field that bears one of these lower-case names."""
        if self._raw is not None:
            self._parse()
        banned = names if isinstance(names, frozenset) else frozenset(names)
        if banned.isdisjoint(self._names):
            return  # the usual case, at the speed of C
        kept = [i for i, name in enumerate(self._names) if name not in banned]
        self._names = [self._names[i] for i in kept]
        self._lines = [self._lines[i] for i in kept]

    def copy(self) -> Headers:
        """Return fields that can be edited without touching these."""
        twin = Headers()
        twin._raw = self._raw
        twin._names = list(self._names)
        twin._lines = list(self._lines)
        return twin

    def wire(self) -> bytes:
        """Return the field lines, without the empty line that ends a head."""
        if self._raw is not None:
            self._parse()
        if not self._lines:
            return b""
        return b"\r\n".join(self._lines) + b"\r\n"
