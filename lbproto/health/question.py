"""The HTTP request of a probe, and what the response says about the backend.

The response passes the same grammar as any other, and no more of it is kept than is
needed: its content is searched and counted as it comes. Whoever sends more than
`MOST` bytes of content has answered, and is not read to the end.
"""

from __future__ import annotations

from typing import Final

from lbproto.config import HealthCheck
from lbproto.framing.codec import CodecLimits
from lbproto.framing.h11client import H11ClientCodec
from lbproto.framing.headers import Headers
from lbproto.framing.messages import (
    NO_BODY,
    Body,
    End,
    HttpEvent,
    RequestHead,
    Reset,
    ResponseHead,
    Version,
    length,
)
from lbproto.health.finding import Finding
from lbproto.machine.effects import Target
from lbproto.machine.errors import ErrorCode

__all__ = ["MOST", "Question"]

MOST: Final = 64 * 1024
"""Bytes of content that are read, and in which the expected text must be."""

LIMITS: Final = CodecLimits(response_header_size=16 * 1024)

AGENT: Final = b"lb health check"

WORDS: Final = {
    ErrorCode.BACKEND_CLOSED: "closed before a response",
    ErrorCode.RESPONSE_INCOMPLETE: "response cut off",
    ErrorCode.RESPONSE_TOO_LARGE: "response head too large",
}


class Question:
    """One request of a probe, and its response; made anew for each try."""

    __slots__ = ("_check", "_codec", "_count", "_found", "_kept", "heard")

    def __init__(self, check: HealthCheck) -> None:
        self._check = check
        self._codec = H11ClientCodec(LIMITS)
        self._count = 0
        self._kept = b""
        self._found = not check.expect_body
        self.heard = False
        """A byte of the response has come."""

    def ask(self, target: Target) -> bytes:
        """Write the request to a backend."""
        check = self._check
        host = check.host
        if host is None:
            host = b"localhost" if target.path else str(target).encode()
        fields = [(b"Host", host), (b"User-Agent", AGENT)]
        head = RequestHead(
            stream=1,
            method=check.method,
            target=check.path,
            authority=host,
            scheme=b"http" if target.tls is None else b"https",
            headers=Headers.from_pairs(fields),
            body=length(0) if check.method == b"POST" else NO_BODY,
            version=Version.HTTP11,
        )
        self._codec.send(head)
        self._codec.send(End(1))
        return self._codec.take_output()

    def hear(self, data: bytes) -> Finding | None:
        """Take a read; return what it settles, or None while nothing is."""
        self.heard = True
        return self._judge(self._codec.receive(data))

    def hear_end(self) -> Finding | None:
        """Take the end of the stream; nothing comes after it."""
        return self._judge(self._codec.receive_eof())

    @property
    def reusable(self) -> bool:
        """The connection is good for another request."""
        return self._codec.reusable

    def _judge(self, events: list[HttpEvent]) -> Finding | None:
        finding: Finding | None = None
        for event in events:
            finding = finding or self._consider(event)
        return finding

    def _consider(self, event: HttpEvent) -> Finding | None:
        assert not isinstance(event, RequestHead), "a backend sends none"
        match event:
            case ResponseHead(status=status):
                return self._status(status)
            case Body(data=data):
                self._search(data)
                if self._count >= MOST:
                    return self._verdict(f"the first {MOST} bytes of the content")
                return None
            case Reset(error=error, detail=detail):
                return Finding(False, WORDS.get(error, f"not HTTP: {detail}"))
            case _:  # the end
                return self._verdict("the content")

    def _status(self, status: int) -> Finding | None:
        expected = self._check.expect_status
        if status in expected or (status < 200 and status != 101):
            return None
        wanted = " or ".join(map(str, expected))
        return Finding(False, f"status {status}, expected {wanted}")

    def _search(self, data: bytes) -> None:
        data = data[: MOST - self._count]
        self._count += len(data)
        if not self._found:
            text = self._check.expect_body
            kept = self._kept + data
            self._found = text in kept
            # It may begin at the end of this read and end in the next one.
            self._kept = kept[max(0, len(kept) - len(text) + 1) :]

    def _verdict(self, where: str) -> Finding:
        if self._found:
            return Finding(True, "")
        return Finding(False, f"expected text is not in {where}")
