"""What a codec of our own writes: a head, its content as it is framed, the end.

A message goes out in order and with exactly as much content as its head says; all
else is our own bug (`LocalProtocolError`). What was written collects, so that it
leaves in one piece.
"""

from __future__ import annotations

from typing import Final

from lbproto.framing.messages import STREAMED, Body, BodyHint
from lbproto.machine.errors import LocalProtocolError
from lbproto.machine.values import leaf

__all__ = ["Outflow"]

# What may come next, where that is no number of bytes; all are below zero.
NOTHING: Final = -1
"""Nothing but a head: no message has begun, or one is complete."""
CHUNKS: Final = -2
UNTIL_CLOSE: Final = -3


@leaf
class Outflow:
    """One message after the other on its way out."""

    __slots__ = ("_data", "_left")

    def __init__(self) -> None:
        self._data = b""  # a head, and hardly ever more than one piece behind it
        self._left = NOTHING

    @property
    def at_rest(self) -> bool:
        """No message is on its way."""
        return self._left == NOTHING

    @property
    def in_chunks(self) -> bool:
        """Content is on its way in chunks."""
        return self._left == CHUNKS

    def interim(self, head: bytes) -> None:
        """Write a head that has no content and is not the last of its exchange.

        Raises:
            LocalProtocolError: another message is not complete.
        """
        if self._left != NOTHING:
            raise LocalProtocolError("a head within a message")
        self._data += head

    def head(self, head: bytes, body: BodyHint, *, chunked: bool) -> None:
        """Write a head; `chunked`: a `STREAM` is, or else it ends with the connection.

        Raises:
            LocalProtocolError: another message is not complete.
        """
        if self._left != NOTHING:
            raise LocalProtocolError("a head within a message")
        if body.kind is STREAMED:
            self._left = CHUNKS if chunked else UNTIL_CLOSE
        else:
            self._left = body.length
        self._data = _behind(self._data, head)

    def body(self, event: Body) -> None:
        """Write content.

        Raises:
            LocalProtocolError: no message is to have it, or not as much.
        """
        left, data = self._left, event.data
        if left >= len(data):
            self._left = left - len(data)
            self._data = _behind(self._data, data)
        elif left == CHUNKS:
            chunks = event.chunks or b"%x\r\n%b\r\n" % (len(data), data)
            self._data = _behind(self._data, chunks)
        elif left == UNTIL_CLOSE:
            self._data = _behind(self._data, data)
        else:
            raise LocalProtocolError(f"{len(data)} bytes of content, {left} are left")

    def end(self, trailers: bytes = b"") -> None:
        """Write the end, and trailers where there can be any.

        Raises:
            LocalProtocolError: content is missing, or there is no message.
        """
        left = self._left
        if left == CHUNKS:
            self._data += b"0\r\n%b\r\n" % trailers
        elif left > 0 or left == NOTHING:
            raise LocalProtocolError(f"the end of a message, {left} bytes are missing")
        self._left = NOTHING

    def take(self) -> bytes:
        """Return what is to be written now, and forget it."""
        data, self._data = self._data, b""
        return data


def _behind(data: bytes, more: bytes) -> bytes:
    """Put bytes behind others, of which there are mostly none."""
    return data + more if len(data) else more
