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
from lbproto.framing.messages import (
    NO_BODY,
    WITHOUT_CONTENT,
    ResponseHead,
    Version,
    length,
)
from lbproto.machine.errors import VERDICTS, ErrorCode
from lbproto.rewriting.reasons import REASONS

__all__ = ["ALLOW", "error_reply", "fixed_reply", "options_reply", "redirect_reply"]

ITEM_TOKEN: Final = re.compile(rb"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*+")
"""RFC 8941 3.3.4: not every token of RFC 9110 is one here."""

ALLOW: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
RETRY_AFTER: Final = b"1"


def error_reply(
    code: ErrorCode,
    service: Service,
    stream: int,
    date: bytes,
    status: int | None = None,
) -> tuple[ResponseHead, bytes]:
    """Build the response to an error; the status may be another than its verdict's."""
    verdict = VERDICTS[code]
    status = verdict.status if status is None else status
    content = b"%d %b\n" % (status, REASONS.get(status, b"Error"))
    fields = [
        (b"Date", date),
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", b"%d" % len(content)),
    ]
    if status == 405:
        fields.append((b"Allow", ALLOW))
    elif status == 503:
        fields.append((b"Retry-After", RETRY_AFTER))
    if service.proxy_status and verdict.proxy_error:
        name = service.via or b"lb"
        if ITEM_TOKEN.fullmatch(name) is None:
            name = b'"%b"' % name  # a token has nothing that a string escapes
        error = verdict.proxy_error.encode("ascii")
        fields.append((b"Proxy-Status", name + b"; error=" + error))
    return _response(status, fields, stream, len(content)), content


def options_reply(stream: int, date: bytes) -> ResponseHead:
    """Answer OPTIONS with `Max-Forwards: 0` as the final recipient (RFC 9110 7.6.2)."""
    fields = [(b"Date", date), (b"Allow", ALLOW), (b"Content-Length", b"0")]
    return _response(200, fields, stream, 0)


def fixed_reply(
    respond: Respond, stream: int, date: bytes
) -> tuple[ResponseHead, bytes]:
    """Build the response that a route gives instead of a backend's."""
    fields = [(b"Date", date)]
    if respond.status in WITHOUT_CONTENT:
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
