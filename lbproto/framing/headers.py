"""Header fields over the bytes in which they came.

A proxy looks at a few fields, takes some out, adds some, and passes the rest on.
So a field is kept as its own line of the message; reading gives lower-case names
and trimmed values, editing replaces or leaves out whole lines, and writing joins
what is left: order, case and bytes of untouched fields stay (RFC 9110 5.3). Only
white space around a value, which is not part of it (RFC 9110 5.5), is made
canonical.

Who has searched the lines already says so with a `Search`: which names it looked
for, and where it found them. Then nothing is taken apart: an edit is noted as a
place to leave out or as lines to add, and writing copies what is between. Only
what no search has foreseen makes a list of lines.

The verbs are Pingora's: `insert_header` replaces, `append_header` adds,
`remove_header` removes. Values that would split a message are refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from lbproto.framing.field_lines import canonical, field_line
from lbproto.framing.search import (
    HOP_BY_HOP,
    HOP_BY_HOP_AND_LENGTH,
    Place,
    Search,
)
from lbproto.machine.values import leaf

__all__ = ["Headers"]

NOTHING: Final[frozenset[bytes]] = frozenset()


@leaf
class Headers:
    """The fields of one message, in order."""

    __slots__ = (
        "_added",
        "_cuts",
        "_hop",
        "_length",
        "_lines",
        "_names",
        "_passed_on",
        "_raw",
        "_search",
        "_tail",
        "host",
        "ordinary",
    )

    _names: list[bytes]
    _lines: list[bytes]

    def __init__(
        self,
        raw: bytes = b"",
        search: Search | None = None,
        hop: tuple[Place, ...] = (),
        length: int = -1,
        host: bytes = b"",
    ) -> None:
        """Take complete field lines, each ended by CRLF, that passed the grammar.

        What a `search` found goes with it: `hop` are the lines of `HOP_BY_HOP` fields,
        in order, if it knows them; `length` is what Content-Length says, canonically,
        and -1 where there is none.
        """
        self._raw: bytes | None = raw  # None: parsed into names and lines
        self._search = search
        self.ordinary = search is not None and search.ordinary
        """A search says so, and nothing was added since; see `Search`."""
        self.host = host
        """The value of Host where the fields are `ordinary`."""
        self._hop = hop
        self._length = length  # means nothing without a search
        self._passed_on = False  # and so without a field of the hop before
        self._cuts: tuple[Place, ...] = ()  # left out
        self._tail = b""  # lines that were added
        self._added: tuple[bytes, ...] = ()  # their names

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Build fields from names and values.

        Raises:
            ValueError: as `field_line`.
        """
        return cls(b"".join(field_line(*pair) + b"\r\n" for pair in pairs))

    def _parse(self) -> None:
        raw = self._raw if self._search is None else self.wire()
        self._raw = self._search = None
        self._passed_on = False
        if not raw:
            self._lines, self._names = [], []
            return
        lines = raw[:-2].split(b"\r\n")
        self._lines = lines = canonical(raw, lines)
        self._names = [line[: line.index(b":")].lower() for line in lines]

    def _raw_lines(self) -> bytes:
        assert self._raw is not None, "who has a search has not parsed"
        return self._raw

    # -- reading -------------------------------------------------------------

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield lower-case names and trimmed values in order."""
        for name, line in zip(self.names(), self._lines, strict=True):
            yield name, line[len(name) + 1 :].strip(b" \t")

    def names(self) -> Sequence[bytes]:
        """Return the lower-case names in order."""
        if self._raw is not None:
            self._parse()
        return self._names

    def any_name_has(self, part: bytes) -> bool:
        """Tell whether some lower-case name contains these bytes."""
        return part in b"\n".join(self.names())

    def raw_items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield names as they were written, and trimmed values, in order."""
        for name, line in zip(self.names(), self._lines, strict=True):
            yield line[: len(name)], line[len(name) + 1 :].strip(b" \t")

    def __len__(self) -> int:
        return len(self.names())

    def __contains__(self, name: bytes) -> bool:
        search = self._search
        if search is not None and name in search.names and name not in self._added:
            return name in search.there
        return self.get(name) is not None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return self.wire() == other.wire()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Headers({self.wire()!r})"

    @property
    def dated(self) -> bool:
        """Date is there, which every response is asked."""
        search = self._search
        return (search is not None and search.dated) or b"date" in self

    def get(self, name: bytes) -> bytes | None:
        """Return the first value of a field, by its lower-case name."""
        search = self._search
        if search is not None and name not in self._added:
            if name in search.names and name not in search.there:
                return None
            cuts = self._cuts
            found = (one for one in self._places_of(name) if one not in cuts)
            place = next(found, None)
            if place is None:
                return None
            line = self._raw_lines()[place[0] : place[1] - 2]
            return line[len(name) + 1 :].strip(b" \t")
        if name not in self.names():
            return None
        line = self._lines[self._names.index(name)]
        return line[len(name) + 1 :].strip(b" \t")

    def holds_once(self, name: bytes, value: bytes) -> bool:
        """Tell whether a field, by its lower-case name, stands here once and so."""
        search = self._search
        if search is not None and name in search.names and name not in self._added:
            return self.get(name) == value  # of these there is one at most
        return self.get(name) == value and self.names().count(name) == 1

    def get_all(self, name: bytes) -> list[bytes]:
        """Return every value of a field, in order, by its lower-case name."""
        return [value for known, value in self if known == name]

    # -- editing -------------------------------------------------------------

    def insert_header(self, name: bytes, value: bytes) -> None:
        """Replace a field where it stands, or add it at the end.

        Raises:
            ValueError: as `field_line`.
        """
        line = field_line(name, value)
        lower = name.lower()
        if self._search is not None and self._surely_lacks(lower):
            self.append_lines(line + b"\r\n", (lower,))
            return
        if lower not in self.names():
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
        self.append_lines(field_line(name, value) + b"\r\n", (name.lower(),))

    def append_lines(self, lines: bytes, names: tuple[bytes, ...]) -> None:
        """Add lines at the end that `field_line` has made, each ended by CRLF.

        `names`: their names in order, lower-case.
        """
        self.ordinary = False
        if self._search is not None:
            if not HOP_BY_HOP_AND_LENGTH.isdisjoint(names):
                self._passed_on = False
            self._tail += lines
            self._added += names
            return
        self.names()  # there may be none yet
        self._names += names
        self._lines += lines[:-2].split(b"\r\n")

    def remove_header(self, name: bytes) -> bool:
        """Remove every field of a lower-case name; tell whether there was one."""
        if self._search is not None and self._surely_lacks(name):
            return False
        if name not in self.names():
            return False
        self.remove_all((name,))
        return True

    def remove_all(self, names: Collection[bytes]) -> None:
        """Remove every field that bears one of these lower-case names."""
        banned = names if isinstance(names, frozenset) else frozenset(names)
        if self._search is not None and banned.isdisjoint(self._added):
            self._cut_out(banned, self._search)
            return
        if banned.isdisjoint(self.names()):
            return  # the usual case, at the speed of C
        kept = [i for i, name in enumerate(self._names) if name not in banned]
        self._names = [self._names[i] for i in kept]
        self._lines = [self._lines[i] for i in kept]

    def _cut_out(self, banned: frozenset[bytes], search: Search) -> None:
        cuts = self._cuts
        gone = banned & search.there | banned - search.names
        for name in sorted(gone):
            cuts += tuple([one for one in self._places_of(name) if one not in cuts])
        self._cuts = cuts
        there = search.there - banned
        self._search = Search(search.names, there, search.ordinary)
        if b"content-length" in banned:
            self._length = -1

    def _places_of(self, name: bytes) -> Iterator[Place]:
        """Find the lines of a name that was not looked for."""
        lines = b"\n" + self._raw_lines().lower()
        begin = b"\n%b:" % name
        at = lines.find(begin)
        while at >= 0:
            end = lines.index(b"\n", at + 1)
            yield at, end
            at = lines.find(begin, end)

    def _surely_lacks(self, name: bytes) -> bool:
        """Tell whether there is no line of a name; False: there may be one."""
        assert self._search is not None, "asked where there is a search"
        if name in self._added:
            return False
        if name in self._search.names:
            return name not in self._search.there
        return next(self._places_of(name), None) is None

    def copy(self) -> Headers:
        """Return fields that can be edited without touching these."""
        raw = self._raw
        if raw is not None:
            twin = Headers(raw, self._search, self._hop, self._length, self.host)
            twin.ordinary = self.ordinary
            twin._passed_on = self._passed_on
            twin._cuts = self._cuts
            twin._tail = self._tail
            twin._added = self._added
            return twin
        twin = Headers()
        twin.ordinary = self.ordinary
        twin._raw = None
        twin._names = list(self._names)
        twin._lines = list(self._lines)
        return twin

    def passed_on(
        self, without: frozenset[bytes], lines: bytes, names: tuple[bytes, ...]
    ) -> Headers:
        """Return a copy without fields of some names, and with lines added.

        `lines` and `names` are as `append_lines` takes them.
        """
        search = self._search
        passed = None if search is None else search.passed
        if passed is None or self._added or not self._notes_all(without):
            twin = self.copy()
            twin.remove_all(without)
            if lines:
                twin.append_lines(lines, names)
            return twin
        # As above, in one step: every head that is passed on comes this way.
        twin = Headers(self._raw_lines(), passed, (), self._length, self.host)
        twin._cuts = self._hop
        twin._passed_on = True
        if len(lines):
            twin._tail, twin._added, twin.ordinary = lines, names, False
        return twin

    def _notes_all(self, names: frozenset[bytes]) -> bool:
        """Tell whether those fields of these names that are here are all in `_hop`."""
        if names is HOP_BY_HOP_AND_LENGTH:
            return self._length < 0
        return names is HOP_BY_HOP

    def framed_by(self, length: int) -> bool:
        """Tell whether these surely frame content of a length; -1: of an unknown one.

        There is no field of this hop, and Content-Length says so or is not there.
        """
        return self._passed_on and self._length == length

    def wire(self, without: frozenset[bytes] = NOTHING) -> bytes:
        """Return the field lines, without the empty line that ends a head.

        `without`: lower-case names of fields to leave out.
        """
        if self._search is not None:
            if without is NOTHING or self._lacks_all(without):
                return self._spliced()
            twin = self.copy()
            twin.remove_all(without)
            return twin.wire()
        pairs = zip(self.names(), self._lines, strict=True)
        lines = [line for name, line in pairs if name not in without]
        return b"\r\n".join(lines) + b"\r\n" if lines else b""

    def _lacks_all(self, names: frozenset[bytes]) -> bool:
        """Tell whether a search has looked for all these and none is here."""
        assert self._search is not None, "asked where there is a search"
        return (
            names.isdisjoint(self._search.there)
            and names <= self._search.names
            and names.isdisjoint(self._added)
        )

    def _spliced(self) -> bytes:
        """Join what stands between the cuts, and the tail."""
        raw, cuts = self._raw_lines(), self._cuts
        if not cuts:
            return raw + self._tail
        if len(cuts) == 1:
            ((start, end),) = cuts
            return b"%b%b%b" % (raw[:start], raw[end:], self._tail)
        pieces, at = [], 0
        for start, end in sorted(cuts):
            pieces.append(raw[at:start])
            at = end
        pieces += (raw[at:], self._tail)
        return b"".join(pieces)
