"""Idle connections to backends: ids and when they expire, no sockets.

Three views of one set. A stack for each backend: the connection parked last is
taken first, since it is the one most likely to be alive. One queue over all
backends: when the pool is full, the connection parked longest ago makes room.
And a heap of expiries, from which entries are not removed when a connection
leaves: those that no longer hold are dropped when they come to the top, and all
of them when they outnumber the connections.

What opened a connection (a PROXY header that names one client) is part of what it
is, so it is part of the key: it never serves anybody else.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, TypeAlias

from lbproto.machine.errors import LocalProtocolError
from lbproto.machine.values import ConnId
from lbproto.selection.backend import BackendId

__all__ = ["IdlePool", "PoolKey"]

PoolKey: TypeAlias = tuple[Hashable, bytes]
"""A backend, and the first bytes that were sent to it on the connection."""

SLACK: Final = 16
"""Spares a small pool from rebuilding its heap all the time."""


class IdlePool:
    """The idle connections of one process."""

    __slots__ = ("_evicted", "_expiries", "_queue", "_size", "_stacks")

    def __init__(self, size: int) -> None:
        """Hold at most `size` connections, all backends together."""
        self._size = size
        self._queue: OrderedDict[ConnId, tuple[PoolKey, float]] = OrderedDict()
        self._stacks: dict[PoolKey, dict[ConnId, None]] = {}
        self._expiries: list[tuple[float, ConnId]] = []
        self._evicted: list[ConnId] = []

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def deadline(self) -> float:
        """When `expire` has something to return: at once, if one made room."""
        if self._evicted:
            return -math.inf
        while self._expiries and not self._holds(*self._expiries[0]):
            heapq.heappop(self._expiries)
        return self._expiries[0][0] if self._expiries else math.inf

    def checkout(self, key: PoolKey) -> ConnId | None:
        """Take the connection that was parked last under a key, if there is one."""
        stack = self._stacks.get(key)
        if not stack:
            return None
        conn, _ = stack.popitem()
        del self._queue[conn]
        if not stack:
            del self._stacks[key]  # there may be a key for every client
        return conn

    def park(self, key: PoolKey, conn: ConnId, expires: float) -> bool:
        """Add a connection; tell whether it is kept: a pool of size 0 keeps none.

        Those that make room for it are the next that `expire` returns.

        Raises:
            LocalProtocolError: it is parked already.
        """
        if conn in self._queue:
            raise LocalProtocolError(f"connection {conn} is parked already")
        if self._size <= 0:
            return False
        while len(self._queue) >= self._size:
            oldest = next(iter(self._queue))
            self.forget(oldest)
            self._evicted.append(oldest)
        self._queue[conn] = (key, expires)
        self._stacks.setdefault(key, {})[conn] = None
        heapq.heappush(self._expiries, (expires, conn))
        self._tidy()
        return True

    def forget(self, conn: ConnId) -> bool:
        """Drop a connection; tell whether it was here."""
        entry = self._queue.pop(conn, None)
        if entry is None:
            if conn in self._evicted:
                self._evicted.remove(conn)
                return True
            return False
        stack = self._stacks[entry[0]]
        del stack[conn]
        if not stack:
            del self._stacks[entry[0]]
        return True

    def evict(self, backend: BackendId) -> None:
        """Let the connections to a backend be the next that `expire` returns."""
        gone = [conn for conn, (key, _) in self._queue.items() if key[0] == backend]
        for conn in gone:
            self.forget(conn)
        self._evicted += gone

    def expire(self, now: float) -> list[ConnId]:
        """Drop the connections whose time has come, and return them."""
        expired, self._evicted = self._evicted, []
        while self._expiries and self._expiries[0][0] <= now:
            expires, conn = heapq.heappop(self._expiries)
            if self._holds(expires, conn):
                self.forget(conn)
                expired.append(conn)
        return expired

    def _holds(self, expires: float, conn: ConnId) -> bool:
        """Tell whether an entry of the heap is still true."""
        entry = self._queue.get(conn)
        return entry is not None and entry[1] == expires

    def _tidy(self) -> None:
        """Keep the heap in proportion: each rebuild is paid for by as many parks."""
        if len(self._expiries) > 2 * (len(self._queue) + SLACK):
            self._expiries = [
                (expires, conn) for conn, (_, expires) in self._queue.items()
            ]
            heapq.heapify(self._expiries)
