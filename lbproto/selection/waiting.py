"""The queue for a backend when all that would do have `max_connections`.

First come, first served, and no longer than the time-out. Whoever may go is *called*,
and stays in the queue until it has gone; nobody who comes later goes before. The queue
knows no machines and wakes none: it gives out tickets and says which are called.
"""

from __future__ import annotations

import math
from typing import NewType

from lbproto.machine.values import value

__all__ = ["Ticket", "TicketId", "WaitQueue"]

TicketId = NewType("TicketId", int)
"""One place in one queue."""


@value
class Ticket:
    """The right to be next, when it is one's turn."""

    id: TicketId
    upstream: str
    until: float
    """When it is no good any more."""


class WaitQueue:
    """Who waits for a backend of one upstream."""

    __slots__ = ("_called", "_last", "_size", "_timeout", "_waiting", "upstream")

    def __init__(self, upstream: str, size: int = 0, timeout: float = 0.0) -> None:
        """Hold at most `size`, each for at most `timeout` seconds."""
        self.upstream = upstream
        self.resize(size, timeout)
        self._last = 0
        self._waiting: dict[TicketId, Ticket] = {}
        self._called: dict[TicketId, Ticket] = {}

    def __len__(self) -> int:
        """Count those that wait, called or not."""
        return len(self._waiting) + len(self._called)

    def resize(self, size: int, timeout: float) -> None:
        """Hold so many from now on, so long; who waits already stays."""
        self._size = size
        self._timeout = timeout

    def join(self, now: float) -> Ticket | None:
        """Take the last place; None if there is none left."""
        if len(self) >= self._size:
            return None
        self._last += 1
        ticket = Ticket(TicketId(self._last), self.upstream, now + self._timeout)
        self._waiting[ticket.id] = ticket
        return ticket

    def leave(self, ticket: Ticket) -> bool:
        """Give a place up; tell whether it was still held."""
        held = self._called.pop(ticket.id, None) or self._waiting.pop(ticket.id, None)
        return held is not None

    def is_called(self, ticket: Ticket) -> bool:
        """Tell whether it is this one's turn."""
        return ticket.id in self._called

    def call(self, places: float) -> list[Ticket]:
        """Call the first ones, so that at most so many are; return the new ones."""
        fresh = []
        while self._waiting and len(self._called) < places:
            first = next(iter(self._waiting))
            self._called[first] = self._waiting.pop(first)
            fresh.append(self._called[first])
        return fresh

    def expire(self, now: float) -> list[Ticket]:
        """Drop those whose time is over, and return them."""
        late = []
        for tickets in (self._called, self._waiting):
            for ticket in list(tickets.values()):
                if ticket.until > now:
                    break  # those behind it came later
                late.append(tickets.pop(ticket.id))
        return late

    @property
    def deadline(self) -> float:
        """When the next one's time is over; infinity if nobody waits."""
        firsts = [next(iter(it.values())) for it in (self._called, self._waiting) if it]
        return min((ticket.until for ticket in firsts), default=math.inf)
