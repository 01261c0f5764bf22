"""Writing heads: the start line, the fields as they are, the framing as it is now.

Fields keep their order, case and bytes. What describes this hop only is the
codec's to write: how the content is framed (never two ways at once, RFC 9112
6.2), whether the connection ends, and what it may switch to. Every codec of
HTTP/1 writes its heads here.
"""

from __future__ import annotations

from typing import Final

from lbproto.framing.headers import Headers
from lbproto.framing.messages import (
    CLOSE,
    COUNTED,
    NO_OPTIONS,
    STREAMED,
    BodyHint,
    RequestHead,
    ResponseHead,
)

__all__ = ["write_request", "write_response"]

HOP: Final = frozenset({b"connection", b"transfer-encoding", b"upgrade"})
HOP_AND_LENGTH: Final = HOP | {b"content-length"}
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"


def write_request(head: RequestHead) -> bytes:
    """Write a request head in HTTP/1.1."""
    lines = _framed(head.headers, head.body)
    if head.body.kind is STREAMED:
        lines += CHUNKED
    if len(head.upgrade) or len(head.nominated):
        lines += _hop(head.upgrade, head.nominated)
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (head.method, head.target, lines)


def write_response(
    head: ResponseHead, body: BodyHint, *, chunked: bool, close: bool
) -> bytes:
    """Write a response head in HTTP/1.1, our own version (RFC 9112 2.3).

    `body` is how the content is framed, which depends on the request too.
    `chunked`: the content follows in chunks. `close`: the connection ends after it.
    """
    if head.status < 200 or head.status == 204:
        lines = head.headers.wire(HOP_AND_LENGTH)  # RFC 9110 8.6
    else:
        lines = _framed(head.headers, body)
    if chunked:
        lines += CHUNKED
    if close or len(head.upgrade):
        lines += _hop(head.upgrade, CLOSE if close else NO_OPTIONS)
    # The space before an empty reason is not optional (RFC 9112 4).
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (head.status, head.reason, lines)


def _framed(headers: Headers, body: BodyHint) -> bytes:
    """Write fields with a canonical Content-Length or none, and none of this hop."""
    if headers.framed_by(body.length if body.kind is COUNTED else -1):
        return headers.wire()
    if body.kind is STREAMED:
        return headers.wire(HOP_AND_LENGTH)
    if body.kind is COUNTED:
        canonical = b"%d" % body.length
        if not headers.holds_once(b"content-length", canonical):
            headers = headers.copy()
            headers.insert_header(b"Content-Length", canonical)
    return headers.wire(HOP)


def _hop(upgrade: bytes, options: frozenset[bytes]) -> bytes:
    """Write what is said of this connection alone."""
    named = b", ".join([*sorted(options), *([b"upgrade"] if upgrade else [])])
    lines = b"Connection: %b\r\n" % named
    return lines + b"Upgrade: %b\r\n" % upgrade if upgrade else lines
