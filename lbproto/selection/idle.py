"""An idle connection, and the stack it lies on.

Connections that may serve in each other's place lie on one stack. The one parked last
is taken first, since it is the one most likely to be alive. Each knows its neighbours,
so that one that dies leaves at once, wherever it lies; and so it does in the lane in
which it waits for its time to come.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import TypeAlias

from lbproto.machine.values import ConnId, fleeting

__all__ = ["Idle", "Lane", "PoolKey", "Stack"]

PoolKey: TypeAlias = tuple[Hashable, bytes]
"""A backend, and the first bytes that were sent to it on the connection."""


class Stack:
    """Idle connections of one kind, the newest on top."""

    __slots__ = ("key", "lasting", "top")

    def __init__(self, key: PoolKey, *, lasting: bool = False) -> None:
        self.top: Idle | None = None
        self.key = key
        self.lasting = lasting
        """A backend keeps it, empty or not."""

    def add(self, one: Idle) -> None:
        """Put a connection on top."""
        below = self.top
        if below is not None:
            below.above = one
            one.below = below
        self.top = one

    def remove(self, one: Idle) -> None:
        """Take a connection out, from wherever it lies."""
        above, below = one.above, one.below
        if above is None:
            self.top = below
        else:
            above.below = below
            one.above = None
        if below is not None:
            below.above = above
            one.below = None


class Lane:
    """Connections in the order in which they were parked, and will expire."""

    __slots__ = ("expires", "first", "last")

    def __init__(self) -> None:
        self.first: Idle | None = None
        self.last: Idle | None = None
        self.expires = -math.inf
        """When the last one that was added does."""

    def add(self, one: Idle) -> None:
        """Put a connection at the end."""
        before = self.last
        if before is None:
            self.first = one
        else:
            before.after = one
            one.before = before
        self.last = one
        self.expires = one.expires

    def remove(self, one: Idle) -> None:
        """Take a connection out, from wherever it is."""
        before, after = one.before, one.after
        if before is None:
            self.first = after
        else:
            before.after = after
            one.before = None
        if after is None:
            self.last = before
        else:
            after.before = before
            one.after = None


@fleeting
class Idle:
    """One connection that nobody uses."""

    __slots__ = (
        "above",
        "after",
        "before",
        "below",
        "conn",
        "expires",
        "lane",
        "number",
        "stack",
    )

    def __init__(
        self, conn: ConnId, stack: Stack, lane: Lane, expires: float, number: int
    ) -> None:
        self.conn = conn
        self.stack = stack
        self.lane = lane
        self.expires = expires
        self.number = number
        """Those that were parked earlier have lower ones."""
        # Its neighbours in the stack and in the lane.
        self.above: Idle | None = None
        self.below: Idle | None = None
        self.before: Idle | None = None
        self.after: Idle | None = None
