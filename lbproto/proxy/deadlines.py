"""What it means that a deadline of an exchange has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbproto.machine.errors import ErrorCode
from lbproto.machine.timers import Timer
from lbproto.proxy.stages import ENDED

if TYPE_CHECKING:
    from lbproto.proxy.exchange import Exchange

__all__ = ["expire"]


def expire(exchange: Exchange, timer: Timer, now: float) -> None:
    """Go on with an exchange one of whose deadlines has come."""
    delivery = exchange.delivery
    if timer is Timer.CONNECT:
        delivery.on_connect_timeout(now)
    elif timer is Timer.RESPONSE:
        delivery.on_response_timeout(now)
    elif timer is Timer.QUEUE:
        delivery.lease_or_wait(now)
    elif timer is Timer.BACKOFF:
        delivery.on_pause_over(now)
    elif timer is Timer.RESPONSE_BODY:
        detail = "the response's content stalls"
        exchange.fail(ErrorCode.RESPONSE_TIMEOUT, detail, now)
    elif timer is Timer.REQUEST_BODY:
        detail = "the request's content stalls"
        exchange.fail(ErrorCode.REQUEST_TIMEOUT, detail, now)
    else:  # TUNNEL: silent for too long
        exchange.over(ENDED, None, now)
