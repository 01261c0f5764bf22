"""Idle connections to backends: ids and when they expire, no sockets.

Three views of one set. A stack for each kind of connection (`idle`). Lanes: when the
pool is full, the connection parked longest ago makes room, and the first to expire is
what a deadline is. Connections mostly expire in the order in which they were parked,
since a service gives all of them the same time; so they queue in lanes, each of which
is in both orders, and there is one for each time that services give. And a dictionary,
for what the runtime knows by its id.

What opened a connection (a PROXY header that names one client) is part of what it
is, so it is part of the key: it never serves anybody else.
"""

from __future__ import annotations

import math
from typing import Final

from lbproto.machine.errors import LocalProtocolError
from lbproto.machine.values import ConnId
from lbproto.selection.backend import BackendId
from lbproto.selection.idle import Idle, Lane, PoolKey, Stack

__all__ = ["NOBODY", "IdlePool"]

NOBODY: Final = ConnId(0)
"""In place of a connection; ids count from 1."""


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
            first = lane.first
            if first is not None and first.expires < earliest:
                earliest = first.expires
        return earliest

    def checkout(self, key: PoolKey) -> ConnId | None:
        """Take the connection that was parked last under a key, if there is one."""
        stack = self._stacks.get(key)
        return None if stack is None else self.take(stack) or None

    def take(self, stack: Stack) -> ConnId:
        """Take the connection on top of a stack; `NOBODY` if it is empty."""
        one = stack.top
        if one is None:
            return NOBODY
        self._drop(one)
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
        lane = self._lane(expires)
        one = Idle(conn, stack, lane, expires, self._number)
        parked[conn] = one
        stack.add(one)
        lane.add(one)
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
            while (first := lane.first) is not None and first.expires <= now:
                self._drop(first)
                late.append((first.expires, first.conn))
        self._lanes = [one for one in self._lanes if one.first] or [Lane()]
        expired += [conn for _, conn in sorted(late)]
        return expired

    def _lane(self, expires: float) -> Lane:
        """Return a lane in which nothing expires later."""
        for lane in self._lanes:
            if lane.expires <= expires or lane.first is None:
                return lane
        lane = Lane()
        self._lanes.append(lane)
        return lane

    def _make_room(self) -> None:
        """Give up the connection that was parked longest ago."""
        firsts = [one for lane in self._lanes if (one := lane.first) is not None]
        oldest = min(firsts, key=_number)
        self._drop(oldest)
        self._evicted.append(oldest.conn)

    def _drop(self, one: Idle) -> None:
        stack = one.stack
        stack.remove(one)
        one.lane.remove(one)
        del self._parked[one.conn]
        if stack.top is None and not stack.lasting:
            del self._stacks[stack.key]  # there may be a key for every client


def _number(one: Idle) -> int:
    return one.number
