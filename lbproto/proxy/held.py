"""The content of a request while it may still be needed again.

Content arrives before there is a connection to send it on, and a connection that
dies before it answered may be replaced. So what has come is held, up to a limit:
what is unsent must be kept (and the client is paused once that reaches the
limit), what was sent is kept only as long as the whole fits. A piece costs more than
its bytes, and a client may send one byte at a time, so pieces are few.
"""

from __future__ import annotations

from typing import Final

from lbproto.framing.messages import Body, End
from lbproto.machine.values import leaf

__all__ = ["HELD_LIMIT", "MOST_PIECES", "HeldContent"]

HELD_LIMIT: Final = 64 * 1024
"""Bytes of one request's content that are kept for another attempt."""


MOST_PIECES: Final = 128
"""Past these they are joined."""


@leaf
class HeldContent:
    """Pieces of one request's content, sent and unsent."""

    __slots__ = (
        "_end",
        "_ended",
        "_pieces",
        "_unsent",
        "complete",
        "intact",
        "received",
        "size",
    )

    def __init__(self) -> None:
        self._end: End | None = None
        self._ended = False  # it was sent
        self._pieces: list[Body] | None = None  # most requests have none
        self._unsent = 0  # index of the first piece that was not sent
        self.size = 0
        """How many bytes are held."""
        self.received = 0
        """Bytes of content so far."""
        self.complete = False
        """The end of the request has come."""
        self.intact = True
        """Every piece that has come is still here."""

    def add(self, piece: Body | End) -> None:
        """Take the next piece from the client."""
        if isinstance(piece, End):
            self._end = piece
            self.complete = True
            return
        if self._pieces is None:
            self._pieces = []
        self._pieces.append(piece)
        self.size += len(piece.data)
        self.received += len(piece.data)
        if len(self._pieces) > MOST_PIECES:
            sent = _joined(self._pieces[: self._unsent])
            self._pieces = sent + _joined(self._pieces[self._unsent :])
            self._unsent = len(sent)

    def take_unsent(self) -> list[Body | End]:
        """Return what the backend has not got yet, and count it as sent.

        Content that piled up comes as one piece: in chunks it needs one size.
        """
        end, pieces = self._end, self._pieces
        if self._ended:
            end = None
        elif end is not None:
            self._ended = True
        unsent: list[Body | End] = [] if end is None else [end]
        if pieces is not None:
            unsent = [*_joined(pieces[self._unsent :]), *unsent]
            self._unsent = len(pieces)
        if self.size > HELD_LIMIT or not self.intact:
            self.forget_sent()
        return unsent

    def rewind(self) -> None:
        """Count every held piece as unsent: another connection gets them."""
        self._unsent = 0
        self._ended = False

    def forget_sent(self) -> None:
        """Drop what was sent; the request cannot be repeated any more."""
        self.intact = False
        if self._ended:
            self._end = None
        pieces = self._pieces
        if pieces is not None:
            del pieces[: self._unsent]
            self._unsent = 0
            self.size = sum(len(piece.data) for piece in pieces)

    @property
    def overfull(self) -> bool:
        """What waits to be sent has reached the limit."""
        return self.size >= HELD_LIMIT and self._waits

    @property
    def _waits(self) -> bool:
        return self._pieces is not None and self._unsent < len(self._pieces)


def _joined(pieces: list[Body]) -> list[Body]:
    if len(pieces) < 2:
        return pieces
    return [Body(pieces[0].stream, b"".join(piece.data for piece in pieces))]
