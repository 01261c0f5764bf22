"""Idle connections to backends: ids and when they expire, no sockets.

Three views of one set. A stack for each kind of connection (`idle`). Lanes: when the
pool is full, the connection parked longest ago makes room, and the first to expire is
what a deadline is. Connections mostly expire in the order in which they were parked,
since a service gives all of them the same time; so they queue in lanes, each of which
is in both orders, and there is one for each time that services give. And a dictionary,
for what the runtime knows by its id.

What opened a connection (a PROXY header that names one client) is part of what it
is, so it is part of the key: it never serves anybody else. A connection that leaves
stays in its lane until it comes to the head, or until the lane has more of these than
there are connections.
"""

from __future__ import annotations

import math
from typing import Final

from lbproto.machine.errors import LocalProtocolError
from lbproto.machine.values import ConnId
from lbproto.selection.backend import BackendId
from lbproto.selection.idle import Idle, PoolKey, Stack

__all__ = ["NOBODY", "IdlePool"]

NOBODY: Final = ConnId(0)
"""In place of a connection; ids count from 1."""

SLACK: Final = 16
"""Spares a small pool from clearing its lanes all the time."""


class Lane:
    """Connections in the order in which they were parked, and will expire."""

    __slots__ = ("_first", "idle", "last")

    def __init__(self) -> None:
        self._first = 0
        self.idle: list[Idle] = []
        self.last = -math.inf
        """When the last one expires."""

    def add(self, one: Idle) -> None:
        """Put one at the end."""
        self.idle.append(one)
        self.last = one.expires

    def head(self) -> Idle | None:
        """Return the first that is still parked."""
        idle, at = self.idle, self._first
        while at < len(idle):
            one = idle[at]
            if one.parked:
                self._first = at
                return one
            at += 1
        idle.clear()
        self._first = 0
        return None

    def tidy(self) -> None:
        """Drop those that have left."""
        self.idle = [one for one in self.idle if one.parked]
        self._first = 0


class IdlePool:
    """The idle connections of one process."""

    __slots__ = ("_evicted", "_lanes", "_number", "_parked", "_size", "_stacks")

    def __init__(self, size: int) -> None:
        """Hold at most `size` connections, all backends together."""
        self._size = size
        self._number = 0
        self._parked: dict[ConnId, Idle] = {}
        self._stacks: dict[PoolKey, Stack] = {}
        self._lanes = [Lane()]
        self._evicted: list[ConnId] = []

    def __len__(self) -> int:
        return len(self._parked)

    @property
    def deadline(self) -> float:
        """When `expire` has something to return: at once, if one made room."""
        if self._evicted:
            return -math.inf
        earliest = math.inf
        for lane in self._lanes:
            head = lane.head()
            if head is not None and head.expires < earliest:
                earliest = head.expires
        return earliest

    def checkout(self, key: PoolKey) -> ConnId | None:
        """Take the connection that was parked last under a key, if there is one."""
        stack = self._stacks.get(key)
        return None if stack is None else self.take(stack) or None

    def take(self, stack: Stack) -> ConnId:
        """Take the connection on top of a stack; `NOBODY` if it is empty."""
        connections = stack.connections
        if not connections:
            return NOBODY
        one = connections.pop()
        one.parked = False
        del self._parked[one.conn]
        if not connections:
            self._forsake(stack)
        return one.conn

    def park(self, key: PoolKey, conn: ConnId, expires: float) -> bool:
        """Add a connection under a key; see `put`."""
        stack = self._stacks.get(key) or Stack(key)
        kept = self.put(stack, conn, expires)
        if kept:
            self._stacks[key] = stack
        return kept

    def put(self, stack: Stack, conn: ConnId, expires: float) -> bool:
        """Add a connection; tell whether it is kept: a pool of size 0 keeps none.

        Those that make room for it are the next that `expire` returns.

        Raises:
            LocalProtocolError: it is parked already.
        """
        parked = self._parked
        if conn in parked:
            raise LocalProtocolError(f"connection {conn} is parked already")
        if self._size <= 0:
            return False
        while len(parked) >= self._size:
            self._make_room()
        self._number += 1
        one = Idle(conn, stack, expires, self._number)
        parked[conn] = one
        stack.connections.append(one)
        lane = self._lane(expires)
        lane.add(one)
        if len(lane.idle) > 2 * (len(parked) + SLACK):
            lane.tidy()  # paid for by as many that were parked
        return True

    def forget(self, conn: ConnId) -> bool:
        """Drop a connection; tell whether it was here."""
        one = self._parked.get(conn)
        if one is not None:
            self._drop(one)
            return True
        if conn in self._evicted:
            self._evicted.remove(conn)
            return True
        return False

    def evict(self, backend: BackendId) -> None:
        """Let the connections to a backend be the next that `expire` returns."""
        known = self._parked.values()
        for one in [one for one in known if one.stack.key[0] == backend]:
            self._drop(one)
            self._evicted.append(one.conn)

    def expire(self, now: float) -> list[ConnId]:
        """Drop the connections whose time has come, and return them."""
        expired, self._evicted = self._evicted, []
        late: list[tuple[float, ConnId]] = []
        for lane in self._lanes:
            while (head := lane.head()) is not None and head.expires <= now:
                self._drop(head)
                late.append((head.expires, head.conn))
        self._lanes = [lane for lane in self._lanes if lane.idle] or [Lane()]
        expired += [conn for _, conn in sorted(late)]
        return expired

    def _lane(self, expires: float) -> Lane:
        """Return a lane in which nothing expires later."""
        for lane in self._lanes:
            if lane.last <= expires or not lane.idle:
                return lane
        lane = Lane()
        self._lanes.append(lane)
        return lane

    def _make_room(self) -> None:
        """Give up the connection that was parked longest ago."""
        heads = [head for lane in self._lanes if (head := lane.head()) is not None]
        oldest = min(heads, key=_number)
        self._drop(oldest)
        self._evicted.append(oldest.conn)

    def _drop(self, one: Idle) -> None:
        stack = one.stack
        stack.connections.remove(one)
        one.parked = False
        del self._parked[one.conn]
        if not stack.connections:
            self._forsake(stack)

    def _forsake(self, stack: Stack) -> None:
        if not stack.lasting:
            del self._stacks[stack.key]  # there may be a key for every client


def _number(one: Idle) -> int:
    return one.number
