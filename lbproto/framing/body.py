"""Strict decoders of content: where it ends, and what of a read belongs to it.

RFC 9112 6.3 knows three ways to tell where content ends: a length, chunks, the end
of the connection. Each is a decoder here. A decoder takes one read at a time and
gives back one `Piece`: the content in it, how many bytes were used (the rest is
the next message), and whether the content is complete.

An error is part of a piece and not raised, since content before it in the same
read is as good as if it had come alone. It is a property of the shortest prefix
that is wrong, so it does not depend on how the bytes were cut into reads: a line
is judged when its LF comes, or refused when it reaches its bound without one, or
with the byte behind a CR that is no LF.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, Protocol

from lbproto.framing.chunks import CANONICAL, HEX, SMALL, SMALL_RUN, whole_chunk
from lbproto.framing.codec import CodecLimits
from lbproto.framing.grammar import FIELD_LINE, chunk_line, show
from lbproto.framing.scanner import bare_cr
from lbproto.machine.errors import ErrorCode, RemoteProtocolError
from lbproto.machine.values import value

__all__ = [
    "ChunkedDecoder",
    "Decoder",
    "LengthDecoder",
    "Piece",
    "UntilCloseDecoder",
    "at_most",
]


@value
class Piece:
    """What one read held of the content."""

    content: bytes
    used: int
    """Bytes of the read that belong to this message."""
    complete: bool
    error: RemoteProtocolError | None = None
    chunks: bytes = b""
    """The content as it came, if that was whole canonical chunks."""


class Decoder(Protocol):
    """Reads the content of one message."""

    def receive(self, data: bytes) -> Piece:
        """Take one read; not again after an error or the end."""
        ...

    @property
    def complete(self) -> bool:
        """The content has ended."""
        ...

    @property
    def buffered(self) -> int:
        """How many received bytes are kept."""
        ...


def at_most(data: bytes, count: int) -> bytes:
    """Return the first bytes of a read; compiled, a slice of all would be a copy."""
    return data if len(data) <= count else data[:count]


class LengthDecoder:
    """Content of a known length; 0 where there is none."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        self._left = length

    def receive(self, data: bytes) -> Piece:
        """Take one read."""
        content = at_most(data, self._left)
        self._left -= len(content)
        return Piece(content, len(content), self._left == 0)

    @property
    def complete(self) -> bool:
        """The content has ended."""
        return self._left == 0

    @property
    def buffered(self) -> int:
        """How many received bytes are kept: none."""
        return 0


class UntilCloseDecoder:
    """Content that ends with the connection; only a response may have it."""

    __slots__ = ()

    def receive(self, data: bytes) -> Piece:
        """Take one read."""
        return Piece(data, len(data), complete=False)

    @property
    def complete(self) -> bool:
        """Never: only the end of the connection tells."""
        return False

    @property
    def buffered(self) -> int:
        """How many received bytes are kept: none."""
        return 0


class _Expects(Enum):
    """What comes next in a chunked body."""

    SIZE = auto()
    DATA = auto()
    CR = auto()
    """The end of a chunk's data."""
    LF = auto()
    TRAILER = auto()
    NOTHING = auto()


SIZE: Final = _Expects.SIZE  # Python 3.11 is slow to find a member by its class

SIZE_DIGITS: Final = 16


class ChunkedDecoder:
    """Content in chunks (RFC 9112 7.1); extensions are dropped."""

    __slots__ = (
        "_expects",
        "_extensions",
        "_left",
        "_limits",
        "_line",
        "_odd",
        "_small",
        "_total",
        "_trailer_fields",
        "_trailer_size",
        "trailers",
    )

    def __init__(self, limits: CodecLimits) -> None:
        self._limits = limits
        self._expects = SIZE
        self._left = 0  # of the current chunk
        self._total = 0
        self._small = 0  # chunks
        self._odd = 0  # chunks
        self._extensions = 0
        self._trailer_size = 0
        self._trailer_fields = 0
        self.trailers = b""
        """The field lines of the trailer section, if they are kept."""
        self._line = bytearray()  # the beginning of an incomplete line

    @property
    def complete(self) -> bool:
        """The content has ended."""
        return self._expects is _Expects.NOTHING

    @property
    def buffered(self) -> int:
        """How many received bytes are kept."""
        return len(self._line)

    def receive(self, data: bytes) -> Piece:
        """Take one read."""
        content: list[bytes] = []
        at = whole = 0
        if self._expects is SIZE and not self._line:
            at = whole = self._large_chunks(data, 0, content)
        before = len(content)
        error = None
        try:
            while at < len(data) and self._expects is not _Expects.NOTHING:
                if self._expects is _Expects.DATA:
                    part = data[at : at + self._left]
                    content.append(part)
                    at += len(part)
                    self._left -= len(part)
                    if self._left == 0:
                        self._expects = _Expects.CR
                elif self._expects in (_Expects.CR, _Expects.LF):
                    self._end_of_data(data[at])
                    at += 1
                elif self._expects is SIZE:
                    at = self._chunks(data, at, content)
                else:
                    at = self._trailer_line(data, at)
        except RemoteProtocolError as refusal:
            error = refusal
        if len(content) > before:
            whole = 0  # the read holds a chunk that is not whole, or not canonical
        return Piece(b"".join(content), at, self.complete, error, data[:whole])

    def straight(self, data: bytes) -> int:
        """Take a read, if it is one whole canonical chunk that is not small.

        Returns the bytes of content in it; 0: it is not, and nothing was taken.
        """
        if (
            self._expects is not SIZE
            or self._line
            or self._limits.body_size is not None
        ):
            return 0
        size = whole_chunk(data)
        self._total += size
        return size

    def _chunks(self, data: bytes, at: int, content: list[bytes]) -> int:
        """Take chunks that are whole and canonical, or else one line that is not."""
        if not self._line:
            begin = at
            at = self._small_chunks(data, at, content)
            at = self._large_chunks(data, at, content)
            if at > begin:
                return at
        return self._size_line(data, at)

    def _large_chunks(self, data: bytes, at: int, content: list[bytes]) -> int:
        """Take the chunks from here on that are whole, canonical and not small.

        Returns where they end. What is not of this kind is judged line by line.
        """
        total = self._total
        limit = self._limits.body_size
        while (found := CANONICAL.match(data, at)) is not None:
            begin = found.end()
            size = int(found[1], 16)
            end = begin + size
            if data[end : end + 2] != b"\r\n":
                break
            if (limit is not None and total + size > limit) or size < SMALL:
                break
            content.append(data[begin:end])
            total += size
            at = end + 2
        self._total = total
        return at

    def _small_chunks(self, data: bytes, at: int, content: list[bytes]) -> int:
        """Take the small chunks from here on that are whole and canonical.

        One expression validates all of them; what is left costs a tenth of judging
        line by line. A chunk that is too much is left to who says so.
        """
        run = SMALL_RUN.match(data, at)
        if run is None:
            return at
        last, most, limit = run.end(), self._limits.small_chunks, self._limits.body_size
        room = len(data) if most is None else most - self._small
        left = len(data) if limit is None else limit - self._total
        count = len(content)
        while at < last:
            begin = at + len(b"1\r\n")
            end = begin + HEX[data[at]]
            left -= end - begin
            room -= 1
            if room < 0 or left < 0:
                break
            content.append(data[begin:end])
            at = end + len(b"\r\n")
        self._small += len(content) - count
        self._total += sum(map(len, content[count:]))
        return at

    def _take_line(self, data: bytes, at: int, room: int) -> tuple[bytes | None, int]:
        """Take a line with its LF, of which `room` bytes more may come.

        Returns None for the line when the data or the room is used up.
        """
        end = data.find(b"\n", at, at + room) + 1
        if end == 0:
            end = min(len(data), at + room)
            seen = max(len(self._line) - 1, 0)
            self._line += data[at:end]
            if wrong := bare_cr(self._line, seen, len(self._line)):
                raise _syntax("CR without LF", self._line[:wrong])
            return None, end
        line = data[at:end]
        if self._line:
            line = bytes(self._line) + line
            self._line.clear()
        return line, end

    def _size_line(self, data: bytes, at: int) -> int:
        budget = self._limits.chunk_extensions - self._extensions
        longest = SIZE_DIGITS + budget + len(b"\r\n")
        line, at = self._take_line(data, at, longest - len(self._line))
        if line is None:
            if len(self._line) == longest:
                raise _syntax(f"no end of chunk line in {longest} bytes", self._line)
            return at
        found = chunk_line(line)
        if found is None:
            if wrong := bare_cr(line, 0, len(line)):
                raise _syntax("CR without LF", line[:wrong])
            raise _syntax("not a chunk size and extensions, ended by CRLF", line)
        size, extensions = found
        if extensions or (size and line[:1] == b"0"):
            self._count_oddity()
        self._extensions += extensions
        if extensions > budget:
            limit = self._limits.chunk_extensions
            raise _syntax(f"more than {limit} bytes of chunk extensions", line)
        self._begin_chunk(size)
        return at

    def _count_oddity(self) -> None:
        """Bound what is legal, useless and dear: extensions, and leading zeros."""
        self._odd += 1
        most = self._limits.odd_chunks
        if self._odd > most:
            detail = f"more than {most} chunks with extensions or leading zeros"
            raise RemoteProtocolError(ErrorCode.SYNTAX, detail)

    def _begin_chunk(self, size: int) -> None:
        if 0 < size < SMALL:
            self._small += 1
            most = self._limits.small_chunks
            if most is not None and self._small > most:
                detail = f"more than {most} chunks of less than {SMALL} bytes"
                raise RemoteProtocolError(ErrorCode.SYNTAX, detail)
        self._total += size
        limit = self._limits.body_size
        if limit is not None and self._total > limit:
            detail = f"chunks of {self._total} bytes, at most {limit} are taken"
            raise RemoteProtocolError(ErrorCode.CONTENT_TOO_LARGE, detail)
        self._left = size
        self._expects = _Expects.DATA if size else _Expects.TRAILER

    def _end_of_data(self, byte: int) -> None:
        if self._expects is _Expects.CR and byte == 0x0D:
            self._expects = _Expects.LF
        elif self._expects is _Expects.LF and byte == 0x0A:
            self._expects = SIZE
        else:
            raise _syntax("no CRLF after the data of a chunk", bytes((byte,)))

    def _trailer_line(self, data: bytes, at: int) -> int:
        limit = self._limits.trailer_size + len(b"\r\n")  # of the line that ends it
        room = limit - self._trailer_size - len(self._line)
        line, at = self._take_line(data, at, room)
        if line is None:
            if self._trailer_size + len(self._line) >= limit:
                most = self._limits.trailer_size
                detail = f"a trailer section of more than {most} bytes"
                raise RemoteProtocolError(ErrorCode.FIELDS_TOO_LARGE, detail)
            return at
        self._trailer_size += len(line)
        if line == b"\r\n":
            self._expects = _Expects.NOTHING
            return at
        if wrong := bare_cr(line, 0, len(line)):
            raise _syntax("CR without LF", line[:wrong])
        self._trailer_fields += 1
        if self._trailer_fields > self._limits.header_count:
            detail = f"more than {self._limits.header_count} trailer fields"
            raise RemoteProtocolError(ErrorCode.FIELDS_TOO_LARGE, detail)
        if line[-2:] != b"\r\n" or FIELD_LINE.fullmatch(line, 0, len(line) - 2) is None:
            raise _syntax("not a trailer field ended by CRLF", line)
        if self._limits.keep_trailers:
            self.trailers += line
        return at


def _syntax(expected: str, seen: bytes | bytearray) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.SYNTAX, f"{expected}: {show(bytes(seen))}")
