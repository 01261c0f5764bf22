"""What happens on a backend's connection, sorted to those whom it concerns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbproto.machine.events import (
    BackendEvent,
    Connected,
    ConnectFailed,
    Eof,
    Lost,
    WriteBlocked,
)

if TYPE_CHECKING:
    from lbproto.proxy.attempt import Attempt
    from lbproto.proxy.exchange import Exchange

__all__ = ["tell"]


def tell(exchange: Exchange, attempt: Attempt, event: BackendEvent, now: float) -> None:
    """Tell an exchange what happened on the connection that it uses."""
    if isinstance(event, Connected):
        exchange.delivery.on_connected(event.tls, now)
    elif isinstance(event, ConnectFailed):
        exchange.delivery.on_connect_failed(event, now)
    elif isinstance(event, Eof):
        exchange.answer.on_eof(attempt, now)
    elif isinstance(event, Lost):
        exchange.answer.on_lost(attempt, event.detail, now)
    else:
        exchange.on_backend_blocked(isinstance(event, WriteBlocked), now)
