"""Idle connections on their way to the successor, a frame at a time.

A connection is the incumbent's until the frame that carries it has left whole; only
then is it let go. One that stays, for whatever reason, is gone on with.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Collection

from lbproto.handover.effects import LetGo, SendBytes
from lbproto.handover.events import IdleOffered
from lbproto.handover.keys import ListenerKey
from lbproto.handover.messages import Idle, IdlePeer, idle_json
from lbproto.handover.wire import batches, encode
from lbproto.machine.values import ConnId

__all__ = ["IdleMove"]


class IdleMove:
    """Those that go, those that stay, and how far it has come."""

    __slots__ = ("_parts", "in_flight", "staying")

    def __init__(self, offered: IdleOffered, keys: Collection[ListenerKey]) -> None:
        """Divide the offer: what came through these listeners goes."""
        going = [one for one in offered.peers if one[1].key in keys]
        self._parts = deque(batches(going, _size))
        self.staying = tuple(
            conn for conn, peer in offered.peers if peer.key not in keys
        )
        self.in_flight = offered.in_flight + len(self.staying)
        """How many connections the incumbent sees to their end."""

    def next(self) -> SendBytes | None:
        """Return the frame to send now; None when all have left."""
        if not self._parts:
            return None
        part = self._parts[0]
        message = Idle(tuple(peer for _, peer in part))
        return SendBytes(encode(message), tuple(conn for conn, _ in part))

    def sent(self) -> LetGo:
        """The frame has left."""
        return LetGo(tuple(conn for conn, _ in self._parts.popleft()))

    def rest(self) -> tuple[ConnId, ...]:
        """Give up those that have not left."""
        conns = tuple(conn for part in self._parts for conn, _ in part)
        self._parts.clear()
        return conns


def _size(one: tuple[ConnId, IdlePeer]) -> int:
    text = json.dumps(idle_json(one[1]), ensure_ascii=False, separators=(",", ":"))
    return len(text.encode("utf-8"))
