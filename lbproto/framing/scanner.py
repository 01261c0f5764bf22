"""Finding the end of a head, and the first error on the way there.

A head that arrives whole, as nearly all do, is found with one `find` and matched
with one expression; only if that fails are its lines looked at one by one, to say
which is wrong. A head that arrives in pieces is never searched twice at one place.
Why the result does not depend on how the bytes were cut is said in `head`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from lbproto.framing import grammar
from lbproto.framing.grammar import show
from lbproto.machine.errors import ErrorCode, RemoteProtocolError
from lbproto.machine.values import value

__all__ = ["HeadRules", "HeadScanner", "bare_cr"]

CR: Final = 0x0D

BARE_CR: Final = re.compile(rb"\r[^\n]")


def bare_cr(data: bytes | bytearray, begin: int, end: int) -> int:
    """Return where the shortest prefix ends that has a CR without LF; 0: none has.

    It ends no line (RFC 9112 2.2), and an LF may never come.
    """
    found = BARE_CR.search(data, begin, end)
    return 0 if found is None else found.end()


SECRET: Final = re.compile(
    rb"[ \t]*+(?:(?:proxy-)?authorization|(?:set-)?cookie)", re.IGNORECASE
)
"""What begins a line that holds credentials."""


@value
class HeadRules:
    """What `HeadScanner` has to know of a direction."""

    block: re.Pattern[bytes]
    """Matches a whole head."""
    first_bytes: bytes
    """Those with which a head can begin."""
    empty_lines: int
    """How many are skipped before a head."""
    line_size: int
    size: int
    count: int
    syntax: ErrorCode
    line_too_long: ErrorCode
    too_large: ErrorCode


class HeadScanner:
    """Finds where one head ends, and judges its lines on the way."""

    __slots__ = (
        "_at",
        "_begun",
        "_buffer",
        "_lines",
        "_rules",
        "_seen",
        "_skipped",
        "_start",
    )

    def __init__(self, rules: HeadRules, start: Callable[[bytes], None]) -> None:
        """`start` judges the first line, without CRLF."""
        self._rules = rules
        self._start = start
        self._reset()

    def _reset(self) -> None:
        self._buffer = bytearray()
        self._begun = False
        self._skipped = 0  # empty lines before the head
        self._lines = 0  # complete lines
        self._at = 0  # where the current line begins
        self._seen = 0  # no LF of the current line before this

    @property
    def begun(self) -> bool:
        """A byte of the head is there; empty lines before it do not count."""
        return self._begun

    @property
    def buffered(self) -> int:
        """How many received bytes are kept."""
        return len(self._buffer)

    def receive(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Take bytes; return the head and what follows it once it is complete.

        After that the scanner is ready for another head.

        Raises:
            RemoteProtocolError: the bytes so far cannot become a head.
        """
        if not self._buffer:
            end = self._match_at_once(data)
            if end:
                self._reset()
                return data[:end], data[end:]
        self._buffer += data
        if not self._begun and not self._begin():
            return None
        return self._read_lines()

    def _match_at_once(self, data: bytes) -> int:
        """Return the size of a head that is complete and right; 0 if it is not."""
        rules = self._rules
        end = data.find(b"\r\n\r\n") + 4
        if not 4 <= end <= rules.size:
            return 0
        line_end = data.find(b"\r\n")
        if line_end + 2 > rules.line_size:
            return 0
        if data.count(b"\n", 0, end) - 2 > rules.count:
            return 0
        if rules.block.fullmatch(data, 0, end) is None:
            return 0
        self._start(data[:line_end])
        return end

    def _begin(self) -> bool:
        """Skip empty lines; tell whether the head has begun."""
        buffer, rules = self._buffer, self._rules
        while buffer:
            if buffer[0] != CR or not rules.empty_lines:
                break
            if len(buffer) == 1:
                return False
            if buffer[1:2] != b"\n":
                raise self._refuse("CR without LF before the head", bytes(buffer))
            self._skipped += 1
            if self._skipped > rules.empty_lines:
                raise self._refuse("too many empty lines before the head", b"\r\n")
            del buffer[:2]
        if not buffer:
            return False
        if buffer[0] not in rules.first_bytes:
            raise self._refuse("a head cannot begin with this", bytes(buffer[:1]))
        self._begun = True
        return True

    def _read_lines(self) -> tuple[bytes, bytes] | None:
        buffer, rules = self._buffer, self._rules
        while True:
            bound = rules.size
            if not self._lines:
                bound = min(bound, rules.line_size)
            end = buffer.find(b"\n", self._seen, bound) + 1
            if not end:
                start = max(self._at, self._seen - 1)
                if wrong := bare_cr(buffer, start, bound):
                    raise self._bare_cr(bytes(buffer[self._at : wrong]))
                self._seen = len(buffer)
                if len(buffer) >= bound:
                    raise self._too_large(bound)
                return None
            line = bytes(buffer[self._at : end])
            self._at = self._seen = end
            if self._lines and line == b"\r\n":
                self._reset()
                return bytes(buffer[:end]), bytes(buffer[end:])
            self._judge(line)
            self._lines += 1

    def _judge(self, line: bytes) -> None:
        rules = self._rules
        if wrong := bare_cr(line, 0, len(line)):
            raise self._bare_cr(line[:wrong])
        if self._lines > rules.count:
            detail = f"more than {rules.count} fields"
            raise RemoteProtocolError(rules.too_large, detail)
        if line[-2:] != b"\r\n":
            raise self._refuse("a line ended by LF without CR", _without_secrets(line))
        if not self._lines:
            self._start(line[:-2])
        elif grammar.FIELD_LINE.fullmatch(line, 0, len(line) - 2) is None:
            raise self._refuse("not a field line `name: value`", _without_secrets(line))

    def _bare_cr(self, line: bytes) -> RemoteProtocolError:
        return self._refuse("CR without LF", _without_secrets(line))

    def _too_large(self, bound: int) -> RemoteProtocolError:
        rules = self._rules
        if not self._lines and bound == rules.line_size:
            detail = f"no end of the first line in {bound} bytes"
            return RemoteProtocolError(rules.line_too_long, detail)
        detail = f"no end of the head in {bound} bytes"
        return RemoteProtocolError(rules.too_large, detail)

    def _refuse(self, what: str, seen: bytes) -> RemoteProtocolError:
        return RemoteProtocolError(self._rules.syntax, f"{what}: {show(seen)}")


def _without_secrets(line: bytes) -> bytes:
    """Leave out what no log may hold, be it right or wrong."""
    found = SECRET.match(line)
    return line if found is None else found[0]
