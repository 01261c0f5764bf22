"""Who listens to connections that nobody uses.

A parked connection has no exchange, so its events come here. The backend has
nothing to say on it: whatever becomes readable is an end or bytes that no request
asked for (RFC 9112 9.2, 9.5), and either way the connection is of no use. A
connection that left the pool a moment ago belongs to somebody else; its late
events are ignored.
"""

from __future__ import annotations

import math

from lbproto.machine.effects import Close, Effect, Level, Log
from lbproto.machine.events import Data, Drain, Eof, Event, Lost, Wake
from lbproto.machine.values import ConnId
from lbproto.selection.balancer import Balancer

__all__ = ["Housekeeping"]


class Housekeeping:
    """The machine that owns the idle connections of a process."""

    __slots__ = ("_balancer",)

    def __init__(self, balancer: Balancer) -> None:
        """Look after the idle connections of `balancer`."""
        self._balancer = balancer

    @property
    def deadline(self) -> float:
        """When the next idle connection expires; infinity if none does."""
        return self._balancer.pool_deadline

    def handle(self, event: Event, now: float, /) -> list[Effect]:
        """Advance by one fact; `now` in seconds, on the clock of the expiries."""
        match event:
            case Data(conn=conn, data=data):
                return self._unasked(conn, len(data))
            case Eof(conn=conn):
                return [Close(conn)] if self._balancer.forget(conn) else []
            case Lost(conn=conn):
                self._balancer.forget(conn)
                return []
            case Wake():
                return [Close(conn) for conn in self._balancer.expire(now)]
            case Drain():
                return [Close(conn) for conn in self._balancer.expire(math.inf)]
            case _:
                # Late news of a connection that came or went.
                return []

    def _unasked(self, conn: ConnId, count: int) -> list[Effect]:
        """Close a connection on which a backend spoke without being asked."""
        if not self._balancer.forget(conn):
            return []
        message = "bytes on an idle backend connection"
        return [
            Log(Level.DEBUG, message, {"conn": conn, "bytes": count}),
            Close(conn),
        ]
