"""What is said in one turn of the loop, written at its end.

A write to a peer on the same machine wakes it up, which costs more than the bytes. One
that has little to do sleeps again before the next connection speaks to it; when all
speak one after the other, it is woken once. What is much is written at once, so that
back-pressure is not a turn late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

__all__ = ["Outbox"]

MOST: Final = 16 * 1024
"""Bytes that wait for the end of the turn, of all connections together."""


class Outbox:
    """Writes to the transports of a loop."""

    __slots__ = ("_loop", "_size", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []
        self._size = 0

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write soon, behind what waits."""
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append((transport, data))
        self._size += len(data)
        if self._size > MOST:
            self.flush()

    def flush(self) -> None:
        """Write now; whoever closes a transport or asks for its buffer calls this."""
        waiting, self._waiting, self._size = self._waiting, [], 0
        for transport, data in waiting:
            if not transport.is_closing():
                transport.write(data)
