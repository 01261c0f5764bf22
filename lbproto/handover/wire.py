"""The frames of LBUP/1: a header of eight bytes, JSON, and descriptors.

    "LB"  type  zero  length, 4 bytes, big-endian   JSON, at most 64 KiB

Descriptors ride on the first byte of the frame that names them. One read of a socket
returns no bytes that were sent after those that carried descriptors, but it may return
bytes of earlier frames in front of them. So the rule is about places in the stream:
descriptors that arrive with the bytes from `a` to `b` belong to the one frame that
begins there and names as many. Anything else is a wrong count, and breaks the channel.
Every check is made on the fewest bytes that can fail it, so how the bytes were cut
does not matter.

A reader hands out each token once: with its message, or in `unclaimed`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias, TypeVar

from lbproto.handover.keys import FdToken
from lbproto.handover.messages import (
    KINDS,
    MAX_FDS,
    Malformed,
    Message,
    body,
    descriptors,
    parse,
)
from lbproto.machine.errors import LocalProtocolError
from lbproto.machine.values import value

__all__ = [
    "GREETING",
    "HEADER",
    "MAX_BODY",
    "Broken",
    "FrameReader",
    "Greeting",
    "Item",
    "Received",
    "batches",
    "encode",
    "fits",
]

GREETING: Final = b"LBUP 1\n"
"""The first bytes on the wire, the successor's."""

MAX_BODY: Final = 64 * 1024
"""Bytes of JSON in a frame."""

MAGIC: Final = b"LB"
HEADER: Final = 8
_TYPES: Final = frozenset(KINDS.values())
_ROOM: Final = MAX_BODY - 64
"""Bytes for the items of a frame; the rest is for the braces around them."""

T = TypeVar("T")


def encode(message: Message) -> bytes:
    """Write a frame.

    Raises:
        LocalProtocolError: the message does not fit in a frame; use `batches`.
    """
    if not fits(message):
        raise LocalProtocolError(f"{type(message).__name__} does not fit in a frame")
    content = body(message)
    length = len(content).to_bytes(4, "big")
    return MAGIC + KINDS[type(message)] + b"\0" + length + content


def fits(message: Message) -> bool:
    """Tell whether a message is small enough for one frame."""
    return len(body(message)) <= MAX_BODY and descriptors(message) <= MAX_FDS


def batches(items: Sequence[T], size: Callable[[T], int]) -> list[tuple[T, ...]]:
    """Divide items, in their order, so that each part fits in a frame.

    `size` returns the bytes of one item's JSON. There is no empty part.
    """
    parts: list[tuple[T, ...]] = []
    part: list[T] = []
    room = _ROOM
    for item in items:
        needed = size(item) + 1  # and a comma
        if part and (len(part) == MAX_FDS or needed > room):
            parts.append(tuple(part))
            part, room = [], _ROOM
        part.append(item)
        room -= needed
    if part:
        parts.append(tuple(part))
    return parts


@value
class Greeting:
    """The other side speaks LBUP/1."""


@value
class Received:
    """A whole message; the descriptors are whosever reads this."""

    message: Message
    fds: tuple[FdToken, ...]


@value
class Broken:
    """The bytes are not what the contract says; nothing is read after them."""

    reason: str


Item: TypeAlias = Greeting | Received | Broken


@value
class _Batch:
    """Descriptors that came together, and the places of the bytes they came with."""

    start: int
    end: int
    fds: tuple[FdToken, ...]


class FrameReader:
    """Takes bytes and tokens as they come, and gives messages.

    It keeps less than one frame. After `Broken` it reads nothing any more.
    """

    __slots__ = ("_batches", "_broken", "_buffer", "_greeted", "_start")

    def __init__(self, *, greeting: bool) -> None:
        self._greeted = not greeting
        self._buffer = bytearray()
        self._start = 0
        """The place in the stream of the first byte in the buffer."""
        self._batches: list[_Batch] = []
        self._broken = False

    @property
    def buffered(self) -> int:
        """How many bytes of an incomplete frame are kept."""
        return len(self._buffer)

    def unclaimed(self) -> tuple[FdToken, ...]:
        """Give up the tokens that belong to no message so far."""
        fds = tuple(token for batch in self._batches for token in batch.fds)
        self._batches.clear()
        return fds

    def receive(self, data: bytes, fds: tuple[FdToken, ...]) -> list[Item]:
        """Take bytes, and the tokens that came with them; return what is complete."""
        end = self._start + len(self._buffer) + len(data)
        if fds:
            self._batches.append(_Batch(end - len(data), end, fds))
        if self._broken:
            return []
        self._buffer += data
        found: list[Item] = []
        try:
            while (item := self._next()) is not None:
                found.append(item)
            self._no_strays()
        except Malformed as error:
            self._broken = True
            self._buffer.clear()
            found.append(Broken(str(error)))
        return found

    def _next(self) -> Item | None:
        if not self._greeted:
            return self._greeting()
        size = self._size()
        if size is None or len(self._buffer) < HEADER + size:
            return None
        content = bytes(self._buffer[HEADER : HEADER + size])
        message = parse(bytes(self._buffer[2:3]), content)
        fds = self._claim(descriptors(message))
        self._take(HEADER + size)
        return Received(message, fds)

    def _greeting(self) -> Greeting | None:
        start = bytes(self._buffer[: len(GREETING)])
        if not GREETING.startswith(start):
            raise Malformed("no greeting of LBUP/1")
        if len(start) < len(GREETING):
            return None
        self._greeted = True
        self._take(len(GREETING))
        return Greeting()

    def _size(self) -> int | None:
        """Return the length of the body; None as long as the header is incomplete."""
        start = bytes(self._buffer[:HEADER])
        if not MAGIC.startswith(start[:2]):
            raise Malformed("no frame begins with this")
        if start[2:3] and start[2:3] not in _TYPES:
            raise Malformed(f"no frame is of type {start[2]:#04x}")
        if start[3:4] not in (b"", b"\0"):
            raise Malformed("the fourth byte of a frame is not zero")
        if len(start) < HEADER:
            return None
        size = int.from_bytes(start[4:], "big")
        if size > MAX_BODY:
            raise Malformed(f"a frame of {size} bytes")
        return size

    def _claim(self, count: int) -> tuple[FdToken, ...]:
        if not count:
            return ()
        batch = self._batches[0] if self._batches else None
        if (
            batch is None
            or not batch.start <= self._start < batch.end
            or len(batch.fds) != count
        ):
            raise Malformed(f"not the {count} descriptors that a frame names")
        del self._batches[0]
        return batch.fds

    def _take(self, count: int) -> None:
        del self._buffer[:count]
        self._start += count

    def _no_strays(self) -> None:
        """Refuse tokens that no frame can name any more."""
        for batch in self._batches:
            # Only the frame that is incomplete now can; all before it are read.
            if not batch.start <= self._start < batch.end:
                raise Malformed("descriptors that no frame names")
