"""Framing by our own hands, on a backend's side; one codec for each exchange.

A response is anything that a backend may have come to think of, so nothing is
assumed of it: no more of it is read than one request asks for, and the connection
is good for another one only if every byte of it made sense (RFC 9112 9.3).
"""

from __future__ import annotations

from lbproto.framing.body import ChunkedDecoder, at_most
from lbproto.framing.codec import ClientCodec
from lbproto.framing.head import ResponseReader
from lbproto.framing.messages import (
    HTTP10,
    STREAMED,
    Body,
    End,
    HttpEvent,
    RequestHead,
    Reset,
    ResponseHead,
    closes,
)
from lbproto.framing.outflow import Outflow
from lbproto.framing.phase import BODY, DONE, FAILED, HEAD
from lbproto.framing.usual import UsualResponses
from lbproto.framing.wire import write_request
from lbproto.machine.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from lbproto.machine.values import fleeting

__all__ = ["NativeClientCodec"]


@fleeting
class NativeClientCodec(ClientCodec):
    """Our side of a backend's connection, for one exchange."""

    __slots__ = (
        "_decoder",
        "_heard",
        "_kept",
        "_left",
        "_method",
        "_out",
        "_persistent",
        "_phase",
        "_reader",
        "_request_ended",
        "_stream",
        "_surplus",
        "_switched",
        "_until_close",
        "_usual",
    )

    def __init__(self, usual: UsualResponses) -> None:
        self._usual = usual
        self._stream = 1
        self._method = b""  # there is nothing to answer yet
        self._reader: ResponseReader | None = None  # of a head to look closer at
        self._decoder: ChunkedDecoder | None = None
        self._left = 0  # of content of a known length
        self._until_close = False
        self._phase = HEAD
        self._out = Outflow()
        self._kept = b""  # came behind a 101
        self._heard = False
        self._persistent = False
        self._request_ended = False
        self._surplus = False
        self._switched = False

    def send(self, event: RequestHead | Body | End) -> None:
        """Write a piece of a request.

        Raises:
            LocalProtocolError: the piece does not fit what was sent before.
        """
        if self._switched:
            raise LocalProtocolError("the connection has switched protocols")
        if isinstance(event, Body):
            self._out.body(event)
        elif isinstance(event, End):
            self._out.end(event.trailers)
            self._request_ended = True
        elif len(self._method):
            raise LocalProtocolError("a second request on one codec")
        else:
            self._stream = event.stream
            self._method = event.method
            self._out.head(write_request(event), event.body, chunked=True)

    def take_output(self) -> bytes:
        """Return what is to be written now, and forget it."""
        return self._out.take()

    def receive(self, data: bytes) -> list[HttpEvent]:
        """Take bytes from the backend."""
        self._heard = True
        phase = self._phase
        if phase is HEAD:
            if self._switched:
                self._kept += data
                return []
            if len(self._method):
                return self._read_heads(data)
            detail = "bytes before any request was sent"
            return [self._fail(ErrorCode.RESPONSE_INVALID, detail)]
        if phase is BODY:
            events: list[HttpEvent] = []
            self._read_content(data, events)
            return events
        if phase is DONE:
            self._surplus = True  # a response that nobody asked for (RFC 9112 9.2)
        return []

    def straight(self, data: bytes) -> int:
        """Take a read that is one whole chunk; see `ClientCodec`."""
        decoder = self._decoder
        return 0 if decoder is None else decoder.straight(data)

    def receive_eof(self) -> list[HttpEvent]:
        """Take the backend's end of stream: an `End`, or a `Reset` if cut short."""
        self._persistent = False
        if self._switched or self._phase in (DONE, FAILED):
            return []
        if self._phase is BODY and self._until_close:
            self._phase = DONE
            return [End(self._stream)]
        if self._heard:
            detail = "end of stream within a response"
            return [self._fail(ErrorCode.RESPONSE_INCOMPLETE, detail)]
        detail = "end of stream before a response"
        return [self._fail(ErrorCode.BACKEND_CLOSED, detail)]

    def switch(self) -> bytes:
        """After a 101: return what has come for the tunnel, and leave the line.

        Raises:
            LocalProtocolError: no 101 has come.
        """
        if not self._switched:
            raise LocalProtocolError("no 101 has come")
        kept, self._kept = self._kept, b""
        return kept

    @property
    def reusable(self) -> bool:
        """Both messages are complete, nobody said close, and no byte is left over."""
        return (
            self._phase is DONE
            and self._request_ended
            and self._persistent
            and not self._surplus
        )

    @property
    def buffered(self) -> int:
        """How many received bytes are kept."""
        head = 0 if self._reader is None else self._reader.buffered
        content = 0 if self._decoder is None else self._decoder.buffered
        return head + content + len(self._kept)

    # -- reading -------------------------------------------------------------

    def _read_heads(self, data: bytes) -> list[HttpEvent]:
        """Read interim heads, the final one, and what of its content is there."""
        events: list[HttpEvent] = []
        while True:
            if self._reader is None:
                usual, end, chunked = self._usual.read(data, self._stream, self._method)
                if usual is not None:
                    events.append(usual)
                    self._begin(usual, chunked)
                    self._read_content(data[end:], events)
                    return events
                self._reader = ResponseReader(
                    self._usual.limits, self._stream, self._method
                )
            try:
                gated = self._reader.receive(data)
            except RemoteProtocolError as refusal:
                return [*events, self._fail(refusal.code, refusal.detail)]
            if gated is None:
                return events
            head, data = gated.head, gated.rest
            self._reader = None
            events.append(head)
            if head.status == 101:
                # Nothing is left to frame; whether it was asked for is policy.
                self._switched = True
                self._kept = data
                return events
            if head.status >= 200:
                self._begin(head, gated.chunked)
                self._read_content(data, events)
                return events

    def _begin(self, head: ResponseHead, chunked: bool) -> None:
        self._phase = BODY
        body = head.body
        self._left = body.length
        if chunked:
            self._decoder = ChunkedDecoder(self._usual.content_limits)
        elif body.kind is STREAMED:
            self._until_close = True
        # RFC 9112 9.3
        self._persistent = (
            head.version is not HTTP10
            and not closes(head.nominated)
            and not self._until_close
        )

    def _read_content(self, data: bytes, events: list[HttpEvent]) -> None:
        decoder, left = self._decoder, self._left
        trailers = b""
        if decoder is not None:
            piece = decoder.receive(data)
            if piece.content:
                events.append(Body(self._stream, piece.content, piece.chunks))
            if piece.error is not None:
                # A request's error codes mean nothing here.
                detail = piece.error.detail
                events.append(self._fail(ErrorCode.RESPONSE_INVALID, detail))
                return
            if not piece.complete:
                return
            data = data[piece.used :]
            trailers = decoder.trailers
        elif left:
            if not len(data):
                return
            content = at_most(data, left)
            events.append(Body(self._stream, content))
            data = data[len(content) :]
            self._left = left = left - len(content)
            if left:
                return
        elif self._until_close:
            if data:
                events.append(Body(self._stream, data))
            return
        events.append(End(self._stream, trailers))
        self._phase = DONE
        self._surplus = len(data) > 0

    def _fail(self, code: ErrorCode, detail: str) -> Reset:
        self._phase = FAILED
        self._reader = self._decoder = None
        return Reset(self._stream, code, detail)
