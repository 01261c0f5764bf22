"""The end of a connection whose client may still be sending.

A response went out before its request was complete. Closing at once could make the
kernel take the response from the client, so we say FIN, read and drop what comes, and
close after a while (RFC 9112 9.6). Not more than so many bytes are dropped: then the
client is only left the time to read its response.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LINGER_SECONDS", "Lingering"]

LINGER_SECONDS: Final = 2.0
"""How long a refused client may go on sending before we close."""


class Lingering:
    """A client that was answered early."""

    __slots__ = ("_room",)

    def __init__(self, room: int) -> None:
        """Drop at most about `room` bytes."""
        self._room = room

    def drop(self, count: int) -> None:
        """So many bytes came, and are forgotten."""
        self._room -= count

    @property
    def wants_more(self) -> bool:
        """More may come to be dropped."""
        return self._room > 0
