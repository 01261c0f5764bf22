"""One client connection.

`ProxyConnection` is the machine that a runtime drives: it owns the client's
codec, at most one exchange at a time (HTTP/1; the next request waits in the
codec), the deadlines between requests, and the way a connection ends. Who may
read while who is blocked is for `back_pressure` to say, after every event. What comes
before HTTP is the entrance's, what happens within a request the exchange's.

How a connection ends:

* *close*: everything was said; flush, then close;
* *linger*: a response went out while the client may still be sending;
* *cut*: a response stays incomplete, and must look so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from lbproto.config import Listen
from lbproto.framing.messages import HttpEvent
from lbproto.machine.effects import (
    Close,
    Effect,
    HalfClose,
    Level,
    Log,
    Send,
)
from lbproto.machine.errors import ErrorCode, LocalProtocolError
from lbproto.machine.events import (
    BackendEvent,
    Data,
    Drain,
    Eof,
    Event,
    Lost,
    Opened,
    PeerInfo,
    Secured,
    Settled,
    Wake,
    WriteBlocked,
    WriteUnblocked,
)
from lbproto.machine.timers import Timer, TimerTable
from lbproto.machine.values import ConnId
from lbproto.proxy.back_pressure import BackPressure
from lbproto.proxy.backend_events import tell
from lbproto.proxy.entrance import Entrance
from lbproto.proxy.exchange import Exchange
from lbproto.proxy.lingering import LINGER_SECONDS, Lingering
from lbproto.proxy.presence import Presence
from lbproto.proxy.recess import Recess
from lbproto.proxy.site import Site

__all__ = ["ProxyConnection"]

NOBODY: Final = PeerInfo("", 0, "")


class ProxyConnection:
    """A client connection and what it asks for; a `Machine`."""

    __slots__ = (
        "_entrance",
        "_exchange",
        "_known",
        "_lingering",
        "_mercy",
        "_over",
        "_pressure",
        "_resume",
        "_retires",
        "_stream",
        "_timeouts",
        "blocked",
        "closed",
        "codec",
        "conn",
        "ended",
        "out",
        "peer",
        "presence",
        "recess",
        "site",
        "timers",
    )

    def __init__(self, conn: ConnId, site: Site, listen: Listen | None = None) -> None:
        """Expect `Opened` first; `listen` says what the client owes before HTTP."""
        self.conn = conn
        self.presence = Presence(site)
        self.site = site
        self.codec = site.server_codec()
        self.peer = NOBODY
        self.out: list[Effect] = []  # of the event at hand; others add to it
        self.blocked = False  # the client does not read what we send
        self.closed = False  # by us, or lost
        self.ended = False  # the client sends no more
        self.timers = TimerTable()
        self.recess = None if site.application is None else Recess(conn)
        self._timeouts = site.service.timeouts
        self._entrance: Entrance | None = Entrance(self, listen)
        self._exchange: Exchange | None = None
        self._over: Exchange | None = None  # until the event at hand is dealt with
        self._known = conn
        self._lingering: Lingering | None = None
        self._mercy = math.inf
        self._pressure = BackPressure(self)
        self._resume = False
        self._retires = math.inf
        self._stream = -1  # of the newest request; HTTP/1 counts 1, 3, 5 ...

    @property
    def deadline(self) -> float:
        """When to feed `Wake`; infinite when nothing is armed."""
        exchange, at = self._exchange, self.timers.next
        return at if exchange is None else min(at, exchange.timers.next)

    @property
    def buffered(self) -> int:
        """How many received bytes the core keeps for this connection."""
        working = self._entrance or self._exchange
        return self.codec.buffered + (working.buffered if working is not None else 0)

    @property
    def idle(self) -> bool:
        """Nothing of a request or a response is here, and either may come."""
        busy = self._entrance or self._exchange or self._lingering
        return not (busy or self.ended or self.closed) and self.codec.idle

    def handle(self, event: Event, now: float, /) -> list[Effect]:
        """Advance by one fact; see `Machine`.

        Raises:
            LocalProtocolError: the runtime broke its contract.
        """
        recess = self.recess
        for one in (event,) if recess is None else recess.timely(event):
            if type(one) is not Data:
                self._handle_rare(one, now)
            elif one.conn == self.conn:
                self._client_data(one.data, now)
            else:
                self._of_backend(one, now)
            while self._resume:
                self._next_request(now)
        if self._over is not None:
            self._over.retire()
            self._over = None
        if not self.closed:
            self._pressure.settle(self._exchange, self._lingering, now)
        effects, self.out = self.out, []  # an idle connection keeps none
        return effects

    def _handle_rare(self, event: Event, now: float) -> None:
        match event:
            case Opened(_, peer, moved):
                self.peer = peer
                self._retires = now + self._timeouts.connection_age
                assert self._entrance is not None, "a connection opens once"
                self._entrance.opened(moved, now)
            case Wake():
                self._wake(now)
            case Drain(grace, timeout):
                self._drain(grace, timeout, now)
            case Eof(conn) if conn == self.conn:
                self._client_eof(now)
            case Lost(conn, detail) if conn == self.conn:
                self._client_lost(detail, now)
            case WriteBlocked(conn) | WriteUnblocked(conn) if conn == self.conn:
                self._client_blocked(isinstance(event, WriteBlocked), now)
            case Settled():
                assert self.recess is not None, "something was awaited"
                self.recess.settled(event, now)
            case Secured(_, tls):
                if self._entrance is not None and not self.closed:
                    self._entrance.secured(tls, now)
            case _:
                self._of_backend(event, now)

    def _of_backend(self, event: Data | BackendEvent, now: float) -> None:
        """Hand an event to the exchange that uses its connection now."""
        exchange = self._exchange
        attempt = exchange.delivery.attempt if exchange is not None else None
        if exchange is None or attempt is None or attempt.conn != event.conn:
            if event.conn > self._known:
                raise LocalProtocolError(f"{event!r}: a connection that is not ours")
            # Else we closed or parked it while the event was on its way.
        elif isinstance(event, Data):
            exchange.answer.on_data(attempt, event.data, now)
        else:
            tell(exchange, attempt, event, now)

    # -- the client ----------------------------------------------------------

    def _client_data(self, data: bytes, now: float) -> None:
        if self.closed:
            return
        if self._lingering is not None:
            self._lingering.drop(len(data))
            return
        if self._entrance is not None:
            self._entrance.data(data, now)
            return
        if self._exchange is not None and self._exchange.tunnelling:
            self._exchange.on_client_data(data, now)
            return
        if self._exchange is None and self.codec.idle:
            self.timers.clear(Timer.KEEPALIVE)
            self.timers.set(Timer.HEAD, now + self._timeouts.request_header)
        self._requests(self.codec.receive(data), now)

    def _requests(self, events: list[HttpEvent], now: float) -> None:
        for event in events:
            if self._exchange is None:
                if self.closed or self._lingering:
                    return
                if event.stream <= self._stream:
                    continue  # the rest of a request answered at its head
                self._exchange = self._new_exchange(event.stream, now)
            self._exchange.on_http(event, now)

    def _new_exchange(self, stream: int, now: float) -> Exchange:
        self.timers.clear(Timer.HEAD, Timer.KEEPALIVE)
        self._stream = stream
        if now >= self._retires or stream >= self.site.last_stream:
            self.codec.go_away()
        return Exchange(stream, self, now)

    def _next_request(self, now: float) -> None:
        """Go on with what the client has sent behind the last request."""
        self._resume = False
        self._requests(self.codec.resume(), now)
        if self._exchange is None and not self.closed and not self._lingering:
            if self.codec.idle:
                self.timers.set(Timer.KEEPALIVE, now + self._timeouts.keepalive)
            else:
                self.timers.set(Timer.HEAD, now + self._timeouts.request_header)

    def _client_eof(self, now: float) -> None:
        self.ended = True
        if self.closed:
            return
        if self._entrance is not None:
            self._entrance.ended()
            return
        if self._exchange is not None and self._exchange.tunnelling:
            self._exchange.on_client_eof(now)
            return
        self._requests(self.codec.receive_eof(), now)
        if self._exchange is not None:
            self._exchange.on_client_eof(now)
        elif not self.closed:
            self.close()

    def _client_lost(self, detail: str, now: float) -> None:
        if self.closed:
            return
        self.closed = True
        if self._entrance is not None:
            self._entrance.lost(detail)
        if self._exchange is not None:
            self._exchange.on_client_lost(now)
        self.timers.clear_all()
        self.presence.leave()

    def _client_blocked(self, blocked: bool, now: float) -> None:
        if self.closed:
            return
        self.blocked = blocked
        if blocked:
            self.timers.set(Timer.SEND, now + self._timeouts.send)
        else:
            self.timers.clear(Timer.SEND)
        if self._exchange is not None:
            self._exchange.answer.expect_more(now)

    # -- time ----------------------------------------------------------------

    def _wake(self, now: float) -> None:
        while (timer := self.timers.due(now)) is not None:
            self._on_timer(timer, now)
        while (exchange := self._exchange) is not None:
            timer = exchange.timers.due(now)
            if timer is None:
                break
            exchange.on_timer(timer, now)

    def _on_timer(self, timer: Timer, now: float) -> None:
        if timer is Timer.HEAD and not self.codec.idle:
            detail = "the request head stays incomplete"
            self._exchange = self._new_exchange(self._stream + 2, now)
            self._exchange.fail(ErrorCode.REQUEST_TIMEOUT, detail, now)
        elif timer is Timer.SEND:
            self._abort(ErrorCode.CLIENT_STALLED, "the client does not read", now)
        elif timer is Timer.DRAIN:
            self._drain_on(now)
        elif timer is Timer.SHORTAGE:
            if self._exchange is not None:
                self._exchange.pace(now)
        elif timer is Timer.ENTRANCE and self._entrance is not None:
            self._entrance.timed_out()
        else:  # HEAD without a byte, KEEPALIVE, LINGER
            self.close()

    def _drain(self, grace: float, timeout: float, now: float) -> None:
        if self.closed:
            return
        self.codec.go_away()
        self._mercy = now + grace + timeout
        if grace > 0:
            self.timers.set(Timer.DRAIN, now + grace)
        else:
            self._drain_on(now)

    def _drain_on(self, now: float) -> None:
        """The grace is over: idle connections close, others have until `_mercy`."""
        if self._exchange is None and self.codec.idle and not self._lingering:
            self.close()
        elif now >= self._mercy:
            self._abort(ErrorCode.DRAINED, "the time for a graceful stop is over", now)
        else:
            self.timers.set(Timer.DRAIN, self._mercy)

    # -- how it ends ---------------------------------------------------------

    def exchange_over(self, exchange: Exchange, now: float) -> None:
        """A response is complete, or a tunnel has ended; its effects are out."""
        self._exchange = None
        self._over = exchange
        if exchange.tunnelled or (self.codec.closing and exchange.request_complete):
            self.close()
        elif self.codec.closing:
            self._linger(now)
        else:
            self._resume = True

    def cut(self, now: float, *, abort: bool) -> None:
        """A response stays incomplete: close, so that the client can tell.

        `abort`: only a reset tells it, since nothing else ends the response.
        """
        self._over = self._exchange
        self._exchange = None
        if not self.closed:
            # Nobody waits for a client that does not read, nor beyond the end.
            self.close(abort=abort or self.blocked or now >= self._mercy)

    def _linger(self, now: float) -> None:
        if now >= self._mercy:
            self.close()
            return
        self._lingering = Lingering(self.site.service.limits.lingering)
        self.timers.clear_all()
        self.timers.set(Timer.LINGER, min(now + LINGER_SECONDS, self._mercy))
        self.out.append(HalfClose(self.conn))

    def close(self, *, abort: bool = False) -> None:
        """Flush and close; `abort`: reset."""
        self.closed = True
        self.timers.clear_all()
        self.presence.leave()
        self.out.append(Close(self.conn, abort, self._timeouts.send))

    def _abort(self, code: ErrorCode, detail: str, now: float) -> None:
        if self._exchange is not None:
            self._exchange.fail(code, detail, now)
        else:
            self.close(abort=True)

    # -- what the entrance and exchanges use ---------------------------------

    def admit(self, early: bytes, now: float) -> None:
        """Expect HTTP from now on, of which some bytes may have come."""
        self._entrance = None
        self.timers.clear(Timer.ENTRANCE)
        self.timers.set(Timer.HEAD, now + self._timeouts.request_header)
        if early:
            self._client_data(early, now)

    def own(self, conn: ConnId) -> None:
        """Take note of a backend connection, so that late events are known."""
        self._known = max(self._known, conn)

    def flush(self) -> None:
        """Send what the codec has written."""
        data = self.codec.take_output()
        if data and not self.closed:
            self.out.append(Send(self.conn, data))

    def log(self, level: Level, message: str, fields: Mapping[str, object]) -> None:
        """Add a log line that says whose connection this is."""
        who = {"client": self.peer.address, "service": self.site.service.name}
        self.out.append(Log(level, message, {**who, **fields}))
