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

__all__ = ["HELD_LIMIT", "MOST_PIECES", "HeldContent"]

HELD_LIMIT: Final = 64 * 1024
"""Bytes of one request's content that are kept for another attempt."""


MOST_PIECES: Final = 128
"""Past these they are joined."""


class HeldContent:
    """Pieces of one request's content, sent and unsent."""

    __slots__ = ("_pieces", "_unsent", "complete", "intact", "received", "size")

    def __init__(self) -> None:
        self._pieces: list[Body | End] = []
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
        self._pieces.append(piece)
        if isinstance(piece, Body):
            self.size += len(piece.data)
            self.received += len(piece.data)
            if len(self._pieces) > MOST_PIECES:
                self._join()
        else:
            self.complete = True

    def take_unsent(self) -> list[Body | End]:
        """Return what the backend has not got yet, and count it as sent.

        Content that piled up comes as one piece: in chunks it needs one size.
        """
        pieces = self._pieces
        unsent = pieces[self._unsent :] if self._unsent else pieces.copy()
        if len(unsent) > 1:
            unsent = _joined(unsent)
        self._unsent = len(pieces)
        if self.size > HELD_LIMIT or not self.intact:
            self.forget_sent()
        return unsent

    def _join(self) -> None:
        sent = _joined(self._pieces[: self._unsent])
        self._pieces = sent + _joined(self._pieces[self._unsent :])
        self._unsent = len(sent)

    def rewind(self) -> None:
        """Count every held piece as unsent: another connection gets them."""
        self._unsent = 0

    def forget_sent(self) -> None:
        """Drop what was sent; the request cannot be repeated any more."""
        self.intact = False
        if self._unsent == len(self._pieces):
            self._pieces.clear()
            self._unsent = self.size = 0
            return
        del self._pieces[: self._unsent]
        self._unsent = 0
        self.size = sum(len(it.data) for it in self._pieces if isinstance(it, Body))

    @property
    def overfull(self) -> bool:
        """What waits to be sent has reached the limit."""
        return self._unsent < len(self._pieces) and self.size >= HELD_LIMIT


def _joined(pieces: list[Body | End]) -> list[Body | End]:
    bodies = [piece for piece in pieces if isinstance(piece, Body)]
    if len(bodies) < 2:
        return pieces
    whole = Body(bodies[0].stream, b"".join(body.data for body in bodies))
    return [whole, *pieces[len(bodies) :]]
