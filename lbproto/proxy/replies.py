"""Responses that we make ourselves.

A short plain body, no byte of the request in it (it would be a reflection
gadget), `Date`, `Content-Length`, what the status demands (`Allow` in a 405, RFC
9110 15.5.6; `Retry-After` in a 503), and `Proxy-Status` (RFC 9209) with the
reason in a form that a program can read. `Connection: close` is the codec's.
"""

from __future__ import annotations

from typing import Final

from lbproto.config import Service
from lbproto.framing.headers import Headers
from lbproto.framing.messages import ResponseHead, Version, length
from lbproto.machine.errors import VERDICTS, ErrorCode

__all__ = ["ALLOW", "error_reply", "options_reply"]

REASONS: Final = {
    200: b"OK",
    400: b"Bad Request",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    414: b"URI Too Long",
    417: b"Expectation Failed",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}

ALLOW: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
RETRY_AFTER: Final = b"1"


def error_reply(
    code: ErrorCode, service: Service, stream: int, date: bytes
) -> tuple[ResponseHead, bytes]:
    """Build the response to an error whose verdict has a status."""
    verdict = VERDICTS[code]
    reason = REASONS[verdict.status]
    content = b"%d %b\n" % (verdict.status, reason)
    fields = [
        (b"Date", date),
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", b"%d" % len(content)),
    ]
    if verdict.status == 405:
        fields.append((b"Allow", ALLOW))
    elif verdict.status == 503:
        fields.append((b"Retry-After", RETRY_AFTER))
    if service.proxy_status and verdict.proxy_error:
        name = service.via or b"lb"
        error = verdict.proxy_error.encode("ascii")
        fields.append((b"Proxy-Status", name + b"; error=" + error))
    return _response(verdict.status, fields, stream, len(content)), content


def options_reply(stream: int, date: bytes) -> ResponseHead:
    """Answer OPTIONS with `Max-Forwards: 0` as the final recipient (RFC 9110 7.6.2)."""
    fields = [(b"Date", date), (b"Allow", ALLOW), (b"Content-Length", b"0")]
    return _response(200, fields, stream, 0)


def _response(
    status: int, fields: list[tuple[bytes, bytes]], stream: int, size: int
) -> ResponseHead:
    return ResponseHead(
        stream=stream,
        status=status,
        reason=REASONS[status],
        headers=Headers.from_pairs(fields),
        body=length(size),
        version=Version.HTTP11,
    )
