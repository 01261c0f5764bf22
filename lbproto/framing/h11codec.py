"""Framing by h11: the first codec, and the judge of others.

Every head passes the gate of `head`, and chunked content the strict decoder of
`body`; then h11, through its public interface only, frames what was let through.
It gets the bytes of exactly the message at hand, since it is lenient where a
gateway must not be (bare LF, a length beside chunks, anything in a chunk
extension) and keeps whatever follows. Content that came chunked reaches it in
chunks that we wrote.

On the way out our writer makes the head (`wire`), so that order, case and bytes of
fields stay. h11 is told of an equivalent message with no more fields than frame
it: it keeps the state, frames the content, and raises when we break the order.
Such an error is ours (`LocalProtocolError`).
"""

from __future__ import annotations

import h11

from lbproto.framing.body import ChunkedDecoder, Decoder, LengthDecoder
from lbproto.framing.codec import CodecLimits, ServerCodec
from lbproto.framing.grammar import content_length
from lbproto.framing.h11client import H11ClientCodec
from lbproto.framing.h11framer import Framer, mirror_response
from lbproto.framing.head import GatedRequest, RequestReader
from lbproto.framing.messages import (
    NO_BODY,
    Body,
    BodyHint,
    BodyKind,
    End,
    HttpEvent,
    RequestHead,
    Reset,
    ResponseHead,
    Version,
    length,
)
from lbproto.framing.phase import Phase
from lbproto.framing.wire import write_response
from lbproto.machine.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

__all__ = ["H11ClientCodec", "H11ServerCodec"]


class H11ServerCodec(ServerCodec):
    """Our side of a client's connection."""

    __slots__ = (
        "_closing",
        "_eof",
        "_framer",
        "_head",
        "_kept",
        "_limits",
        "_may_switch",
        "_out",
        "_phase",
        "_reader",
        "_speaks_11",
        "_stream",
        "_switched",
    )

    def __init__(self, limits: CodecLimits) -> None:
        self._limits = limits
        self._framer = Framer(h11.SERVER, limits)
        self._stream = 1
        self._reader = RequestReader(limits, 1)
        self._head: RequestHead | None = None
        self._phase = Phase.HEAD
        self._kept = b""  # came behind a complete request
        self._out: list[bytes] = []
        self._closing = False
        self._eof = False
        self._speaks_11 = False  # the client has, in its last head
        self._may_switch = False  # the client has offered to
        self._switched = False

    def receive(self, data: bytes) -> list[HttpEvent]:
        """Take bytes from the client."""
        if self._phase is Phase.DONE:
            self._keep(data)
            return []
        if self._phase is Phase.FAILED:
            return []
        return self._read(data)

    def receive_eof(self) -> list[HttpEvent]:
        """Take the client's end of stream; a request cut short is a `Reset`."""
        self._eof = True
        if self._phase is Phase.BODY or self._reader.begun:
            detail = "end of stream within a request"
            return [self._fail(ErrorCode.CLIENT_LEFT, detail)]
        self._close_if_last()
        return []

    def resume(self) -> list[HttpEvent]:
        """Go on to the next request; the last one and its response are complete.

        Raises:
            LocalProtocolError: they are not, or the connection is to end.
        """
        if self._closing or self._phase is not Phase.DONE:
            raise LocalProtocolError("no further request on this connection now")
        self._framer.next_cycle()
        self._stream += 2
        self._reader = RequestReader(self._limits, self._stream)
        self._head = None
        self._phase = Phase.HEAD
        kept, self._kept = self._kept, b""
        events = self._read(kept) if kept else []
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
            self._out.append(self._framer.send(h11.Data(data=event.data)))
        elif isinstance(event, End):
            self._out.append(self._framer.send_end(event.trailers))
        elif event.status < 200:
            self._send_interim(event)
        else:
            self._send_final(event)

    @property
    def in_chunks(self) -> bool:
        """Never: what goes out is h11's."""
        return False

    def take_output(self) -> bytes:
        """Return what is to be written now, and forget it."""
        data = b"".join(self._out)
        self._out.clear()
        return data

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
        if self._phase is Phase.DONE:
            # Reading on tells when the client leaves; what it says is dropped if
            # no further request can come.
            return not self._kept
        return self._phase is not Phase.FAILED

    @property
    def closing(self) -> bool:
        """The connection ends after the current response."""
        return self._closing

    @property
    def idle(self) -> bool:
        """No byte of a request is there."""
        return self._phase is Phase.HEAD and not self._reader.begun

    @property
    def buffered(self) -> int:
        """How many received bytes are kept."""
        return self._reader.buffered + self._framer.buffered + len(self._kept)

    # -- reading -------------------------------------------------------------

    def _read(self, data: bytes) -> list[HttpEvent]:
        events: list[HttpEvent] = []
        try:
            if self._phase is Phase.HEAD:
                gated = self._reader.receive(data)
                if gated is None:
                    return []
                self._begin(gated)
                events.append(gated.head)
                data = gated.rest
            found, rest, error = self._framer.content(data, self._stream)
        except RemoteProtocolError as refusal:
            return [self._fail(refusal.code, refusal.detail)]
        except h11.RemoteProtocolError as refusal:
            return [*events, self._fail(ErrorCode.SYNTAX, str(refusal))]
        events += found
        if error is not None:
            events.append(self._fail(error.code, error.detail))
        elif found and isinstance(found[-1], End):
            self._phase = Phase.DONE
            self._keep(rest)
            self._close_if_last()
        return events

    def _begin(self, gated: GatedRequest) -> None:
        head = gated.head
        decoder: Decoder = LengthDecoder(head.body.length)
        if head.body.kind is BodyKind.STREAM:
            decoder = ChunkedDecoder(self._limits)
        self._framer.head(gated.wire, decoder)
        self._head = head
        self._may_switch = bool(head.upgrade)
        self._phase = Phase.BODY
        self._speaks_11 = head.version is not Version.HTTP10
        # A proxy keeps no connection of 1.0 (RFC 9112 9.3).
        if not self._speaks_11 or b"close" in head.nominated:
            self._closing = True

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
        self._phase = Phase.FAILED
        self._closing = True
        self._reader = RequestReader(self._limits, self._stream)
        return Reset(self._stream, code, detail)

    # -- writing -------------------------------------------------------------

    def _send_interim(self, head: ResponseHead) -> None:
        if self._head is not None and not self._speaks_11:
            return  # RFC 9110 15.2: 1.0 knows no interim response
        if head.status == 101:
            if self._head is None or not self._head.upgrade:
                raise LocalProtocolError("101 to a request without Upgrade")
            self._switched = True
        mirror = h11.InformationalResponse(status_code=head.status, headers=[])
        self._framer.send(mirror)
        self._out.append(write_response(head, NO_BODY, chunked=False, close=False))

    def _send_final(self, head: ResponseHead) -> None:
        body = self._framed(head)
        streams = body.kind is BodyKind.STREAM
        if streams and not self._speaks_11:
            self._closing = True  # the end of the connection is that of the content
        chunked = streams and self._speaks_11
        close = self._closing
        mirror = mirror_response(head.status, body.kind, body.length, close=close)
        self._framer.send(mirror)
        self._out.append(write_response(head, body, chunked=chunked, close=close))
        self._may_switch = False  # an offer that was made is refused
        self._keep(b"")

    def _framed(self, head: ResponseHead) -> BodyHint:
        """Return how the response is framed, given what it answers."""
        to_head = self._head is not None and self._head.method == b"HEAD"
        if head.status == 304 or to_head:
            # It says how long another response would be (RFC 9110 8.6).
            said = content_length(head.headers.get(b"content-length") or b"")
            return NO_BODY if said is None else length(said)
        if head.status == 204:
            return NO_BODY
        # Without any framing a client would read on until close.
        return length(0) if head.body.kind is BodyKind.NONE else head.body
