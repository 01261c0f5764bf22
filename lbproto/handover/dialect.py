"""Which of two languages the incumbent speaks, and what it said.

A frame of LBUP/1 begins with `LB`, a type and a zero byte, and no address of
Pingora's has a zero byte in it. So four bytes tell them apart, or fewer. What is
neither is Pingora's message if descriptors come with it, and rubbish if not.
"""

from __future__ import annotations

from typing import TypeAlias

from lbproto.handover.keys import FdToken
from lbproto.handover.pingora import Table, TableReader, Unfit
from lbproto.handover.wire import Broken, FrameReader, Greeting, Received

__all__ = ["Inbox", "Parcel"]

Parcel: TypeAlias = Received | Broken | Table
"""What comes out of an `Inbox`."""


class Inbox:
    """Reads the incumbent's side of the channel, in either language."""

    __slots__ = ("_chunks", "_reader")

    def __init__(self) -> None:
        self._chunks: list[tuple[bytes, tuple[FdToken, ...]]] = []
        self._reader: FrameReader | TableReader | None = None

    @property
    def pingora(self) -> bool:
        """The incumbent is a Pingora process; its message ends with `finish`."""
        return isinstance(self._reader, TableReader)

    @property
    def buffered(self) -> int:
        """How many bytes of an incomplete frame are kept; Pingora's are not counted."""
        if isinstance(self._reader, FrameReader):
            return self._reader.buffered
        return sum(len(data) for data, _ in self._chunks)

    def unclaimed(self) -> tuple[FdToken, ...]:
        """Give up the tokens that nothing has named so far."""
        if self._reader is not None:
            return self._reader.unclaimed()
        fds = tuple(token for _, some in self._chunks for token in some)
        self._chunks = [(data, ()) for data, _ in self._chunks]
        return fds

    def receive(self, data: bytes, fds: tuple[FdToken, ...]) -> list[Parcel]:
        """Take bytes and tokens; return what is complete."""
        if self._reader is not None:
            return self._read(data, fds)
        self._chunks.append((data, fds))
        self._reader = self._decide()
        if self._reader is None:
            return []
        chunks, self._chunks = self._chunks, []
        return [item for chunk, some in chunks for item in self._read(chunk, some)]

    def finish(self) -> Table | Broken:
        """Read Pingora's message to its end, when there is a pause or an EOF."""
        assert isinstance(self._reader, TableReader)
        found = self._reader.finish()
        return Broken(found.reason) if isinstance(found, Unfit) else found

    def _decide(self) -> FrameReader | TableReader | None:
        start = b"".join(data for data, _ in self._chunks)[:4]
        if b"LB".startswith(start[:2]) and start[3:] in (b"", b"\0"):
            return FrameReader(greeting=False) if len(start) == 4 else None
        if any(fds for _, fds in self._chunks):
            return TableReader()
        return FrameReader(greeting=False)  # it will say what is wrong

    def _read(self, data: bytes, fds: tuple[FdToken, ...]) -> list[Parcel]:
        if isinstance(self._reader, TableReader):
            unfit = self._reader.receive(data, fds)
            return [Broken(unfit.reason)] if unfit else []
        assert self._reader is not None
        found = self._reader.receive(data, fds)
        return [item for item in found if not isinstance(item, Greeting)]
