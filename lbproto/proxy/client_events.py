"""What happens beside `Data`, sorted to those whom it concerns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbproto.machine.events import (
    Connected,
    ConnectFailed,
    Drain,
    Eof,
    Event,
    Lost,
    Opened,
    Relayed,
    Secured,
    Settled,
    Wake,
    WriteBlocked,
)

if TYPE_CHECKING:
    from lbproto.proxy.connection import ProxyConnection

__all__ = ["sort"]


def sort(client: ProxyConnection, event: Event, now: float) -> None:
    """Tell a client connection, its recess or its exchange what happened.

    Raises:
        LocalProtocolError: it is of a connection that is not ours.
    """
    if isinstance(event, Opened):
        client.opened(event.peer, event.moved, now)
    elif isinstance(event, Wake):
        client.wake(now)
    elif isinstance(event, Drain):
        client.drain(event.grace, event.timeout, now)
    elif isinstance(event, Settled):
        assert client.recess is not None, "something was awaited"
        client.recess.settled(event, now)
    elif isinstance(event, Secured):
        if client.entrance is not None and not client.closed:
            client.entrance.secured(event.tls, now)
    elif isinstance(event, Relayed):
        client.relayed(event)
    elif event.conn != client.conn or isinstance(event, (Connected, ConnectFailed)):
        client.of_backend(event, now)
    elif isinstance(event, Eof):
        client.eof(now)
    elif isinstance(event, Lost):
        client.lost(event.detail, now)
    else:
        client.write_blocked(isinstance(event, WriteBlocked), now)
