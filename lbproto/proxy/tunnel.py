"""Bytes of an upgraded connection, both ways (RFC 9110 7.8).

After a 101 nothing is parsed any more. Each side's end of stream is passed on as
a half-close, so that what the other side still has to say arrives; when both have
ended, both connections close.

Since nothing is parsed, a runtime may pass the bytes on by itself (`Relay`). It tells
how many there were and when the last one came before anything else happens here, so
the silence that a tunnel may keep is measured as well as if each had passed by.
"""

from __future__ import annotations

from lbproto.machine.effects import Effect, HalfClose, Relay, Send
from lbproto.machine.events import Relayed
from lbproto.machine.timers import TUNNEL, TimerTable
from lbproto.machine.values import ConnId
from lbproto.rewriting.outgoing import protocols

__all__ = ["Tunnel", "may_switch"]


def may_switch(offered: bytes, chosen: bytes) -> bool:
    """Tell whether a 101 names something, and nothing but what was offered.

    RFC 9110 7.8; both are lists as they stand in Upgrade, and empty members of a
    list are none (RFC 9110 5.6.1).
    """
    known, names = protocols(offered), protocols(chosen)
    return bool(names) and all(name in known for name in names)


class Tunnel:
    """Two connections, tied together."""

    __slots__ = (
        "_client",
        "_ended",
        "_patience",
        "_timers",
        "_upstream",
        "received",
        "sent",
        "stranded",
    )

    def __init__(
        self, client: ConnId, upstream: ConnId, timers: TimerTable, patience: float
    ) -> None:
        """It ends when nothing has passed for `patience` seconds."""
        self._client = client
        self._upstream = upstream
        self._timers = timers
        self._patience = patience
        self._ended: list[ConnId] = []
        self.received = 0
        """Bytes from the client."""
        self.sent = 0
        """Bytes to the client."""
        self.stranded = False
        """The backend's connection is gone, and nothing can be sent there."""

    def begin(self, early: bytes, behind: bytes, now: float, out: list[Effect]) -> None:
        """Pass on what has come from client and backend already, and whatever comes."""
        client, upstream = self._client, self._upstream
        self._timers.set(TUNNEL, now + self._patience)
        if behind:
            self.from_backend(behind, now, out)
        if early:
            self.from_client(early, now, out)
        if not self.stranded:
            out.append(Relay(client, upstream))
            out.append(Relay(upstream, client))

    def from_client(self, data: bytes, now: float, out: list[Effect]) -> None:
        """Pass bytes on to the backend."""
        self.received += len(data)
        if not self.stranded:
            out.append(Send(self._upstream, data))
        self._timers.set(TUNNEL, now + self._patience)

    def from_backend(self, data: bytes, now: float, out: list[Effect]) -> None:
        """Pass bytes on to the client."""
        self.sent += len(data)
        out.append(Send(self._client, data))
        self._timers.set(TUNNEL, now + self._patience)

    def relayed(self, event: Relayed) -> None:
        """The runtime has passed bytes on."""
        if event.conn == self._client:
            self.received += event.octets
        else:
            self.sent += event.octets
        self._timers.set(TUNNEL, event.last + self._patience)

    def eof(self, conn: ConnId, out: list[Effect]) -> bool:
        """Pass an end of stream on; tell whether both sides have ended."""
        self._ended.append(conn)
        if len(self._ended) == 2:
            return True
        other = self._upstream if conn == self._client else self._client
        if other == self._client or not self.stranded:
            out.append(HalfClose(other))
        return False
