"""Getting a request to a backend.

A `Delivery` holds the rewritten request and what has come of its content. It
leases a backend, takes an idle connection or dials, sends, and when that fails
before the client has a byte of a response it asks the rules of `retry` whether
another connection gets the request, of this backend or another one. What it cannot
deliver it reports to the exchange, which then answers by itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from lbproto.config import Retry
from lbproto.framing.messages import Body, End, RequestHead
from lbproto.machine.effects import Level
from lbproto.machine.errors import ErrorCode
from lbproto.machine.events import ConnectError, ConnectFailed
from lbproto.machine.timers import CONNECT, RESPONSE, Timer
from lbproto.machine.values import fleeting
from lbproto.phases.errors import ProxyError
from lbproto.proxy.attempt import Attempt
from lbproto.proxy.held import HeldContent
from lbproto.proxy.retry import CONNECT_CODES, Failure, Remedy, pause, remedy
from lbproto.proxy.stages import AWAITING, REUSED, Stage, Step
from lbproto.proxy.terms import Terms
from lbproto.selection.balancer import Outcome

if TYPE_CHECKING:
    from lbproto.machine.events import TlsInfo
    from lbproto.phases.peer import HttpPeer
    from lbproto.proxy.destination import Destination
    from lbproto.proxy.exchange import Exchange
    from lbproto.selection.backend import BackendId
    from lbproto.selection.balancer import Lease
    from lbproto.selection.waiting import Ticket

__all__ = ["Delivery"]

NO_RULES: Final = Retry()
"""For a server that no upstream has."""

LOOK_AGAIN: Final = 0.01
"""Seconds to the next look for room: who leaves it does not know who waits."""


@fleeting
class Delivery:
    """One request on its way up."""

    __slots__ = (
        "_destination",
        "_exchange",
        "_failed",
        "_key",
        "_replayed",
        "_ticket",
        "_wanted",
        "attempt",
        "held",
        "request",
    )

    def __init__(self, exchange: Exchange) -> None:
        self._destination: Destination | None = None
        self._exchange = exchange
        self._failed: tuple[BackendId, ...] = ()
        self._key = b""
        self._replayed = False
        self._ticket: Ticket | None = None
        self._wanted: BackendId | None = None
        self.held = HeldContent()
        self.request: RequestHead | None = None
        """As it goes out; set by `begin`."""
        self.attempt: Attempt | None = None
        """The backend connection in use."""

    @property
    def _rules(self) -> Retry:
        destination = self._destination
        return NO_RULES if destination is None else destination.retry

    @property
    def using(self) -> Attempt:
        """The backend connection in use, where there is one for certain."""
        assert self.attempt is not None, "an exchange rests only with an attempt"
        return self.attempt

    @property
    def wants_more(self) -> bool:
        """More content can be used now."""
        attempt = self.attempt
        blocked = attempt is not None and attempt.blocked
        return not (blocked or self.held.overfull)

    def begin(self, request: RequestHead, upstream: str, now: float) -> None:
        """Pick a backend for a request and start towards it."""
        self.request = request
        exchange = self._exchange
        self._destination = destination = exchange.site.destinations.get(upstream)
        if destination is None:
            exchange.fail(ErrorCode.NO_BACKEND, f"no upstream {upstream}", now)
            return
        self._key = exchange.key(upstream)
        if destination.affinity is not None:
            members = exchange.site.balancer.members(upstream)
            self._wanted = destination.affinity.take(request.headers, members)
        if not self._failed:
            destination.asked(now)
        self.lease_or_wait(now)

    def lease_or_wait(self, now: float) -> None:
        """Take a backend, or a place in the queue for those that are full."""
        exchange, balancer = self._exchange, self._exchange.site.balancer
        assert self._destination is not None, "it is known where the request goes"
        upstream, ticket = self._destination.name, self._ticket
        lease = balancer.lease(
            upstream, self._failed, now, self._key, ticket, self._wanted, idle=True
        )
        if lease is not None:
            self._ticket = None
            self._start(lease, now, fresh=False)
            return
        if ticket is None:
            ticket = self._ticket = balancer.wait(upstream, self._failed, now)
        if ticket is not None and now < ticket.until:
            exchange.timers.set(Timer.QUEUE, min(ticket.until, now + LOOK_AGAIN))
            return
        why = "has no backend to use" if ticket is None else "had no room in time"
        exchange.fail(ErrorCode.NO_BACKEND, f"upstream {upstream} {why}", now)

    def begin_at(self, peer: HttpPeer, request: RequestHead, now: float) -> None:
        """Start towards a server that no upstream has."""
        self.request = request
        exchange = self._exchange
        service, heads = exchange.service, exchange.terms.heads
        timeouts = peer.timeouts(service.timeouts)
        exchange.follow(Terms(replace(service, timeouts=timeouts), heads))
        lease = exchange.site.balancer.lease_at(peer.target, peer.proxy_protocol)
        self._start(lease, now, fresh=False)

    @property
    def cookie(self) -> bytes | None:
        """What makes the client come back to this backend; None if it does already."""
        destination = self._destination
        if destination is None:
            return None
        peer = self._exchange.client.peer
        return destination.cookie(self.using.lease, self._wanted, peer)

    def content(self, piece: Body | End, now: float) -> None:
        """Pass content on, or hold it until there is a connection."""
        self.held.add(piece)
        if self._exchange.conduct is not None:
            self._exchange.conduct.more(now)
            return
        attempt = self.attempt
        if attempt is None or not attempt.connected:
            return
        attempt.transmit(None, self.held.take_unsent(), self._exchange.out)
        self.expect_response(now)

    def _start(self, lease: Lease, now: float, *, fresh: bool) -> None:
        exchange = self._exchange
        self.attempt = Attempt(exchange.site, lease, exchange.client.peer)
        self._go(now, fresh=fresh)

    def _go(self, now: float, *, fresh: bool) -> None:
        exchange, attempt = self._exchange, self.using
        attempt.begin(exchange.out, fresh=fresh)
        exchange.tried(attempt)
        if attempt.reused:
            exchange.go(REUSED)
            self._transmit(attempt, now)
        else:
            exchange.go(Step.LEASED)
            exchange.timers.set(CONNECT, now + self._patience(exchange.terms.connect))

    def _patience(self, seconds: float) -> float:
        """Return how long one try may take for something."""
        destination = self._destination
        return seconds if destination is None else destination.patience(seconds)

    def _transmit(self, attempt: Attempt, now: float) -> None:
        if self._exchange.conduct is not None:
            self._exchange.conduct.transmit(attempt, now)
            return
        attempt.transmit(self.request, self.held.take_unsent(), self._exchange.out)
        self.sent(now)

    def sent(self, now: float) -> None:
        """The request, or more of it, went out."""
        self.expect_response(now)
        self._exchange.pace(now)  # there is room again for what the client sends

    def expect_response(self, now: float) -> None:
        """Arm the backend's deadline for its response head, if it is its turn."""
        exchange = self._exchange
        if exchange.stage != AWAITING:
            return
        if self.held.complete or self.using.blocked or exchange.awaits_continue:
            patience = self._patience(exchange.terms.response_header)
            exchange.timers.set(RESPONSE, now + patience)
        else:
            exchange.timers.clear(RESPONSE)

    # -- what becomes of the connection --------------------------------------

    def on_connected(self, tls: TlsInfo | None, now: float) -> None:
        """The dial succeeded."""
        attempt = self.using
        attempt.tls = tls
        self._exchange.timers.clear(CONNECT)
        self._exchange.go(Step.CONNECTED)
        attempt.connected = True
        self._transmit(attempt, now)

    def on_connect_failed(self, event: ConnectFailed, now: float) -> None:
        """The dial failed, or the idle connection was dead already."""
        attempt = self.using
        attempt.lost()
        if event.why is ConnectError.STALE:
            self._again_or_fail(Failure.STALE, event.detail, now)
        else:
            self._unreachable(CONNECT_CODES[event.why], event.detail, now)

    def on_connect_timeout(self, now: float) -> None:
        """The dial takes too long."""
        detail = "no connection in time"
        self._unreachable(ErrorCode.CONNECT_TIMEOUT, detail, now)

    def on_blocked(self, blocked: bool, now: float) -> None:
        """The backend does not keep up with the request, or does again."""
        self.using.blocked = blocked
        self.expect_response(now)

    def on_closed(self, detail: str, now: float) -> None:
        """The connection ended before the first byte of a response."""
        failure = Failure.REUSED_CLOSED if self.using.reused else Failure.FRESH_CLOSED
        self._again_or_fail(failure, detail, now)

    def on_response_timeout(self, now: float) -> None:
        """No response head has come in time."""
        code, detail = ErrorCode.RESPONSE_TIMEOUT, "no response head in time"
        if self.using.answered:
            self._exchange.fail(code, detail, now)
        elif self._exchange.conduct is not None:
            self._let_decide(Failure.SILENT, code, detail, now)
        elif not self._try_other(Failure.SILENT, Outcome.FAILED, code, detail, now):
            self._exchange.fail(code, detail, now)

    def on_status(self, status: int, now: float) -> bool:
        """A final head has come; tell whether another backend is asked instead."""
        if self._destination is None or not self._destination.may_better(status):
            return False
        detail = f"status {status}"
        return self._try_other(Failure.STATUS, Outcome.FAILED, None, detail, now)

    def on_pause_over(self, now: float) -> None:
        """It is time for the next try."""
        self._exchange.site.balancer.resume(self.using.lease, now)
        self._go(now, fresh=False)

    def _unreachable(self, code: ErrorCode, detail: str, now: float) -> None:
        """Try another backend, or settle with this one and give up."""
        ours = code is ErrorCode.CONNECT_LOCAL
        outcome = Outcome.ABANDONED if ours else Outcome.CONNECT_FAILED
        self._exchange.timers.clear(CONNECT)
        if self._exchange.conduct is not None:
            error = ProxyError(code, detail)
            error.retry = not ours and self._rules_say(Failure.UNREACHABLE, now)
            self._exchange.conduct.unreachable(error, outcome, now)
        elif ours or not self._try_other(
            Failure.UNREACHABLE, outcome, code, detail, now
        ):
            self.end(outcome, now)
            self._exchange.fail(code, detail, now)

    def _remedy(self, failure: Failure) -> Remedy | None:
        assert self.request is not None, "an attempt is made for a request"
        method, held = self.request.method, self.held
        return remedy(
            failure, self._rules, method, held=held.intact, complete=held.complete
        )

    def _again_or_fail(self, failure: Failure, detail: str, now: float) -> None:
        """Ask the same backend again, or another one, or give up."""
        code = ErrorCode.BACKEND_CLOSED
        if self._exchange.conduct is not None and failure is not Failure.STALE:
            self._let_decide(failure, code, detail, now)
        elif self._remedy(failure) is not Remedy.SAME:
            if not self._try_other(failure, Outcome.FAILED, code, detail, now):
                self._exchange.fail(code, detail, now)
        elif self._replayed or not self._affordable(failure, now):
            self._exchange.fail(code, detail, now)
        else:
            exchange, attempt = self._exchange, self.using
            self._replayed = True
            exchange.timers.clear(RESPONSE)
            attempt.drop(exchange.out)
            self.held.rewind()
            exchange.go(Step.RETRY)
            self._start(attempt.lease, now, fresh=True)

    def _affordable(self, failure: Failure, now: float) -> bool:
        # A backend that has seen nothing has no work from a repetition.
        destination = self._destination
        if destination is None or failure is Failure.STALE:
            return True
        return destination.may_repeat(now)

    # -- with an application, which has the last word -------------------------

    @property
    def may_go_again(self) -> bool:
        """Another try is possible at all."""
        site, stage = self._exchange.site, self._exchange.stage
        begun = stage not in (Stage.CONNECTING, Stage.AWAITING)
        return not begun and self.held.intact and len(self._failed) < site.max_retries

    def gives_up(self, status: int, now: float) -> bool:
        """Tell whether a response is given up for another try."""
        return status in self._rules.statuses and self._rules_say(Failure.STATUS, now)

    def again(
        self, outcome: Outcome, code: ErrorCode | None, detail: str, now: float
    ) -> None:
        """Be without a backend again; another one will be chosen, or was."""
        exchange = self._exchange
        exchange.timers.clear(CONNECT)
        exchange.timers.clear(RESPONSE)
        self._failed += (self.using.lease.backend,)
        self.end(outcome, now)
        exchange.log(Level.WARNING, "trying another backend", code, detail)
        self.held.rewind()
        exchange.go(Step.RETRY)

    def _rules_say(self, failure: Failure, now: float) -> bool:
        """Tell whether the rules are for another try, at whatever backend."""
        if self._remedy(failure) is None or not self.may_go_again:
            return False
        if self._destination is None:
            # A server that an application has named: as with Pingora, what is sure is
            # only that an idle connection was closed just when the request came.
            return failure is Failure.REUSED_CLOSED
        return self._affordable(failure, now)

    def _let_decide(
        self, failure: Failure, code: ErrorCode, detail: str, now: float
    ) -> None:
        error = ProxyError(code, detail)
        error.retry = self._rules_say(failure, now)
        assert self._exchange.conduct is not None, "who else would decide"
        self._exchange.conduct.fail(error, now)

    def _try_other(
        self,
        failure: Failure,
        outcome: Outcome,
        code: ErrorCode | None,
        detail: str,
        now: float,
    ) -> bool:
        """Go on to another backend, if the rules, the budget and the others allow."""
        exchange, site = self._exchange, self._exchange.site
        balancer = site.balancer
        if (
            self._remedy(failure) is not Remedy.OTHER
            or len(self._failed) >= site.max_retries
        ):
            return False
        assert self._destination is not None, "asked only about a try"
        tried = [*self._failed, self.using.lease.backend]
        lease = balancer.lease(self._destination.name, tried, now, self._key)
        if lease is None:
            return False
        if not self._destination.may_repeat(now):
            news = balancer.release(lease, Outcome.ABANDONED, now)
            exchange.out.extend(news.log)
            return False
        self.again(outcome, code, detail, now)
        self.attempt = Attempt(site, lease, exchange.client.peer)
        seconds = pause(self._rules.backoff, len(self._failed), site.env.random())
        if seconds > 0:
            exchange.timers.set(Timer.BACKOFF, now + seconds)
        else:
            self._go(now, fresh=False)
        return True

    def end(self, outcome: Outcome, now: float) -> None:
        """Settle with the backend; nothing is sent to it any more."""
        attempt, self.attempt = self.attempt, None
        if attempt is not None:
            attempt.end(outcome, now, self._exchange.out)
        elif self._ticket is not None:
            news = self._exchange.site.balancer.give_up(self._ticket)
            self._exchange.out.extend(news.log)
