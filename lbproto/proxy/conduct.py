"""How an application conducts an exchange: its phases, called at their time.

What an exchange does at once without an application becomes flows with one (`flows`).
A phase that returns an awaitable ends no flow: the flow stops there, `Await` goes out,
and `Settled` takes it up again. No phase begins before another is over, and what
happens meanwhile waits (`recess`).

A failure puts an end to the flow in which it is met, and to those that wait, and begins
one of its own. It is met in two ways: the exchange calls `fail`, or a phase raises.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from lbproto.framing.messages import (
    Body,
    End,
    HttpEvent,
    RequestHead,
    Reset,
    ResponseHead,
)
from lbproto.machine.effects import Level
from lbproto.machine.errors import LEVELS, Blame, ErrorCode
from lbproto.phases.errors import FailToProxy, HttpError, ProxyError
from lbproto.phases.header import RequestHeader, ResponseHeader
from lbproto.phases.peer import HttpPeer
from lbproto.phases.session import Session
from lbproto.proxy.caller import Caller
from lbproto.proxy.content_filter import ContentFilter, sized
from lbproto.proxy.directions import direct
from lbproto.proxy.flows import Flow, PhaseError, edited
from lbproto.proxy.stages import passes_on
from lbproto.selection.balancer import Outcome

if TYPE_CHECKING:
    from lbproto.proxy.attempt import Attempt
    from lbproto.proxy.exchange import Exchange
    from lbproto.proxy.recess import Recess

__all__ = ["Conduct"]

UP: Final = ("request_body_filter",)
DOWN: Final = ("upstream_response_body_filter", "response_body_filter")


class Conduct:
    """One exchange in the hands of an application."""

    __slots__ = (
        "_call",
        "_caller",
        "_ctx",
        "_down",
        "_ended",
        "_error",
        "_exchange",
        "_failing",
        "_flows",
        "_last",
        "_recess",
        "_reported",
        "_request",
        "_sent_to",
        "_up",
        "_upstream",
        "session",
    )

    def __init__(self, exchange: Exchange, recess: Recess) -> None:
        self._exchange = exchange
        self._recess = recess
        self._caller = caller = Caller(exchange, recess, self._met)
        self._call = caller.call
        self._flows = caller.flows
        self.session: Session | None = None
        """None until the request has been understood."""
        self._ctx: object = None
        self._failing = False
        self._ended = False
        self._error: ProxyError | None = None  # what the client was told of
        self._last: ProxyError | None = None  # why there is another try
        self._reported: ProxyError | None = None
        self._request: RequestHead | None = None
        self._upstream: str | None = None
        self._sent_to: Attempt | None = None
        self._up = ContentFilter(caller, UP)
        self._down = ContentFilter(caller, DOWN)

    # -- what the exchange tells ------------------------------------------------

    def begin(self, head: RequestHead, now: float) -> None:
        """A request has come."""
        exchange = self._exchange
        self.session = Session(head, exchange.remote, exchange.site.service.name)
        self._flows.add(self._begin(), now)

    def forward(self, request: RequestHead, upstream: str | None, now: float) -> None:
        """It is to go to a backend, if no other is chosen to one of `upstream`."""
        self._request, self._upstream = request, upstream
        self._flows.add(self._choose(), now)

    def transmit(self, attempt: Attempt, now: float) -> None:
        """There is a connection to a backend."""
        self._flows.add(self._transmit(attempt), now)

    def more(self, now: float) -> None:
        """More of the request's content has come."""
        self._flows.add(self._more(), now)

    def respond(self, events: list[HttpEvent], attempt: Attempt, now: float) -> None:
        """The backend has said something."""
        self._flows.add(self._respond(events, attempt), now)

    def unreachable(self, error: ProxyError, outcome: Outcome, now: float) -> None:
        """No connection could be made."""
        self._failing = True
        self._flows.replace(self._unreachable(error, outcome), now)

    def fail(self, error: ProxyError, now: float) -> None:
        """The exchange cannot go on as it was meant to."""
        if self._failing:
            self._give_up(error, now)
            return
        self._failing = True
        if error.code is ErrorCode.NO_BACKEND and self._last is not None:
            error = self._last  # it tells more than that nobody else is there
        self._flows.replace(self._fail(error), now)

    def replied(self, head: ResponseHead) -> None:
        """A response of our own goes to the client."""
        if self.session is not None:
            self.session.response_written = ResponseHeader(head)

    def finish(self, code: ErrorCode | None, now: float) -> None:
        """The exchange is over."""
        session = self.session
        if session is None:
            return
        error = self._error
        if error is None and code is not None:
            error = ProxyError(code)
        self._count(session)
        self._ended = True
        self._caller.detach()
        self._flows.replace(self._log(error), now)

    # -- the request ------------------------------------------------------------

    @property
    def _talk(self) -> Session:
        assert self.session is not None, "there is one since the request began"
        return self.session

    @property
    def _stopped(self) -> bool:
        return self._ended or self._failing

    def _begin(self) -> Flow:
        session, recess = self._talk, self._recess
        self._ctx = yield from self._call("new_ctx")
        kept, recess.kept = recess.kept, None
        if kept is not None:
            yield from self._call("on_connection_reuse", session, self._ctx, kept)
        yield from self._call("early_request_filter", session, self._ctx)
        answered = yield from self._call("request_filter", session, self._ctx)
        if not (answered or session.answered):
            go_on = yield from self._call("proxy_upstream_filter", session, self._ctx)
            if go_on is not False and not session.answered:
                head = edited("request_filter", session.req_header)
                direct(self._exchange, head, self._flows.now)
                return
            if not session.answered:
                error = HttpError(502, "proxy_upstream_filter let nobody answer")
                raise error
        elif not session.answered:
            missing = ValueError("True without a response")
            raise PhaseError("request_filter", missing)
        self._reply("request_filter", None)

    def _choose(self) -> Flow:
        session, delivery = self._talk, self._exchange.delivery
        request = self._request
        assert request is not None, "it is forwarded"
        peer = yield from self._call("upstream_peer", session, self._ctx)
        now = self._flows.now
        session.tries += 1
        if isinstance(peer, HttpPeer):
            session.peer = peer
            delivery.begin_at(peer, request, now)
        elif peer is not None:
            wrong = TypeError(f"{type(peer).__name__} is no HttpPeer")
            raise PhaseError("upstream_peer", wrong)
        elif self._upstream is None:
            self.fail(ProxyError(ErrorCode.NO_ROUTE, "nobody to send it to"), now)
        else:
            session.peer = None
            delivery.begin(request, self._upstream, now)

    def _transmit(self, attempt: Attempt) -> Flow:
        session, request = self._talk, self._request
        assert request is not None, "it is forwarded"
        reused, tls = attempt.reused, attempt.tls
        yield from self._call(
            "connected_to_upstream", session, reused, session.peer, tls, self._ctx
        )
        header = RequestHeader(request)
        yield from self._call("upstream_request_filter", session, header, self._ctx)
        head = edited("upstream_request_filter", header)
        self._up.expect(head.body)
        self._sent_to = attempt
        yield from self._send(attempt, head)

    def _more(self) -> Flow:
        attempt = self._exchange.delivery.attempt
        # Without a head that was sent, it goes out with that.
        if attempt is not None and self._sent_to is attempt:
            yield from self._send(attempt, None)

    def _send(self, attempt: Attempt, head: RequestHead | None) -> Flow:
        exchange = self._exchange
        unsent = exchange.delivery.held.take_unsent()
        pieces = yield from self._up.pieces(unsent, self._talk, self._ctx)
        attempt.transmit(head, pieces, exchange.out)
        exchange.delivery.sent(self._flows.now)

    # -- the response -----------------------------------------------------------

    def _respond(self, events: list[HttpEvent], attempt: Attempt) -> Flow:
        exchange, pieces = self._exchange, deque(events)
        answer, session = exchange.answer, self._talk
        while pieces and not self._stopped and exchange.delivery.attempt is attempt:
            event = pieces.popleft()
            if isinstance(event, ResponseHead):
                yield from self._head(event, attempt)
            elif isinstance(event, Reset):
                answer.reset(event, attempt, self._flows.now)
            else:
                assert isinstance(event, Body | End), "a backend sends no requests"
                batch: list[Body | End] = [event]
                while pieces and isinstance(pieces[0], Body | End):
                    batch.append(pieces[0])
                    pieces.popleft()
                out = yield from self._down.pieces(batch, session, self._ctx)
                for piece in out:
                    answer.pass_on(piece, self._flows.now)
        if passes_on(exchange.stage):
            exchange.client.flush()
            answer.expect_more(self._flows.now)

    def _head(self, head: ResponseHead, attempt: Attempt) -> Flow:
        exchange, session = self._exchange, self._talk
        answer = exchange.answer
        header = ResponseHeader(head)
        yield from self._call("upstream_response_filter", session, header, self._ctx)
        head = edited("upstream_response_filter", header)
        final = head.status >= 200
        if (
            final
            and answer.is_first
            and exchange.delivery.gives_up(head.status, self._flows.now)
        ):
            answer.responded(head, attempt, self._flows.now)
            yield from self._again(HttpError(head.status), Outcome.FAILED)
            return
        header = ResponseHeader(answer.composed(head, self._flows.now))
        yield from self._call("response_filter", session, header, self._ctx)
        out = edited("response_filter", header)
        if final:
            out = sized(out, session.req_header.asked)
            self._down.expect(out.body)
            session.response_written = header
            if not session.keepalive:
                exchange.client.codec.go_away()
        answer.head(head, attempt, self._flows.now, out)

    # -- failures ---------------------------------------------------------------

    def _unreachable(self, error: ProxyError, outcome: Outcome) -> Flow:
        session, delivery = self._talk, self._exchange.delivery
        told = yield from self._call(
            "fail_to_connect", session, session.peer, self._ctx, error
        )
        error = told if isinstance(told, ProxyError) else error
        if error.retry and delivery.may_go_again:
            yield from self._again(error, outcome)
        else:
            delivery.end(outcome, self._flows.now)
            yield from self._fail_to_proxy(error)

    def _fail(self, error: ProxyError) -> Flow:
        session, exchange = self._talk, self._exchange
        attempt = exchange.delivery.attempt
        if attempt is not None and passes_on(exchange.stage):
            told = yield from self._call(
                "error_while_proxy",
                session.peer,
                session,
                error,
                self._ctx,
                attempt.reused,
            )
            error = told if isinstance(told, ProxyError) else error
            if error.retry and exchange.delivery.may_go_again:
                yield from self._again(error, _outcome(error))
                return
        yield from self._fail_to_proxy(error)

    def _again(self, error: ProxyError, outcome: Outcome) -> Flow:
        """Choose anew."""
        self._failing, self._last = False, error
        delivery = self._exchange.delivery
        delivery.again(outcome, error.code, error.detail, self._flows.now)
        yield from self._choose()

    def _fail_to_proxy(self, error: ProxyError) -> Flow:
        self._count(self._talk)
        told = yield from self._call("fail_to_proxy", self._talk, error, self._ctx)
        yield from self._report(error)
        match told:
            case FailToProxy():
                error.status = told.error_code
                if told.can_reuse_downstream is False:
                    self._exchange.client.codec.go_away()
            case int() if not isinstance(told, bool):
                error.status = told
        if self._talk.answered and error.status:
            self._error = error
            self._reply("fail_to_proxy", error.code)
        else:
            self._give_up(error, self._flows.now)

    def _report(self, error: ProxyError) -> Flow:
        """Write the line about a failure, unless the application wants none."""
        session, ctx = self._talk, self._ctx
        if error is self._reported:
            return  # with its traceback, and one line is enough
        if (yield from self._call("suppress_error_log", session, ctx, error)):
            return
        summary = yield from self._call("request_summary", session, ctx)
        level = LEVELS[error.blame]
        if error.code is ErrorCode.APPLICATION and error.status < 500:
            level = Level.INFO
        about = self._about("error", error.code.name.lower())
        about |= {"detail": error.detail, "status": error.status, "summary": summary}
        if self._exchange.tally.backend:
            about["backend"] = self._exchange.tally.backend
        self._exchange.client.log(level, "exchange failed", about)

    def _give_up(self, error: ProxyError, now: float) -> None:
        self._error = error
        self._exchange.give_up(error.code, error.status, now)

    def _met(self, met: ProxyError | PhaseError) -> None:
        """A phase has raised."""
        now = self._flows.now
        if isinstance(met, PhaseError):
            about = self._about("phase", met.phase)
            about |= {"summary": self._talk.request_summary, "exception": met.error}
            self._exchange.client.log(Level.ERROR, "application failed", about)
            met = self._reported = ProxyError(ErrorCode.INTERNAL, str(met))
        if not self._ended:
            self.fail(met, now)

    # -- small things -----------------------------------------------------------

    def _about(self, what: str, text: str) -> dict[str, object]:
        """Begin what a log line says; who asks may not be who has connected."""
        return {"client": self._exchange.remote.address, what: text}

    def _reply(self, phase: str, code: ErrorCode | None) -> None:
        """Send the response that the application has given."""
        exchange, session = self._exchange, self._talk
        date = exchange.date(self._flows.now)
        try:
            head, content = session.take_reply(exchange.stream, date)
        except ValueError as error:
            raise PhaseError(phase, error) from error
        if not session.keepalive:
            exchange.client.codec.go_away()
        exchange.reply(head, content, code, self._flows.now)

    def _count(self, session: Session) -> None:
        exchange = self._exchange
        session.body_bytes_read = exchange.delivery.held.received
        session.body_bytes_sent = exchange.tally.sent

    def _log(self, error: ProxyError | None) -> Flow:
        session, ctx = self._talk, self._ctx
        yield from self._call("logging", session, error, ctx)
        kept = yield from self._call("persist_connection_context", session, ctx)
        self._recess.kept = kept


def _outcome(error: ProxyError) -> Outcome:
    return Outcome.FAILED if error.blame is Blame.BACKEND else Outcome.ABANDONED
