"""The gate: every head passes it before anything else sees a byte of the message.

A head is bytes on one side and a typed `RequestHead` or `ResponseHead` on the
other; what breaks the grammar or leaves the framing in doubt does not come out.

The result does not depend on how the bytes were cut into reads, because each
error belongs to the shortest prefix that is wrong:

* the first byte is judged when it comes, so that a TLS hello ends at once;
* a line is judged when its LF comes; a bare LF ends a line too, one that is
  refused (RFC 9112 2.2 would let us take it, and others do not);
* a CR is judged with the byte behind it, so that a line which others end there
  does not wait for its LF;
* a line or a head without end is refused when it reaches its bound;
* what a complete head means (Host, framing, Expect) is judged when it is complete.

`scanner` does the first four for either direction; here a complete head gets its
meaning.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from lbproto.framing import grammar
from lbproto.framing.codec import CodecLimits
from lbproto.framing.grammar import show
from lbproto.framing.headers import Headers
from lbproto.framing.messages import (
    NO_BODY,
    WITHOUT_CONTENT,
    BodyKind,
    RequestHead,
    ResponseHead,
    Version,
)
from lbproto.framing.scanner import HeadRules, HeadScanner
from lbproto.machine.errors import ErrorCode, RemoteProtocolError
from lbproto.machine.values import value

__all__ = [
    "GatedRequest",
    "GatedResponse",
    "RequestReader",
    "ResponseReader",
]

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


@lru_cache(maxsize=64)
def _request_rules(limits: CodecLimits) -> HeadRules:
    return HeadRules(
        block=grammar.REQUEST_HEAD,
        first_bytes=grammar.TOKEN_BYTES,
        empty_lines=EMPTY_LINES,
        line_size=limits.request_line,
        size=limits.header_size,
        count=limits.header_count,
        syntax=ErrorCode.SYNTAX,
        line_too_long=ErrorCode.TARGET_TOO_LONG,
        too_large=ErrorCode.FIELDS_TOO_LARGE,
    )


@lru_cache(maxsize=64)
def _response_rules(limits: CodecLimits) -> HeadRules:
    return HeadRules(
        block=grammar.RESPONSE_HEAD,
        first_bytes=b"H",
        empty_lines=0,
        line_size=limits.response_header_size,
        size=limits.response_header_size,
        count=limits.header_count,
        syntax=ErrorCode.RESPONSE_INVALID,
        line_too_long=ErrorCode.RESPONSE_TOO_LARGE,
        too_large=ErrorCode.RESPONSE_TOO_LARGE,
    )


class RequestReader:
    """Reads the head of one request."""

    __slots__ = ("_limits", "_scanner", "_start", "_stream")

    def __init__(self, limits: CodecLimits, stream: int) -> None:
        self._limits = limits
        self._stream = stream
        self._start: tuple[bytes, bytes, bytes, bytes | None, Version] | None = None
        self._scanner = HeadScanner(_request_rules(limits), self._take_start)

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
        self._scanner = HeadScanner(_response_rules(limits), self._take_start)

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
        if status < 200 or status in WITHOUT_CONTENT or self._method == b"HEAD":
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
