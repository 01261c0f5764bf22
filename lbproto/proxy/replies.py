"""Responses that we make ourselves.

A short plain body, no byte of the request in it (it would be a reflection
gadget), `Date`, `Content-Length`, what the status demands (`Allow` in a 405, RFC
9110 15.5.6; `Retry-After` in a 503), and `Proxy-Status` (RFC 9209) with the
reason in a form that a program can read. `Connection: close` is the codec's.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from lbproto.config import Respond, Service
from lbproto.framing.headers import Headers
from lbproto.framing.messages import NO_BODY, ResponseHead, Version, length
from lbproto.machine.errors import VERDICTS, ErrorCode

__all__ = ["ALLOW", "error_reply", "fixed_reply", "options_reply", "redirect_reply"]

REASONS: Final = {
    200: b"OK",
    201: b"Created",
    202: b"Accepted",
    204: b"No Content",
    301: b"Moved Permanently",
    302: b"Found",
    303: b"See Other",
    304: b"Not Modified",
    307: b"Temporary Redirect",
    308: b"Permanent Redirect",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    406: b"Not Acceptable",
    408: b"Request Timeout",
    409: b"Conflict",
    410: b"Gone",
    413: b"Content Too Large",
    414: b"URI Too Long",
    415: b"Unsupported Media Type",
    417: b"Expectation Failed",
    421: b"Misdirected Request",
    422: b"Unprocessable Content",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    451: b"Unavailable For Legal Reasons",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}
"""RFC 9110 15; a status that is not here goes without."""

ITEM_TOKEN: Final = re.compile(rb"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*+")
"""RFC 8941 3.3.4: not every token of RFC 9110 is one here."""

ALLOW: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
RETRY_AFTER: Final = b"1"
NO_CONTENT: Final = (204, 304)


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
        if ITEM_TOKEN.fullmatch(name) is None:
            name = b'"%b"' % name  # a token has nothing that a string escapes
        error = verdict.proxy_error.encode("ascii")
        fields.append((b"Proxy-Status", name + b"; error=" + error))
    return _response(verdict.status, fields, stream, len(content)), content


def options_reply(stream: int, date: bytes) -> ResponseHead:
    """Answer OPTIONS with `Max-Forwards: 0` as the final recipient (RFC 9110 7.6.2)."""
    fields = [(b"Date", date), (b"Allow", ALLOW), (b"Content-Length", b"0")]
    return _response(200, fields, stream, 0)


def fixed_reply(
    respond: Respond, stream: int, date: bytes
) -> tuple[ResponseHead, bytes]:
    """Build the response that a route gives instead of a backend's."""
    fields = [(b"Date", date)]
    if respond.status in NO_CONTENT:
        # RFC 9110 8.6: a 204 has no length, and a 304 none of its own.
        head = _response(respond.status, fields, stream, 0)
        return replace(head, body=NO_BODY), b""
    content = respond.body
    if content:
        fields.append((b"Content-Type", respond.content_type))
    fields.append((b"Content-Length", b"%d" % len(content)))
    return _response(respond.status, fields, stream, len(content)), content


def redirect_reply(
    status: int, location: bytes, stream: int, date: bytes
) -> tuple[ResponseHead, bytes]:
    """Build the response that sends a client elsewhere (RFC 9110 15.4)."""
    content = b"%d %b\n" % (status, REASONS[status])
    fields = [
        (b"Date", date),
        (b"Location", location),
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", b"%d" % len(content)),
    ]
    return _response(status, fields, stream, len(content)), content


def _response(
    status: int, fields: list[tuple[bytes, bytes]], stream: int, size: int
) -> ResponseHead:
    return ResponseHead(
        stream=stream,
        status=status,
        reason=REASONS.get(status, b""),
        headers=Headers.from_pairs(fields),
        body=length(size),
        version=Version.HTTP11,
    )
