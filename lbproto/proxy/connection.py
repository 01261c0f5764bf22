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

from lbproto.config import Listen
from lbproto.framing.messages import HttpEvent
from lbproto.machine.effects import Close, Effect, HalfClose, Level, Log, Send
from lbproto.machine.errors import ErrorCode, LocalProtocolError
from lbproto.machine.events import BackendEvent, Data, Event, PeerInfo, Relayed
from lbproto.machine.timers import HEAD, KEEPALIVE, Timer, TimerTable
from lbproto.machine.values import ConnId, fleeting
from lbproto.proxy.back_pressure import settle
from lbproto.proxy.backend_events import tell
from lbproto.proxy.client_events import sort
from lbproto.proxy.deadlines import expire
from lbproto.proxy.entrance import Entrance
from lbproto.proxy.exchange import Exchange
from lbproto.proxy.lingering import LINGER_SECONDS, Lingering
from lbproto.proxy.presence import NOBODY, enter, leave
from lbproto.proxy.recess import Recess
from lbproto.proxy.site import Site
from lbproto.proxy.stages import TUNNEL

__all__ = ["ProxyConnection"]


@fleeting
class ProxyConnection:
    """A client connection and what it asks for; a `Machine`."""

    __slots__ = (
        "_exchange",
        "_known",
        "_lingering",
        "_mercy",
        "_over",
        "_resume",
        "_retires",
        "_stream",
        "blocked",
        "closed",
        "codec",
        "conn",
        "counted_as",
        "ended",
        "entrance",
        "exchange_timers",
        "kept",
        "out",
        "peer",
        "reading",
        "recess",
        "site",
        "timers",
    )

    def __init__(self, conn: ConnId, site: Site, listen: Listen | None = None) -> None:
        """Expect `Opened` first; `listen` says what the client owes before HTTP."""
        self.conn = conn
        self.site = site
        self.codec = site.server_codec()
        self.peer = NOBODY
        self.out: list[Effect] = []  # of the event at hand; others add to it
        self.blocked = False  # the client does not read what we send
        self.closed = False  # by us, or lost
        self.ended = False  # the client sends no more
        self.counted_as = ""  # an address; see `presence`
        self.kept = 0  # bytes, as the stock knows them
        self.reading = True
        self.timers = TimerTable()
        self.exchange_timers = TimerTable()  # of the one that runs; else empty
        self.recess = None if site.application is None else Recess(conn)
        self.entrance: Entrance | None = None
        if listen is not None and (listen.proxy_protocol or listen.tls is not None):
            self.entrance = Entrance(self, listen)
        self._exchange: Exchange | None = None
        self._over: Exchange | None = None  # until the event at hand is dealt with
        self._known = conn
        self._lingering: Lingering | None = None
        self._mercy = math.inf
        self._resume = False
        self._retires = math.inf
        self._stream = -1  # of the newest request; HTTP/1 counts 1, 3, 5 ...

    @property
    def deadline(self) -> float:
        """When to feed `Wake`; infinite when nothing is armed."""
        at, other = self.timers.next, self.exchange_timers.next
        return min(at, other)

    @property
    def buffered(self) -> int:
        """How many received bytes the core keeps for this connection."""
        working = self.entrance or self._exchange
        return self.codec.buffered + (working.buffered if working is not None else 0)

    @property
    def idle(self) -> bool:
        """Nothing of a request or a response is here, and either may come."""
        busy = self.entrance or self._exchange or self._lingering
        gone = self.ended or self.closed or self.peer is NOBODY
        return not (busy or gone) and self.codec.idle

    def handle(self, event: Event, now: float, /) -> list[Effect]:
        """Advance by one fact; see `Machine`.

        Raises:
            LocalProtocolError: the runtime broke its contract.
        """
        recess = self.recess
        if recess is None:
            self._handle(event, now)
        else:
            for one in recess.timely(event):
                self._handle(one, now)
        over = self._over
        if over is not None:
            over.retire()
            self._over = None
        if not self.closed:
            settle(self, self._exchange, self._lingering, now)
        effects, self.out = self.out, []  # an idle connection keeps none
        return effects

    def _handle(self, event: Event, now: float) -> None:
        if not isinstance(event, Data):
            sort(self, event, now)
        elif event.conn == self.conn:
            self._client_data(event.data, now)
        else:
            self.of_backend(event, now)
        while self._resume:
            self._next_request(now)

    def opened(self, peer: PeerInfo, moved: bool, now: float) -> None:
        """The client was accepted.

        One that was moved here has been through its entrance elsewhere.
        """
        self.peer = peer
        self._retires = now + self.site.connection_age
        if moved:
            enter(self, moved=True)
            self.entrance = None
            self.timers.set(KEEPALIVE, now + self.site.keepalive)
        elif self.entrance is not None:
            self.entrance.opened(now)
        elif enter(self):
            self.timers.set(HEAD, now + self.site.request_header)

    def of_backend(self, event: Data | BackendEvent, now: float) -> None:
        """Hand an event to the exchange that uses its connection now."""
        exchange = self._exchange
        attempt = None if exchange is None else exchange.delivery.attempt
        if exchange is None or attempt is None or attempt.conn != event.conn:
            if event.conn > self._known:
                raise LocalProtocolError(f"{event!r}: a connection that is not ours")
            # Else we closed or parked it while the event was on its way.
        elif isinstance(event, Data):
            exchange.answer.on_data(attempt, event.data, now)
        else:
            tell(exchange, attempt, event, now)

    def relayed(self, event: Relayed) -> None:
        """The runtime has passed bytes of a tunnel on by itself."""
        tunnel = None if self._exchange is None else self._exchange.tunnel
        if tunnel is not None:
            tunnel.relayed(event)

    # -- the client ----------------------------------------------------------

    def _client_data(self, data: bytes, now: float) -> None:
        if self.closed:
            return
        if self._lingering is not None:
            self._lingering.drop(len(data))
            return
        if self.entrance is not None:
            self.entrance.data(data, now)
            return
        exchange = self._exchange
        if exchange is not None and exchange.stage == TUNNEL:
            exchange.on_client_data(data, now)
            return
        codec = self.codec
        begins = exchange is None and codec.idle
        events = codec.receive(data)
        if begins and not events:
            self.timers.clear(KEEPALIVE)
            self.timers.set(HEAD, now + self.site.request_header)
        self._requests(events, now)

    def _requests(self, events: list[HttpEvent], now: float) -> None:
        for event in events:
            if self._exchange is None:
                if self.closed or self._lingering is not None:
                    return
                if event.stream <= self._stream:
                    continue  # the rest of a request answered at its head
                self._exchange = self._new_exchange(event.stream, now)
            self._exchange.on_http(event, now)

    def _new_exchange(self, stream: int, now: float) -> Exchange:
        self.timers.clear(HEAD)
        self.timers.clear(KEEPALIVE)
        self._stream = stream
        if now >= self._retires or stream >= self.site.last_stream:
            self.codec.go_away()
        return Exchange(stream, self, now)

    def _next_request(self, now: float) -> None:
        """Go on with what the client has sent behind the last request."""
        self._resume = False
        events = self.codec.resume()
        if events:
            self._requests(events, now)
        if self._exchange is None and not self.closed and self._lingering is None:
            if self.codec.idle:
                self.timers.set(KEEPALIVE, now + self.site.keepalive)
            else:
                self.timers.set(HEAD, now + self.site.request_header)

    def eof(self, now: float) -> None:
        """The client sends no more."""
        self.ended = True
        if self.closed:
            return
        if self.entrance is not None:
            self.entrance.ended()
            return
        if self._exchange is not None and self._exchange.tunnelling:
            self._exchange.on_client_eof(now)
            return
        self._requests(self.codec.receive_eof(), now)
        if self._exchange is not None:
            self._exchange.on_client_eof(now)
        elif not self.closed:
            self.close()

    def lost(self, detail: str, now: float) -> None:
        """The client is gone."""
        if self.closed:
            return
        self.closed = True
        if self.entrance is not None:
            self.entrance.lost(detail)
        if self._exchange is not None:
            self._exchange.on_client_lost(now)
        self.timers.clear_all()
        leave(self)

    def write_blocked(self, blocked: bool, now: float) -> None:
        """The client does not keep up, or does again."""
        if self.closed:
            return
        self.blocked = blocked
        if blocked:
            self.timers.set(Timer.SEND, now + self.site.send)
        else:
            self.timers.clear(Timer.SEND)
        if self._exchange is not None:
            self._exchange.answer.expect_more(now)

    # -- time ----------------------------------------------------------------

    def wake(self, now: float) -> None:
        """A deadline has come."""
        while (timer := self.timers.due(now)) is not None:
            self._on_timer(timer, now)
        while (exchange := self._exchange) is not None:
            timer = self.exchange_timers.due(now)
            if timer is None:
                break
            expire(exchange, timer, now)

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
        elif timer is Timer.ENTRANCE and self.entrance is not None:
            self.entrance.timed_out()
        else:  # HEAD without a byte, KEEPALIVE, LINGER
            self.close()

    def drain(self, grace: float, timeout: float, now: float) -> None:
        """The operator asks for an end; see `Drain`."""
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
        leave(self)
        self.out.append(Close(self.conn, abort, self.site.send))

    def _abort(self, code: ErrorCode, detail: str, now: float) -> None:
        if self._exchange is not None:
            self._exchange.fail(code, detail, now)
        else:
            self.close(abort=True)

    # -- what the entrance and exchanges use ---------------------------------

    def admit(self, early: bytes, now: float) -> None:
        """Expect HTTP from now on, of which some bytes may have come."""
        self.entrance = None
        self.timers.clear(Timer.ENTRANCE)
        self.timers.set(HEAD, now + self.site.request_header)
        if early:
            self._client_data(early, now)

    def own(self, conn: ConnId) -> None:
        """Take note of a backend connection, so that late events are known."""
        if conn > self._known:
            self._known = conn

    def flush(self) -> None:
        """Send what the codec has written."""
        data = self.codec.take_output()
        if len(data) and not self.closed:
            self.out.append(Send(self.conn, data))

    def log(self, level: Level, message: str, fields: Mapping[str, object]) -> None:
        """Add a log line that says whose connection this is."""
        who = {"client": self.peer.address, "service": self.site.service.name}
        self.out.append(Log(level, message, {**who, **fields}))
