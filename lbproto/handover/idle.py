"""Idle connections on their way to the successor, a frame at a time.

A connection is the incumbent's until the frame that carries it has left whole. One that
stays, for whatever reason, is gone on with. One that has left may still be on its way
inside of the successor, which may be killed then; so the incumbent holds a copy for a
moment, and if the successor goes it takes back what no process of its serves.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Collection

from lbproto.handover.effects import Effect, LetGo, Reclaim, Resume, SendBytes
from lbproto.handover.events import IdleOffered
from lbproto.handover.keys import ListenerKey
from lbproto.handover.messages import Idle, IdlePeer, idle_json
from lbproto.handover.wire import batches, encode
from lbproto.machine.values import ConnId

__all__ = ["IdleMove"]


class IdleMove:
    """Those that go, those that stay, and how far it has come."""

    __slots__ = ("_left", "_parts", "_staying", "in_flight")

    def __init__(self, offered: IdleOffered, keys: Collection[ListenerKey]) -> None:
        """Divide the offer: what came through these listeners goes."""
        going = [one for one in offered.peers if one[1].key in keys]
        self._left: list[ConnId] = []
        self._parts = deque(batches(going, _size))
        self._staying = tuple(
            conn for conn, peer in offered.peers if peer.key not in keys
        )
        self.in_flight = offered.in_flight + len(self._staying)
        """How many connections the incumbent sees to their end."""

    def stay(self) -> list[Effect]:
        """Go on with those that do not go."""
        return [Resume(self._staying)] if self._staying else []

    def next(self) -> SendBytes | None:
        """Return the frame to send now; None when all have left."""
        if not self._parts:
            return None
        part = self._parts[0]
        message = Idle(tuple(peer for _, peer in part))
        return SendBytes(encode(message), tuple(conn for conn, _ in part))

    def sent(self) -> None:
        """The frame has left."""
        self._left += [conn for conn, _ in self._parts.popleft()]

    def let_go(self, how: type[LetGo | Reclaim] = LetGo) -> list[Effect]:
        """Hold those that have left no longer."""
        left, self._left = self._left, []
        return [how(tuple(left))] if left else []

    def end(self, *, undone: bool = False) -> list[Effect]:
        """Go on with those that have not left, and if `undone` with the others."""
        rest = tuple(conn for part in self._parts for conn, _ in part)
        self._parts.clear()
        effects: list[Effect] = [Resume(rest)] if rest else []
        return effects + self.let_go(Reclaim if undone else LetGo)


def _size(one: tuple[ConnId, IdlePeer]) -> int:
    text = json.dumps(idle_json(one[1]), ensure_ascii=False, separators=(",", ":"))
    return len(text.encode("utf-8"))
