"""What happens on a backend's connection, sorted to those whom it concerns."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from lbproto.machine.events import (
    BackendEvent,
    Connected,
    ConnectFailed,
    Eof,
    Lost,
    WriteBlocked,
    WriteUnblocked,
)

if TYPE_CHECKING:
    from lbproto.proxy.attempt import Attempt
    from lbproto.proxy.exchange import Exchange

__all__ = ["tell"]


def tell(exchange: Exchange, attempt: Attempt, event: BackendEvent, now: float) -> None:
    """Tell an exchange what happened on the connection that it uses."""
    match event:
        case Connected(_, tls):
            exchange.delivery.on_connected(tls, now)
        case ConnectFailed():
            exchange.delivery.on_connect_failed(event, now)
        case Eof():
            exchange.answer.on_eof(attempt, now)
        case Lost(_, detail):
            exchange.answer.on_lost(attempt, detail, now)
        case WriteBlocked() | WriteUnblocked():
            exchange.on_backend_blocked(isinstance(event, WriteBlocked), now)
        case _ as never:
            assert_never(never)
