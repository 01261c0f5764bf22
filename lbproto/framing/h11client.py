"""Our side of a backend's connection, framed by h11; one codec for each exchange.

A response is anything that a backend may have come to think of, so nothing is
assumed of it: no more of it is read than one request asks for, and the connection
is good for another one only if every byte of it made sense (RFC 9112 9.3).
"""

from __future__ import annotations

from dataclasses import replace

import h11

from lbproto.framing.body import (
    ChunkedDecoder,
    Decoder,
    LengthDecoder,
    UntilCloseDecoder,
)
from lbproto.framing.codec import ClientCodec, CodecLimits
from lbproto.framing.h11framer import Framer, mirror_request
from lbproto.framing.head import GatedResponse, ResponseReader
from lbproto.framing.messages import (
    Body,
    BodyKind,
    End,
    HttpEvent,
    RequestHead,
    Reset,
    Version,
)
from lbproto.framing.phase import Phase
from lbproto.framing.wire import write_request
from lbproto.machine.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

__all__ = ["H11ClientCodec"]


class H11ClientCodec(ClientCodec):
    """Our side of a backend's connection, for one exchange."""

    __slots__ = (
        "_framer",
        "_heard",
        "_kept",
        "_limits",
        "_out",
        "_persistent",
        "_phase",
        "_reader",
        "_request_ended",
        "_stream",
        "_surplus",
        "_switched",
    )

    def __init__(self, limits: CodecLimits) -> None:
        self._limits = limits
        self._framer = Framer(h11.CLIENT, limits)
        self._stream = 1
        self._reader: ResponseReader | None = None  # there is nothing to answer yet
        self._phase = Phase.HEAD
        self._out: list[bytes] = []
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
            self._out.append(self._framer.send(h11.Data(data=event.data)))
        elif isinstance(event, End):
            self._out.append(self._framer.send_end(event.trailers))
            self._request_ended = True
        else:
            body = event.body
            self._framer.send(mirror_request(event.method, body.kind, body.length))
            self._stream = event.stream
            self._reader = ResponseReader(self._limits, self._stream, event.method)
            self._out.append(write_request(event))

    def take_output(self) -> bytes:
        """Return what is to be written now, and forget it."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def receive(self, data: bytes) -> list[HttpEvent]:
        """Take bytes from the backend."""
        self._heard = True
        if self._switched:
            self._kept += data
            return []
        if self._phase is Phase.DONE:
            self._surplus = True  # a response that nobody asked for (RFC 9112 9.2)
            return []
        if self._phase is Phase.FAILED:
            return []
        if self._reader is None:
            detail = "bytes before any request was sent"
            return [self._fail(ErrorCode.RESPONSE_INVALID, detail)]
        return self._read(data, self._reader)

    def straight(self, data: bytes) -> int:
        """Take nothing: h11 is to see everything."""
        return 0

    def receive_eof(self) -> list[HttpEvent]:
        """Take the backend's end of stream: an `End`, or a `Reset` if cut short."""
        self._persistent = False
        if self._switched or self._phase in (Phase.DONE, Phase.FAILED):
            return []
        if self._phase is Phase.BODY:
            ended = self._framer.ends_with_connection(self._stream)
            if ended is not None:
                self._phase = Phase.DONE
                return ended
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
            self._phase is Phase.DONE
            and self._request_ended
            and self._persistent
            and not self._surplus
        )

    @property
    def buffered(self) -> int:
        """How many received bytes are kept."""
        head = 0 if self._reader is None else self._reader.buffered
        return head + self._framer.buffered + len(self._kept)

    def _read(self, data: bytes, reader: ResponseReader) -> list[HttpEvent]:
        events: list[HttpEvent] = []
        try:
            while self._phase is Phase.HEAD:
                gated = reader.receive(data)
                if gated is None:
                    return events
                data = gated.rest
                self._begin(gated)
                events.append(gated.head)
                if self._switched:
                    self._kept = data
                    return events
            found, rest, error = self._framer.content(data, self._stream)
        except RemoteProtocolError as refusal:
            return [*events, self._fail(refusal.code, refusal.detail)]
        except h11.RemoteProtocolError as refusal:
            return [*events, self._fail(ErrorCode.RESPONSE_INVALID, str(refusal))]
        events += found
        if error is not None:
            # A request's error codes mean nothing here.
            events.append(self._fail(ErrorCode.RESPONSE_INVALID, error.detail))
        elif found and isinstance(found[-1], End):
            self._phase = Phase.DONE
            self._surplus = bool(rest)
        return events

    def _begin(self, gated: GatedResponse) -> None:
        head = gated.head
        if head.status == 101:
            # Nothing is left to frame; whether it was asked for is policy.
            self._switched = True
            return
        until_close = head.body.kind is BodyKind.STREAM and not gated.chunked
        decoder: Decoder = LengthDecoder(head.body.length)
        if gated.chunked:
            # These are for requests; a response may be of any size and shape.
            decoder = ChunkedDecoder(
                replace(self._limits, body_size=None, small_chunks=None)
            )
        elif until_close:
            decoder = UntilCloseDecoder()
        self._framer.head(gated.wire, decoder)
        if head.status < 200:
            return
        self._phase = Phase.BODY
        # RFC 9112 9.3
        self._persistent = (
            head.version is not Version.HTTP10
            and b"close" not in head.nominated
            and not until_close
        )

    def _fail(self, code: ErrorCode, detail: str) -> Reset:
        self._phase = Phase.FAILED
        self._reader = None
        return Reset(self._stream, code, detail)
