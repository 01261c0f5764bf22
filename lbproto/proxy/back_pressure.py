"""Who is read, and who has to wait.

Back-pressure is decided here, after every event of a client connection: each side is
read while the other one keeps up, and content of requests only while the worker has
room for it. What waits is counted on the way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbproto.machine.effects import SetReading
from lbproto.machine.timers import REQUEST_BODY, Timer
from lbproto.proxy.presence import keep
from lbproto.proxy.stages import TUNNEL
from lbproto.proxy.stock import HIGH_WATER, LOOK_AGAIN

if TYPE_CHECKING:
    from lbproto.proxy.attempt import Attempt
    from lbproto.proxy.connection import ProxyConnection
    from lbproto.proxy.exchange import Exchange
    from lbproto.proxy.lingering import Lingering

__all__ = ["settle"]


def settle(
    client: ProxyConnection,
    exchange: Exchange | None,
    lingering: Lingering | None,
    now: float,
) -> None:
    """Ask the runtime to stop or resume reading, where that changes."""
    codec = client.codec
    if exchange is not None:
        recess, delivery = client.recess, exchange.delivery
        held, attempt = delivery.held, delivery.attempt
        # What waits for an application is enough of both sides.
        full = recess is not None and len(recess.events) > 0
        wanted = exchange.stage == TUNNEL or codec.want_read()
        wanted = wanted and delivery.wants_more and not full
        kept = 0
        # Most requests have come whole, and are on their way.
        if held.size or not (held.complete and wanted) or client.blocked:
            kept = _kept(client, exchange, attempt)
            if wanted and client.site.stock.full and _is_content(exchange):
                wanted = False
                _wait_for_room(client, exchange, now)
                kept = _kept(client, exchange, attempt)
        if attempt is not None:
            attempt.set_reading(not (client.blocked or full), client.out)
    else:
        kept = codec.buffered + HIGH_WATER if client.blocked else codec.buffered
        wanted = codec.want_read() if lingering is None else lingering.wants_more
    if kept != client.kept:
        keep(client, kept)
    if wanted != client.reading:
        client.reading = wanted
        client.out.append(SetReading(client.conn, wanted))


def _kept(client: ProxyConnection, exchange: Exchange, attempt: Attempt | None) -> int:
    """Count what has come and waits, and what a slow peer leaves to the runtime."""
    kept = client.codec.buffered + exchange.buffered
    blocked = attempt is not None and attempt.blocked
    return kept + HIGH_WATER * (client.blocked + blocked)


def _is_content(exchange: Exchange) -> bool:
    return not (exchange.tunnelling or exchange.request_complete)


def _wait_for_room(client: ProxyConnection, exchange: Exchange, now: float) -> None:
    # What is kept only for another try is the first to go, or those who wait could
    # wait for each other.
    exchange.delivery.held.forget_sent()
    exchange.timers.clear(REQUEST_BODY)  # it is not the client's turn
    exchange.upload.rest(now)
    client.timers.set(Timer.SHORTAGE, now + LOOK_AGAIN)
