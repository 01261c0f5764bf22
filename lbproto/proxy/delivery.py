"""Getting a request to a backend.

A `Delivery` holds the rewritten request and what has come of its content. It
leases a backend, takes an idle connection or dials, sends, and when that fails
before the first byte of a response it decides by the rules of `retry` whether
another connection gets the request. What it cannot deliver it reports to the
exchange, which then answers by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lbproto.framing.messages import Body, End, RequestHead
from lbproto.machine.effects import Level
from lbproto.machine.errors import ErrorCode
from lbproto.machine.events import ConnectError, ConnectFailed
from lbproto.machine.timers import Timer
from lbproto.proxy.attempt import Attempt
from lbproto.proxy.held import HeldContent
from lbproto.proxy.retry import Failure, may_replay
from lbproto.proxy.stages import Stage, Step
from lbproto.selection.balancer import Outcome

if TYPE_CHECKING:
    from lbproto.proxy.exchange import Exchange
    from lbproto.selection.backend import BackendId
    from lbproto.selection.balancer import Lease

__all__ = ["Delivery"]

CONNECT_CODES: Final = {
    ConnectError.REFUSED: ErrorCode.CONNECT_REFUSED,
    ConnectError.TIMEOUT: ErrorCode.CONNECT_TIMEOUT,
    ConnectError.UNREACHABLE: ErrorCode.CONNECT_UNREACHABLE,
    ConnectError.DNS: ErrorCode.CONNECT_DNS,
    ConnectError.TLS: ErrorCode.CONNECT_TLS,
    ConnectError.LOCAL: ErrorCode.CONNECT_LOCAL,
}


class Delivery:
    """One request on its way up."""

    __slots__ = (
        "_exchange",
        "_failed",
        "_key",
        "_replayed",
        "attempt",
        "held",
        "request",
    )

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._failed: list[BackendId] = []
        self._key = b""
        self._replayed = False
        self.held = HeldContent()
        self.request: RequestHead | None = None
        """As it goes out; set by `begin`."""
        self.attempt: Attempt | None = None
        """The backend connection in use."""

    @property
    def using(self) -> Attempt:
        """The backend connection in use, where there is one for certain."""
        assert self.attempt is not None, "an exchange rests only with an attempt"
        return self.attempt

    @property
    def wants_more(self) -> bool:
        """More content can be used now."""
        return not (self.using.blocked or self.held.overfull)

    def begin(self, request: RequestHead, now: float) -> None:
        """Pick a backend for a request and start towards it."""
        self.request = request
        exchange = self._exchange
        upstream = exchange.site.service.upstream
        self._key = exchange.key(upstream)
        balancer = exchange.site.balancer
        lease = balancer.lease(upstream, self._failed, now, self._key)
        if lease is None:
            detail = f"upstream {upstream} has no backend"
            exchange.fail(ErrorCode.NO_BACKEND, detail, now)
        else:
            self._start(lease, now, fresh=False)

    def content(self, piece: Body | End, now: float) -> None:
        """Pass content on, or hold it until there is a connection."""
        self.held.add(piece)
        attempt = self.using
        if not attempt.connected:
            return
        attempt.transmit(None, self.held.take_unsent(), self._exchange.out)
        self._expect_response(now)

    def _start(self, lease: Lease, now: float, *, fresh: bool) -> None:
        exchange = self._exchange
        peer = exchange.client.peer
        attempt = Attempt(exchange.site, lease, peer, exchange.out, fresh=fresh)
        self.attempt = attempt
        exchange.tried(attempt)
        if attempt.reused:
            exchange.go(Step.REUSED)
            self._transmit(attempt, now)
        else:
            exchange.go(Step.LEASED)
            patience = exchange.site.service.timeouts.connect
            exchange.timers.set(Timer.CONNECT, now + patience)

    def _transmit(self, attempt: Attempt, now: float) -> None:
        attempt.transmit(self.request, self.held.take_unsent(), self._exchange.out)
        self._expect_response(now)
        self._exchange.pace(now)  # there is room again for what the client sends

    def _expect_response(self, now: float) -> None:
        """Arm the backend's deadline for its response head, if it is its turn."""
        exchange = self._exchange
        if exchange.stage is not Stage.AWAITING:
            return
        if self.held.complete or self.using.blocked or exchange.awaits_continue:
            patience = exchange.site.service.timeouts.response_header
            exchange.timers.set(Timer.RESPONSE, now + patience)
        else:
            exchange.timers.clear(Timer.RESPONSE)

    # -- what becomes of the connection --------------------------------------

    def on_connected(self, now: float) -> None:
        """The dial succeeded."""
        attempt = self.using
        self._exchange.timers.clear(Timer.CONNECT)
        self._exchange.go(Step.CONNECTED)
        attempt.connected = True
        self._transmit(attempt, now)

    def on_connect_failed(self, event: ConnectFailed, now: float) -> None:
        """The dial failed, or the idle connection was dead already."""
        attempt = self.using
        attempt.lost()
        if event.why is ConnectError.STALE:
            self._replay_or_fail(attempt, Failure.STALE, event.detail, now)
        else:
            self._unreachable(attempt, CONNECT_CODES[event.why], event.detail, now)

    def on_connect_timeout(self, now: float) -> None:
        """The dial takes too long."""
        code, detail = ErrorCode.CONNECT_TIMEOUT, "no answer to the dial in time"
        self._unreachable(self.using, code, detail, now)

    def on_interim(self, now: float) -> None:
        """The backend is alive: its time for the response starts anew."""
        self._expect_response(now)

    def on_blocked(self, blocked: bool, now: float) -> None:
        """The backend does not keep up with the request, or does again."""
        self.using.blocked = blocked
        self._expect_response(now)

    def on_closed(self, detail: str, now: float) -> None:
        """The connection ended before the first byte of a response."""
        attempt = self.using
        failure = Failure.REUSED_CLOSED if attempt.reused else Failure.FRESH_CLOSED
        self._replay_or_fail(attempt, failure, detail, now)

    def _unreachable(
        self, attempt: Attempt, code: ErrorCode, detail: str, now: float
    ) -> None:
        """Settle with this backend, and try another one if there is one left."""
        exchange = self._exchange
        site = exchange.site
        exchange.timers.clear(Timer.CONNECT)
        ours = code is ErrorCode.CONNECT_LOCAL
        outcome = Outcome.ABANDONED if ours else Outcome.CONNECT_FAILED
        self.end(outcome, now)
        self._failed.append(attempt.lease.backend)
        if not ours and len(self._failed) <= site.max_retries:
            upstream = site.service.upstream
            lease = site.balancer.lease(upstream, self._failed, now, self._key)
            if lease is not None:
                exchange.log(Level.WARNING, "trying another backend", code, detail)
                exchange.go(Step.RETRY)
                self._start(lease, now, fresh=False)
                return
        exchange.fail(code, detail, now)

    def _replay_or_fail(
        self, attempt: Attempt, failure: Failure, detail: str, now: float
    ) -> None:
        exchange, request = self._exchange, self.request
        assert request is not None, "an attempt is made for a request"
        if not may_replay(
            failure,
            request.method,
            held=self.held.intact,
            complete=self.held.complete,
            replayed=self._replayed,
        ):
            exchange.fail(ErrorCode.BACKEND_CLOSED, detail, now)
            return
        self._replayed = True
        exchange.timers.clear(Timer.RESPONSE)
        attempt.drop(exchange.out)
        self.held.rewind()
        exchange.go(Step.RETRY)
        self._start(attempt.lease, now, fresh=True)

    def end(self, outcome: Outcome, now: float) -> None:
        """Settle with the backend; nothing is sent to it any more."""
        attempt, self.attempt = self.attempt, None
        if attempt is not None:
            attempt.end(outcome, now, self._exchange.out)
