"""What waits while a coroutine of an application runs.

An exchange that waits for its application is not told anything: what happens on its
connections is kept, in order, until the application has answered. Reading stops with
the first event that is kept, so it is one read of each side. What ends the exchange
(the client is gone, the operator's patience is over) does not wait. Nor does the news
that a backend's connection is gone, as far as no order may name it any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lbproto.machine.events import (
    Connected,
    ConnectFailed,
    Data,
    Eof,
    Event,
    Lost,
    Settled,
    WriteBlocked,
    WriteUnblocked,
)

if TYPE_CHECKING:
    from lbproto.machine.values import ConnId
    from lbproto.proxy.caller import Caller

__all__ = ["Recess"]


class Recess:
    """Which callers of a client's connection wait, and what waits with them."""

    __slots__ = ("_client", "_last", "_waiting", "events", "held_by", "kept")

    def __init__(self, client: ConnId) -> None:
        self._client = client
        self._last = 0
        self._waiting: dict[int, Caller] = {}
        self.events: deque[Event] = deque()
        """What has happened meanwhile."""
        self.held_by: Caller | None = None
        """Whose exchange waits now."""
        self.kept: object = None
        """What an application keeps from one request to the next."""

    @property
    def on(self) -> bool:
        """An exchange waits."""
        return self.held_by is not None

    def ticket(self, caller: Caller) -> int:
        """Return a number under which a caller will be answered."""
        self._last += 1
        self._waiting[self._last] = caller
        return self._last

    def called(self, ticket: int) -> Caller | None:
        """Return who waits for an answer; None: nobody does any more."""
        return self._waiting.pop(ticket, None)

    def settled(self, event: Settled, now: float) -> None:
        """Tell who waits for it; it may be an exchange that is over."""
        caller = self.called(event.ticket)
        if caller is not None:
            caller.settled(event, now)

    def timely(self, event: Event) -> Iterator[Event]:
        """Yield the events whose time has come, now that another one is here."""
        if not self.postpones(event):
            yield event
        while self.events and not self.on:
            yield self.events.popleft()

    def postpones(self, event: Event) -> bool:
        """Keep an event for later, if it has to wait; tell."""
        if self.held_by is None:
            return False
        match event:
            case Data() | Eof() | Connected():
                self.events.append(event)
                return True
            case ConnectFailed(conn) | Lost(conn) if conn != self._client:
                self.held_by.gone(conn)
                self.events.append(event)
                return True
            case WriteBlocked(conn) | WriteUnblocked(conn) if conn != self._client:
                self.events.append(event)
                return True
        return False
