"""An h11 connection between a decoder and a codec.

Both codecs of this kind read alike: a head that has passed the gate goes to h11 as
it came, its content goes to our decoder first and to h11 as what the decoder made
of it. h11 gets the bytes of exactly one message, through its public interface.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, TypeAlias

import h11

from lbproto.framing.body import (
    ChunkedDecoder,
    Decoder,
    LengthDecoder,
    UntilCloseDecoder,
)
from lbproto.framing.codec import CodecLimits
from lbproto.framing.messages import Body, BodyKind, End, HttpEvent
from lbproto.machine.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["END", "Framer", "mirror_request", "mirror_response"]

END: Final = h11.EndOfMessage()

NOTHING: Final = LengthDecoder(0)
"""Where there is no content; it has no state that changes."""

SPARE: Final = 64 * 1024
"""What h11 may keep of an event beyond our limits, which come first."""

Pairs: TypeAlias = list[tuple[bytes, bytes]]


class Framer:
    """An `h11.Connection` for each exchange, fed with one message's bytes at a time.

    Between exchanges there is none: it takes 1 KiB, and making one takes less time
    than having it start anew.
    """

    __slots__ = ("_decoder", "_h11", "_role", "_room")

    def __init__(
        self, role: type[h11.CLIENT] | type[h11.SERVER], limits: CodecLimits
    ) -> None:
        self._role = role
        self._room = max(limits.header_size, limits.response_header_size) + SPARE
        self._h11: h11.Connection | None = None
        self._decoder: Decoder = NOTHING

    @property
    def _connection(self) -> h11.Connection:
        if self._h11 is None:
            self._h11 = h11.Connection(self._role, max_incomplete_event_size=self._room)
        return self._h11

    @property
    def buffered(self) -> int:
        """How many received bytes are kept."""
        return self._decoder.buffered

    def head(self, wire: bytes, decoder: Decoder) -> None:
        """Take a head that has passed the gate, and the decoder of what follows.

        Raises:
            h11.RemoteProtocolError: h11 does not take it.
        """
        self._decoder = decoder
        connection = self._connection
        connection.receive_data(wire)
        connection.next_event()

    def content(
        self, data: bytes, stream: int
    ) -> tuple[list[HttpEvent], bytes, RemoteProtocolError | None]:
        """Take one read; return its events, what is left of it, and an error.

        Raises:
            h11.RemoteProtocolError: h11 does not take it.
        """
        connection, decoder = self._connection, self._decoder
        piece = decoder.receive(data)
        content = piece.content
        if isinstance(decoder, ChunkedDecoder):
            if content:
                content = b"%x\r\n%b\r\n" % (len(content), content)
            if piece.complete:
                content += b"0\r\n\r\n"
        if content:
            connection.receive_data(content)
        return self._events(stream), data[piece.used :], piece.error

    def ends_with_connection(self, stream: int) -> list[HttpEvent] | None:
        """Return the end that the end of the connection is; None if it is none."""
        if not isinstance(self._decoder, UntilCloseDecoder):
            return None
        self._connection.receive_data(b"")
        return self._events(stream)

    def _events(self, stream: int) -> list[HttpEvent]:
        """Return the content that h11 has, in one piece, and the end if it came."""
        pieces: list[bytes] = []
        events: list[HttpEvent] = []
        connection = self._connection
        while isinstance(event := connection.next_event(), h11.Data):
            content: Any = event  # it says bytes, and has a bytearray
            pieces.append(bytes(content.data))
        if pieces:
            events.append(Body(stream, b"".join(pieces)))
        if isinstance(event, h11.EndOfMessage):
            decoder = self._decoder
            kept = decoder.trailers if isinstance(decoder, ChunkedDecoder) else b""
            events.append(End(stream, kept))
        return events

    def send(self, event: h11.Event) -> bytes:
        """Tell h11 what we send; return the bytes that it would write.

        Raises:
            LocalProtocolError: it does not fit what was sent before.
        """
        try:
            return self._connection.send(event) or b""
        except h11.LocalProtocolError as error:
            raise LocalProtocolError(str(error)) from error

    def send_end(self, trailers: bytes) -> bytes:
        """Tell h11 that we are done; return how the content ends.

        Raises:
            LocalProtocolError: content is missing.
        """
        # Only chunks have an end of their own. h11 does not keep the case of names.
        return b"0\r\n%b\r\n" % trailers if self.send(END) else b""

    def next_cycle(self) -> None:
        """Make ready for the next request.

        Raises:
            LocalProtocolError: the current exchange is not complete.
        """
        states = self._connection.our_state, self._connection.their_state
        if states != (h11.DONE, h11.DONE):
            raise LocalProtocolError(f"the exchange is not complete: {states}")
        self._h11 = None
        self._decoder = NOTHING


# h11 is told of each message by an equivalent that says only how it is framed. There
# are few different ones, and h11 takes 4 of the 11 us that a head costs it to check
# the event, so the last ones are kept; events are immutable.


@lru_cache(maxsize=256)
def mirror_request(method: bytes, kind: BodyKind, count: int) -> h11.Request:
    """Make the request that h11 is told of; `count` is the length of its content."""
    fields = [(b"host", b"backend"), *_framing(kind, count)]
    return h11.Request(method=method, target=b"/", headers=fields)


@lru_cache(maxsize=256)
def mirror_response(
    status: int, kind: BodyKind, count: int, *, close: bool
) -> h11.Response:
    """Make the response that h11 is told of; h11 itself frames a `STREAM`."""
    fields = [] if kind is BodyKind.STREAM else _framing(kind, count)
    if close:
        fields.append((b"connection", b"close"))
    return h11.Response(status_code=status, headers=fields)


def _framing(kind: BodyKind, count: int) -> Pairs:
    if kind is BodyKind.LENGTH:
        return [(b"content-length", b"%d" % count)]
    if kind is BodyKind.STREAM:
        return [(b"transfer-encoding", b"chunked")]
    return []
