"""An idle connection, and the stack it lies on.

Connections that may serve in each other's place lie on one stack. The one parked last
is taken first, since it is the one most likely to be alive.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeAlias

from lbproto.machine.values import ConnId, fleeting

__all__ = ["Idle", "PoolKey", "Stack"]

PoolKey: TypeAlias = tuple[Hashable, bytes]
"""A backend, and the first bytes that were sent to it on the connection."""


class Stack:
    """Idle connections of one kind, the newest last."""

    __slots__ = ("connections", "key", "lasting")

    def __init__(self, key: PoolKey, *, lasting: bool = False) -> None:
        self.connections: list[Idle] = []
        self.key = key
        self.lasting = lasting
        """A backend keeps it, empty or not."""


@fleeting
class Idle:
    """One connection that nobody uses."""

    __slots__ = ("conn", "expires", "number", "parked", "stack")

    def __init__(self, conn: ConnId, stack: Stack, expires: float, number: int) -> None:
        self.conn = conn
        self.stack = stack
        self.expires = expires
        self.number = number
        """Those that were parked earlier have lower ones."""
        self.parked = True
        """Nobody has taken it."""
