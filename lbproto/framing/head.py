"""The gate: every head passes it before anything else sees a byte of the message.

A head is bytes on one side and a typed `RequestHead` or `ResponseHead` on the
other; what breaks the grammar or leaves the framing in doubt does not come out.

The result does not depend on how the bytes were cut into reads, because each
error belongs to the shortest prefix that is wrong:

* the first byte is judged when it comes, so that a TLS hello ends at once;
* a line is judged when its LF comes; a bare LF ends a line too, one that is
  refused (RFC 9112 2.2 would let us take it, and others do not);
* a line or a head without end is refused when it reaches its bound;
* what a complete head means (Host, framing, Expect) is judged when it is complete.

`HeadScanner` does the first three for either direction. A head that arrives whole,
as nearly all do, is found with one `find` and matched with one expression; only
if that fails are its lines looked at one by one, to say which is wrong. A head
that arrives in pieces is never searched twice at one place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from lbproto.framing import grammar
from lbproto.framing.codec import CodecLimits
from lbproto.framing.grammar import show
from lbproto.framing.headers import Headers
from lbproto.framing.messages import (
    NO_BODY,
    BodyKind,
    RequestHead,
    ResponseHead,
    Version,
)
from lbproto.machine.errors import ErrorCode, RemoteProtocolError
from lbproto.machine.values import value

__all__ = [
    "GatedRequest",
    "GatedResponse",
    "HeadRules",
    "HeadScanner",
    "RequestReader",
    "ResponseReader",
]

CR: Final = 0x0D
EMPTY_LINES: Final = 2
"""How many may stand before a request line (RFC 9112 2.2)."""

NOT_FOR_ONE_HOP: Final = (b"host", b"content-length", b"transfer-encoding")
"""The meaning of the message hangs on these; no Connection may name them."""


@value
class GatedRequest:
    """A request head that has passed, and what came with it."""

    head: RequestHead
    wire: bytes
    """Its bytes, from the request line to the empty line."""
    rest: bytes
    """What came behind it."""


@value
class GatedResponse:
    """A response head that has passed, and what came with it."""

    head: ResponseHead
    wire: bytes
    rest: bytes
    chunked: bool
    """Its content is chunked; a `STREAM` that is not ends with the connection."""


@value
class HeadRules:
    """What `HeadScanner` has to know of a direction."""

    block: re.Pattern[bytes]
    """Matches a whole head."""
    start: Callable[[bytes], None]
    """Judges the first line, without CRLF."""
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

    __slots__ = ("_at", "_begun", "_buffer", "_lines", "_rules", "_seen", "_skipped")

    def __init__(self, rules: HeadRules) -> None:
        self._rules = rules
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
        rules.start(data[:line_end])
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
        if self._lines > rules.count:
            detail = f"more than {rules.count} fields"
            raise RemoteProtocolError(rules.too_large, detail)
        if line[-2:] != b"\r\n":
            raise self._refuse("a line ended by LF without CR", line)
        if not self._lines:
            rules.start(line[:-2])
        elif grammar.FIELD_LINE.fullmatch(line, 0, len(line) - 2) is None:
            raise self._refuse("not a field line `name: value`", line)

    def _too_large(self, bound: int) -> RemoteProtocolError:
        rules = self._rules
        if not self._lines and bound == rules.line_size:
            detail = f"no end of the first line in {bound} bytes"
            return RemoteProtocolError(rules.line_too_long, detail)
        detail = f"no end of the head in {bound} bytes"
        return RemoteProtocolError(rules.too_large, detail)

    def _refuse(self, what: str, seen: bytes) -> RemoteProtocolError:
        return RemoteProtocolError(self._rules.syntax, f"{what}: {show(seen)}")


class RequestReader:
    """Reads the head of one request."""

    __slots__ = ("_limits", "_scanner", "_start", "_stream")

    def __init__(self, limits: CodecLimits, stream: int) -> None:
        self._limits = limits
        self._stream = stream
        self._start: tuple[bytes, bytes, bytes, bytes | None, Version] | None = None
        self._scanner = HeadScanner(
            HeadRules(
                block=grammar.REQUEST_HEAD,
                start=self._take_start,
                first_bytes=grammar.TOKEN_BYTES,
                empty_lines=EMPTY_LINES,
                line_size=limits.request_line,
                size=limits.header_size,
                count=limits.header_count,
                syntax=ErrorCode.SYNTAX,
                line_too_long=ErrorCode.TARGET_TOO_LONG,
                too_large=ErrorCode.FIELDS_TOO_LARGE,
            )
        )

    @property
    def begun(self) -> bool:
        """A byte of the head is there; empty lines before it do not count."""
        return self._scanner.begun

    @property
    def buffered(self) -> int:
        """How many received bytes are kept."""
        return self._scanner.buffered

    def receive(self, data: bytes) -> GatedRequest | None:
        """Take bytes; return the head once it is complete.

        Raises:
            RemoteProtocolError: the bytes so far cannot become a request that we
                take.
        """
        found = self._scanner.receive(data)
        if found is None:
            return None
        wire, rest = found
        return GatedRequest(self._head(wire), wire, rest)

    def _take_start(self, line: bytes) -> None:
        found = grammar.REQUEST_LINE.fullmatch(line)
        if found is None:
            raise grammar.syntax("not `METHOD target HTTP/1.1`", line)
        method, target, major, minor = found.groups()
        if major != b"1":
            # RFC 9110 15.6.6
            detail = f"HTTP/{major.decode()}.{minor.decode()}, we speak HTTP/1.1"
            raise RemoteProtocolError(ErrorCode.VERSION, detail)
        if len(method) > grammar.MAX_METHOD:
            detail = f"a method of {len(method)} bytes: {show(method)}"
            raise RemoteProtocolError(ErrorCode.METHOD_UNKNOWN, detail)
        # RFC 9110 6.2: a higher minor version is read as the highest we know.
        version = Version.HTTP10 if minor == b"0" else Version.HTTP11
        self._start = (method, *grammar.target_forms(method, target), version)

    def _head(self, wire: bytes) -> RequestHead:
        assert self._start is not None  # the scanner has judged the first line
        method, target, scheme, authority, version = self._start
        fields = grammar.framing_fields(wire)
        host = grammar.host(fields, version)
        nominated = grammar.connection_options(fields.get(b"connection", []))
        for name in NOT_FOR_ONE_HOP:
            if name in nominated:
                # RFC 9110 7.6.1: they are for all recipients.
                raise grammar.syntax("Connection names a field that frames", name)
        body = grammar.request_body(fields, version)
        if method in (b"CONNECT", b"TRACE"):
            detail = f"{method.decode()} is not served"
            raise RemoteProtocolError(ErrorCode.METHOD_REFUSED, detail)
        expects = grammar.expects_continue(fields, version)
        limit = self._limits.body_size
        if limit is not None and body.length > limit:
            detail = f"Content-Length {body.length}, at most {limit} are taken"
            raise RemoteProtocolError(ErrorCode.CONTENT_TOO_LARGE, detail)
        upgrade = b""
        if version is Version.HTTP11 and b"upgrade" in nominated:
            # RFC 9110 7.8: from 1.0 it is ignored, and so it is without the option.
            upgrade = _joined(fields.get(b"upgrade", []))
        return RequestHead(
            stream=self._stream,
            method=method,
            target=target,
            authority=host if authority is None else authority,
            scheme=scheme,
            headers=Headers(wire[wire.index(b"\n") + 1 : -2]),
            body=body,
            version=version,
            nominated=nominated,
            upgrade=upgrade,
            expects_continue=expects,
        )


class ResponseReader:
    """Reads one head of the response to a request, interim or final."""

    __slots__ = ("_method", "_scanner", "_start", "_stream")

    def __init__(self, limits: CodecLimits, stream: int, method: bytes) -> None:
        self._stream = stream
        self._method = method
        self._start: tuple[Version, int, bytes] | None = None
        self._scanner = HeadScanner(
            HeadRules(
                block=grammar.RESPONSE_HEAD,
                start=self._take_start,
                first_bytes=b"H",
                empty_lines=0,
                line_size=limits.response_header_size,
                size=limits.response_header_size,
                count=limits.header_count,
                syntax=ErrorCode.RESPONSE_INVALID,
                line_too_long=ErrorCode.RESPONSE_TOO_LARGE,
                too_large=ErrorCode.RESPONSE_TOO_LARGE,
            )
        )

    @property
    def buffered(self) -> int:
        """How many received bytes are kept."""
        return self._scanner.buffered

    def receive(self, data: bytes) -> GatedResponse | None:
        """Take bytes; return the head once it is complete.

        Raises:
            RemoteProtocolError: the bytes so far cannot become a response.
        """
        found = self._scanner.receive(data)
        if found is None:
            return None
        wire, rest = found
        fields = grammar.framing_fields(wire)
        assert self._start is not None  # the scanner has judged the first line
        version, status, reason = self._start
        body = grammar.response_body(fields, version)
        chunked = body.kind is BodyKind.STREAM and b"transfer-encoding" in fields
        if status < 200 or status in (204, 304) or self._method == b"HEAD":
            body, chunked = NO_BODY, False  # RFC 9112 6.3, whatever the fields say
        head = ResponseHead(
            stream=self._stream,
            status=status,
            reason=reason,
            headers=Headers(wire[wire.index(b"\n") + 1 : -2]),
            body=body,
            version=version,
            nominated=grammar.connection_options(fields.get(b"connection", [])),
            upgrade=_joined(fields.get(b"upgrade", [])),
        )
        return GatedResponse(head, wire, rest, chunked)

    def _take_start(self, line: bytes) -> None:
        found = grammar.STATUS_LINE.fullmatch(line)
        if found is None:
            raise grammar.invalid("not `HTTP/1.1 status reason`", line)
        minor, status, reason = found.groups()
        version = Version.HTTP10 if minor == b"0" else Version.HTTP11
        self._start = version, int(status), reason or b""


def _joined(values: list[bytes]) -> bytes:
    return b", ".join(values).strip(grammar.BLANKS)
