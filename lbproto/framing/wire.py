"""Writing heads: the start line, the fields as they are, the framing as it is now.

Fields keep their order, case and bytes. What describes this hop only is the
codec's to write: how the content is framed (never two ways at once, RFC 9112
6.2), whether the connection ends, and what it may switch to. Every codec of
HTTP/1 writes its heads here.
"""

from __future__ import annotations

from typing import Final

from lbproto.framing.headers import Headers
from lbproto.framing.messages import BodyHint, BodyKind, RequestHead, ResponseHead

__all__ = ["write_request", "write_response"]

HOP: Final = frozenset({b"connection", b"transfer-encoding", b"upgrade"})


def write_request(head: RequestHead) -> bytes:
    """Write a request head in HTTP/1.1."""
    fields = _framed(head.headers, head.body)
    if head.body.kind is BodyKind.STREAM:
        fields.append_header(b"Transfer-Encoding", b"chunked")
    _write_hop(fields, head.upgrade, close=False)
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (head.method, head.target, fields.wire())


def write_response(
    head: ResponseHead, body: BodyHint, *, chunked: bool, close: bool
) -> bytes:
    """Write a response head in HTTP/1.1, our own version (RFC 9112 2.3).

    `body` is how the content is framed, which depends on the request too.
    `chunked`: the content follows in chunks. `close`: the connection ends after it.
    """
    fields = _framed(head.headers, body)
    if head.status < 200 or head.status == 204:
        fields.remove_header(b"content-length")  # RFC 9110 8.6
    if chunked:
        fields.append_header(b"Transfer-Encoding", b"chunked")
    _write_hop(fields, head.upgrade, close=close)
    # The space before an empty reason is not optional (RFC 9112 4).
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (head.status, head.reason, fields.wire())


def _framed(headers: Headers, body: BodyHint) -> Headers:
    """Copy fields, with a canonical Content-Length or none."""
    fields = headers.copy()
    fields.remove_all(HOP)
    if body.kind is BodyKind.STREAM:
        fields.remove_header(b"content-length")
    elif body.kind is BodyKind.LENGTH:
        canonical = b"%d" % body.length
        if fields.names().count(b"content-length") != 1 or (
            fields.get(b"content-length") != canonical
        ):
            fields.insert_header(b"Content-Length", canonical)
    return fields


def _write_hop(fields: Headers, upgrade: bytes, *, close: bool) -> None:
    if upgrade:
        option = b"close, upgrade" if close else b"upgrade"
        fields.append_header(b"Connection", option)
        fields.append_header(b"Upgrade", upgrade)
    elif close:
        fields.append_header(b"Connection", b"close")
