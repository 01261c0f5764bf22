"""Framing by our own hands, on the client's side: nothing is parsed twice.

A head that is as nearly all are is read in one pass (`usual`); any other
goes to the gate of `head`, which judges it. Lengths are counted; chunks are
validated by the strict decoder of `body`, and pass as they came where they are
whole and canonical. On the way out a head is a copy of what came with a few lines
left out and a few added (`Headers`).

`h11codec` does the same with h11 and is the judge of this one: on everything that
the gate lets through both give the same events.
"""

from __future__ import annotations

from typing import Final

from lbproto.framing.body import ChunkedDecoder, at_most
from lbproto.framing.codec import ServerCodec
from lbproto.framing.grammar import content_length
from lbproto.framing.head import RequestReader
from lbproto.framing.messages import (
    ABSENT,
    HTTP10,
    NO_BODY,
    STREAMED,
    Body,
    BodyHint,
    End,
    HttpEvent,
    RequestHead,
    Reset,
    ResponseHead,
    closes,
    length,
)
from lbproto.framing.outflow import Outflow
from lbproto.framing.phase import BODY, DONE, FAILED, HEAD
from lbproto.framing.usual import UsualRequests
from lbproto.framing.wire import write_response
from lbproto.machine.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from lbproto.machine.values import fleeting

__all__ = ["NativeServerCodec"]

NO_CONTENT: Final = length(0)


@fleeting
class NativeServerCodec(ServerCodec):
    """Our side of a client's connection."""

    __slots__ = (
        "_answered",
        "_closing",
        "_decoder",
        "_eof",
        "_head",
        "_kept",
        "_left",
        "_may_switch",
        "_out",
        "_phase",
        "_reader",
        "_speaks_11",
        "_stream",
        "_switched",
        "_usual",
    )

    def __init__(self, usual: UsualRequests) -> None:
        self._usual = usual
        self._stream = 1
        self._reader: RequestReader | None = None  # of a head that needs a closer look
        self._decoder: ChunkedDecoder | None = None
        self._left = 0  # of content of a known length
        self._head: RequestHead | None = None
        self._phase = HEAD
        self._kept = b""  # came behind a complete request
        self._out = Outflow()
        self._answered = False  # the final head is out
        self._closing = False
        self._eof = False
        self._speaks_11 = False  # the client has, in its last head
        self._may_switch = False  # the client has offered to
        self._switched = False

    def receive(self, data: bytes) -> list[HttpEvent]:
        """Take bytes from the client."""
        phase = self._phase
        if phase is HEAD:
            return self._read_head(data)
        if phase is BODY:
            events: list[HttpEvent] = []
            self._read_content(data, events)
            return events
        if phase is DONE:
            self._keep(data)
        return []

    def receive_eof(self) -> list[HttpEvent]:
        """Take the client's end of stream; a request cut short is a `Reset`."""
        self._eof = True
        if self._phase is BODY or self._begun:
            return [self._fail(ErrorCode.CLIENT_LEFT, "end of stream within a request")]
        self._close_if_last()
        return []

    def resume(self) -> list[HttpEvent]:
        """Go on to the next request; the last one and its response are complete.

        Raises:
            LocalProtocolError: they are not, or the connection is to end.
        """
        if self._closing or self._phase is not DONE:
            raise LocalProtocolError("no further request on this connection now")
        if not (self._answered and self._out.at_rest):
            raise LocalProtocolError("the response is not complete")
        self._stream += 2
        self._head = self._decoder = None
        self._answered = False
        self._phase = HEAD
        if not (len(self._kept) or self._eof):
            return []
        kept, self._kept = self._kept, b""
        events = self._read_head(kept) if kept else []
        if self._eof:
            events += self.receive_eof()
        return events

    def send(self, event: ResponseHead | Body | End) -> None:
        """Write a piece of a response.

        Raises:
            LocalProtocolError: the piece does not fit what was sent before.
        """
        if event.stream != self._stream:
            detail = f"stream {event.stream} while {self._stream} is answered"
            raise LocalProtocolError(detail)
        if isinstance(event, Body):
            self._out.body(event)
        elif isinstance(event, End):
            self._out.end(event.trailers)
        elif self._answered or self._switched:
            raise LocalProtocolError("a second response to one request")
        elif event.status < 200:
            self._send_interim(event)
        else:
            self._send_final(event)

    @property
    def in_chunks(self) -> bool:
        """The content of the response goes out in chunks, and some may follow."""
        return self._out.in_chunks

    def take_output(self) -> bytes:
        """Return what is to be written now, and forget it."""
        return self._out.take()

    def go_away(self) -> None:
        """Make the current response the last, and say so in its head."""
        self._closing = True
        self._keep(b"")

    def switch(self) -> bytes:
        """After a 101: return what has come for the tunnel, and leave the line.

        Raises:
            LocalProtocolError: no 101 was sent.
        """
        if not self._switched:
            raise LocalProtocolError("no 101 was sent")
        kept, self._kept = self._kept, b""
        return kept

    def want_read(self) -> bool:
        """Tell whether more bytes can be used."""
        if self._phase is DONE:
            # Reading on tells when the client leaves; what it says is dropped if
            # no further request can come.
            return not self._kept
        return self._phase is not FAILED

    @property
    def closing(self) -> bool:
        """The connection ends after the current response."""
        return self._closing

    @property
    def idle(self) -> bool:
        """No byte of a request is there."""
        return self._phase is HEAD and not self._begun

    @property
    def buffered(self) -> int:
        """How many received bytes are kept."""
        head = 0 if self._reader is None else self._reader.buffered
        content = 0 if self._decoder is None else self._decoder.buffered
        return head + content + len(self._kept)

    # -- reading -------------------------------------------------------------

    @property
    def _begun(self) -> bool:
        return self._reader is not None and self._reader.begun

    def _read_head(self, data: bytes) -> list[HttpEvent]:
        reader = self._reader
        if reader is None:
            head, end = self._usual.read(data, self._stream)
            if head is not None:
                return self._with_content(head, data[end:])
            reader = RequestReader(self._usual.limits, self._stream)
            self._reader = reader
        try:
            gated = reader.receive(data)
        except RemoteProtocolError as refusal:
            return [self._fail(refusal.code, refusal.detail)]
        if gated is None:
            return []
        self._reader = None
        return self._with_content(gated.head, gated.rest)

    def _with_content(self, head: RequestHead, data: bytes) -> list[HttpEvent]:
        """Begin a request, and take what of its content is there."""
        self._begin(head)
        if self._decoder is None and not self._left:
            return [head, self._end(data, b"")]  # as most requests are
        events: list[HttpEvent] = [head]
        self._read_content(data, events)
        return events

    def _begin(self, head: RequestHead) -> None:
        body = head.body
        self._left = body.length
        if body.kind is STREAMED:
            self._decoder = ChunkedDecoder(self._usual.limits)
        self._head = head
        self._may_switch = len(head.upgrade) > 0
        self._phase = BODY
        self._speaks_11 = head.version is not HTTP10
        # A proxy keeps no connection of 1.0 (RFC 9112 9.3).
        if not self._speaks_11 or closes(head.nominated):
            self._closing = True

    def _read_content(self, data: bytes, events: list[HttpEvent]) -> None:
        decoder, left = self._decoder, self._left
        trailers = b""
        if decoder is not None:
            piece = decoder.receive(data)
            if piece.content:
                events.append(Body(self._stream, piece.content, piece.chunks))
            if piece.error is not None:
                events.append(self._fail(piece.error.code, piece.error.detail))
                return
            if not piece.complete:
                return
            data = data[piece.used :]
            trailers = decoder.trailers
        else:
            if not len(data):
                return
            content = at_most(data, left)
            events.append(Body(self._stream, content))
            data = data[len(content) :]
            self._left = left = left - len(content)
            if left:
                return
        events.append(self._end(data, trailers))

    def _end(self, data: bytes, trailers: bytes) -> End:
        """End the request; keep what follows it."""
        self._phase = DONE
        if len(data):
            self._keep(data)
        if self._eof:
            self._close_if_last()
        return End(self._stream, trailers)

    def _keep(self, data: bytes) -> None:
        """Keep what follows the request, unless nobody will ever look at it."""
        if self._closing and not self._may_switch:
            self._kept = b""  # RFC 9112 9.6: nothing counts after a close
        else:
            self._kept += data

    def _close_if_last(self) -> None:
        """Take the current request for the last if no other can come any more."""
        if self._eof and not self._kept.strip(b"\r\n"):
            self._closing = True

    def _fail(self, code: ErrorCode, detail: str) -> Reset:
        self._phase = FAILED
        self._closing = True
        self._reader = self._decoder = None
        return Reset(self._stream, code, detail)

    # -- writing -------------------------------------------------------------

    def _send_interim(self, head: ResponseHead) -> None:
        if self._head is None:
            raise LocalProtocolError("an interim response to no request")
        if not self._speaks_11:
            return  # RFC 9110 15.2: 1.0 knows no interim response
        if head.status == 101:
            if not self._head.upgrade:
                raise LocalProtocolError("101 to a request without Upgrade")
            self._switched = True
        wire = write_response(head, NO_BODY, chunked=False, close=False)
        self._out.interim(wire)

    def _send_final(self, head: ResponseHead) -> None:
        body = self._framed(head)
        chunked = False
        if body.kind is STREAMED:
            chunked = self._speaks_11
            if not chunked:
                # The end of the connection is that of the content.
                self._closing = True
        wire = write_response(head, body, chunked=chunked, close=self._closing)
        content = body if self._has_content(head) else NO_BODY
        self._out.head(wire, content, chunked=chunked)
        self._answered = True
        self._may_switch = False  # an offer that was made is refused
        if len(self._kept):
            self._keep(b"")

    def _has_content(self, head: ResponseHead) -> bool:
        """Tell whether content follows, rather than only being spoken of."""
        if head.status == 204 or head.status == 304:
            return False  # RFC 9110 6.4.1
        return self._head is None or self._head.method != b"HEAD"

    def _framed(self, head: ResponseHead) -> BodyHint:
        """Return how the response is framed, given what it answers."""
        if head.status == 304 or (self._head and self._head.method == b"HEAD"):
            # It says how long another response would be (RFC 9110 8.6).
            said = content_length(head.headers.get(b"content-length") or b"")
            return NO_BODY if said is None else length(said)
        if head.status == 204:
            return NO_BODY
        # Without any framing a client would read on until close.
        return NO_CONTENT if head.body.kind is ABSENT else head.body
