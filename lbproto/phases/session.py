"""One request, as the phases of an application see it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from lbproto.framing.headers import Headers
from lbproto.framing.messages import (
    NO_BODY,
    WITHOUT_CONTENT,
    RequestHead,
    ResponseHead,
    Version,
    length,
)
from lbproto.machine.effects import Target
from lbproto.phases.header import RequestHeader, ResponseHeader, Text, raw
from lbproto.rewriting.reasons import REASONS

if TYPE_CHECKING:
    from lbproto.machine.events import PeerInfo
    from lbproto.phases.peer import HttpPeer

__all__ = ["Session"]


class Session:
    """A request, what is known of its client, and what has become of it.

    To answer in place of a backend call `respond`, `respond_error` or
    `write_response_header` and `write_response_body`, in a phase that may: those
    before `upstream_peer`, and `fail_to_proxy`.
    """

    __slots__ = (
        "_content",
        "_ended",
        "_head",
        "body_bytes_read",
        "body_bytes_sent",
        "client",
        "keepalive",
        "peer",
        "req_header",
        "response_written",
        "service",
        "tries",
    )

    def __init__(self, head: RequestHead, client: PeerInfo, service: str) -> None:
        self.req_header = RequestHeader(head)
        """The request's head; what is done to it before `upstream_peer` goes to every
        backend that is tried."""
        self.client = client
        """Who asks: an address, a port, and what TLS has found out. Whom a trusted
        proxy names in X-Forwarded-For has port 0 if it does not tell another."""
        self.service = service
        """The name of the service that was asked."""
        self.peer: HttpPeer | None = None
        """Who was chosen last."""
        self.tries = 0
        """How many backends were tried so far."""
        self.keepalive = True
        """Set it to False to close the client's connection after the response."""
        self.response_written: ResponseHeader | None = None
        """The head of the final response, once there is one."""
        self.body_bytes_read = 0
        """Bytes of the request's content so far."""
        self.body_bytes_sent = 0
        """Bytes of the response's content so far."""
        self._head: ResponseHeader | None = None
        self._content = b""
        self._ended = False

    @property
    def client_addr(self) -> str:
        """The client as `host:port`, `[v6]:port` or `unix:`."""
        host = self.client.address
        return host if host.startswith("unix:") else str(Target(host, self.client.port))

    @property
    def server_addr(self) -> str:
        """The address that the client has connected to."""
        return self.client.local

    @property
    def request_summary(self) -> str:
        """Name the request in a log: method, target and host."""
        header = self.req_header
        return f"{header.method} {header.target}, Host: {header.authority}"

    @property
    def answered(self) -> bool:
        """Whether the application has given a response of its own."""
        return self._head is not None

    # -- answering -------------------------------------------------------------

    def respond(
        self,
        status: int,
        body: bytes | str = b"",
        headers: Iterable[tuple[Text, Text]] = (),
    ) -> None:
        """Answer with a whole response; text goes out in UTF-8.

        Raises:
            ValueError: there is a response already, or a field is none.
        """
        header = ResponseHeader.build(status)
        for name, value in headers:
            header.append_header(name, value)
        content = body.encode() if isinstance(body, str) else body
        if isinstance(body, str) and header.get("content-type") is None:
            header.insert_header("Content-Type", "text/plain; charset=utf-8")
        self.write_response_header(header)
        self.write_response_body(content)

    def respond_error(self, status: int) -> None:
        """Answer with a short text that says what the status means.

        Raises:
            ValueError: there is a response already.
        """
        reason = REASONS.get(status, b"")
        self.respond(status, f"{status} {reason.decode('ascii')}".rstrip() + "\n")

    def respond_error_with_body(self, status: int, body: bytes | str) -> None:
        """Answer with an error and a page of one's own.

        Raises:
            ValueError: there is a response already.
        """
        self.respond(status, body)

    def write_response_header(
        self, header: ResponseHeader, end_of_stream: bool = False
    ) -> None:
        """Begin a response; its content may follow, in the same phase.

        Raises:
            ValueError: there is a response already.
        """
        if self._head is not None or self.response_written is not None:
            raise ValueError("there is a response already")
        self._head = header
        self._ended = end_of_stream

    def write_response_body(self, body: bytes, end_of_stream: bool = True) -> None:
        """Add content to a response that was begun here.

        Raises:
            ValueError: there is none, or it has ended.
        """
        if self._head is None or self._ended:
            raise ValueError("there is no response to write to")
        self._content += body
        self._ended = end_of_stream

    def take_reply(self, stream: int, date: bytes) -> tuple[ResponseHead, bytes]:
        """Return the response that the application has given, and forget it.

        Raises:
            ValueError: it is none that can be sent.
        """
        header, content = self._head, self._content
        assert header is not None, "asked after `answered`"
        self._head, self._content, self._ended = None, b"", False
        if not 200 <= header.status <= 599:
            raise ValueError(f"{header.status} is no final status (200-599)")
        head = header.edited()
        headers = head.headers
        for name in (b"content-length", b"connection", b"upgrade"):
            headers.remove_header(name)
        if b"date" not in headers:
            headers.insert_header(b"Date", date)
        body = NO_BODY
        if header.status in WITHOUT_CONTENT:
            content = b""
        else:
            body = length(len(content))
            headers.insert_header(b"Content-Length", raw(str(len(content))))
        reason = head.reason or REASONS.get(head.status, b"")
        reply = replace(
            head, stream=stream, reason=reason, body=body, version=Version.HTTP11
        )
        return replace(reply, headers=Headers(headers.wire())), content
