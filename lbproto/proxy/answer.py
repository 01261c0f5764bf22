"""Passing a backend's answer to the client.

An `Answer` takes what a backend sends, reads it through the attempt's codec and
writes it through the client's: interim responses as they come, in a bounded
number; the final head with its fields rewritten; content as it arrives. What
breaks before the final head is still the exchange's to answer; what breaks after
it can only be cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lbproto.framing.messages import (
    HTTP10,
    STREAMED,
    Body,
    End,
    HttpEvent,
    Reset,
    ResponseHead,
)
from lbproto.machine.effects import Send
from lbproto.machine.errors import ErrorCode
from lbproto.machine.timers import RESPONSE, RESPONSE_BODY
from lbproto.machine.values import fleeting
from lbproto.proxy.stages import ENDED, FINAL_HEAD, STREAMING, Step, passes_on
from lbproto.proxy.tunnel import Tunnel, may_switch
from lbproto.rewriting.outgoing import downstream_response
from lbproto.rewriting.trailers import passed_on

if TYPE_CHECKING:
    from lbproto.proxy.attempt import Attempt
    from lbproto.proxy.exchange import Exchange

__all__ = ["Answer"]

NOTHING: Final[frozenset[bytes]] = frozenset()


@fleeting
class Answer:
    """One response on its way back."""

    __slots__ = (
        "_exchange",
        "_interims",
        "_nominated",
        "_straight",
        "continued",
        "unframed",
    )

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._interims = 0
        self._nominated = NOTHING
        self._straight = False  # chunks may pass as they come
        self.continued = False
        """A 100 (Continue) went to the client."""
        self.unframed = False
        """Only the end of the connection tells the client where it ends."""

    def on_data(self, attempt: Attempt, data: bytes, now: float) -> None:
        """Take bytes of the response, or of the tunnel."""
        exchange = self._exchange
        tunnel = exchange.tunnel
        if tunnel is not None:
            tunnel.from_backend(data, now, exchange.out)
            return
        if self._straight and (size := attempt.straight(data)):
            exchange.tally.sent += size
            exchange.out.append(Send(exchange.client.conn, data))
            self.expect_more(now)
            return
        events = attempt.receive(data)
        if exchange.conduct is not None:
            exchange.conduct.respond(events, attempt, now)
            return
        self._pass_on(events, attempt, now)
        self.expect_more(now)

    def on_eof(self, attempt: Attempt, now: float) -> None:
        """The backend sends no more."""
        exchange = self._exchange
        if exchange.tunnel is None:
            events = attempt.receive_eof()
            if exchange.conduct is not None:
                exchange.conduct.respond(events, attempt, now)
            else:
                self._pass_on(events, attempt, now)
        elif exchange.tunnel.eof(attempt.conn, exchange.out):
            exchange.over(ENDED, None, now)

    def on_lost(self, attempt: Attempt, detail: str, now: float) -> None:
        """The connection was reset: even close-delimited content is cut."""
        attempt.lost()
        if attempt.answered:
            self._exchange.fail(ErrorCode.RESPONSE_INCOMPLETE, detail, now)
        else:
            self._exchange.delivery.on_closed(detail, now)

    def expect_more(self, now: float) -> None:
        """Arm the backend's deadline for more content, if it is its turn."""
        exchange = self._exchange
        if exchange.stage != STREAMING or exchange.at_rest:
            return
        if exchange.client.blocked:
            # The client is slow; the backend is not to blame for silence.
            exchange.timers.clear(RESPONSE_BODY)
        else:
            exchange.timers.set(RESPONSE_BODY, now + exchange.terms.response_body)

    def _pass_on(self, events: list[HttpEvent], attempt: Attempt, now: float) -> None:
        exchange = self._exchange
        for event in events:
            if isinstance(event, (Body, End)):
                self.pass_on(event, now)
            elif isinstance(event, ResponseHead):
                self.head(event, attempt, now)
            else:
                assert isinstance(event, Reset), "a backend sends no requests"
                self.reset(event, attempt, now)
            if not passes_on(exchange.stage):
                return
            if exchange.delivery.attempt is not attempt:
                return  # another backend is asked; what this one says is void
        exchange.client.flush()

    def pass_on(self, piece: Body | End, now: float) -> None:
        """Give the client content, or the end."""
        exchange = self._exchange
        if isinstance(piece, End) and len(piece.trailers):
            piece = self._ending(piece)
        exchange.client.codec.send(piece)
        if isinstance(piece, Body):
            exchange.tally.sent += len(piece.data)
        else:
            exchange.over(ENDED, None, now)

    def _ending(self, end: End) -> End:
        service = self._exchange.service
        return passed_on(end, self._nominated, service, service.response_headers)

    def reset(self, event: Reset, attempt: Attempt, now: float) -> None:
        """The response is broken off."""
        if attempt.answered:
            self._exchange.fail(event.error, event.detail, now)
        else:
            self._exchange.delivery.on_closed(event.detail, now)

    @property
    def is_first(self) -> bool:
        """No head went to the client yet."""
        return self._interims == 0

    def head(
        self,
        head: ResponseHead,
        attempt: Attempt,
        now: float,
        out: ResponseHead | None = None,
    ) -> None:
        """Take a head; the client gets `out` in place of it, if that is given."""
        exchange = self._exchange
        if head.status >= 200:
            self._nominated = head.nominated
            attempt.early = self._is_early(head, attempt)
            self.responded(head, attempt, now)
            if out is not None:
                self._final(out, now)
            elif self._interims or not exchange.delivery.on_status(head.status, now):
                self._final(self.composed(head, now), now)
        elif head.status == 101:
            self.responded(head, attempt, now)
            self._switch(head, out, attempt, now)
        else:
            self._interim(head, out, now)

    def _is_early(self, head: ResponseHead, attempt: Attempt) -> bool:
        """Tell whether a backend may not have read the content (RFC 9112 9.3).

        A refusal in place of a 100 (Continue) says that it did not want it, and the
        client has perhaps not waited for that (RFC 9110 10.1.1).
        """
        exchange = self._exchange
        if attempt.blocked or not exchange.request_complete:
            return True
        request = exchange.delivery.request
        expects = request is not None and request.expects_continue
        return expects and not self.continued and head.status >= 300

    def responded(self, head: ResponseHead, attempt: Attempt, now: float) -> None:
        """Tell the balancer that a backend has answered."""
        balancer = self._exchange.site.balancer
        balancer.responded(attempt.lease, head.status, now)

    def _interim(
        self, head: ResponseHead, out: ResponseHead | None, now: float
    ) -> None:
        exchange = self._exchange
        limit = exchange.terms.interim_responses
        self._interims += 1
        if self._interims > limit:
            detail = f"more than {limit} interim responses"
            exchange.fail(ErrorCode.RESPONSE_INVALID, detail, now)
            return
        self.continued = self.continued or head.status == 100
        exchange.client.codec.send(out or self.composed(head, now))
        exchange.delivery.expect_response(now)
        exchange.pace(now)

    def _final(self, out: ResponseHead, now: float) -> None:
        exchange = self._exchange
        exchange.timers.clear(RESPONSE)
        exchange.go(FINAL_HEAD)
        exchange.tally.status = out.status
        exchange.delivery.held.forget_sent()
        if not exchange.request_complete:
            # Whether the rest of the request will be read is open, so this
            # connection cannot carry another one (RFC 9112 9.3).
            exchange.client.codec.go_away()
        request = exchange.head
        self.unframed = (
            request is not None
            and request.version is HTTP10
            and out.body.kind is STREAMED
        )
        codec = exchange.client.codec
        codec.send(out)
        self._straight = codec.in_chunks and exchange.conduct is None

    def composed(self, head: ResponseHead, now: float) -> ResponseHead:
        """Make the head that the client gets."""
        exchange = self._exchange
        request, client = exchange.head, exchange.remote
        assert request is not None, "a backend answers what was asked"
        date = exchange.date(now) if head.status >= 200 else b""
        out = downstream_response(head, request, client, exchange.terms.heads, date)
        if head.status >= 200 or head.status == 101:
            cookie = exchange.delivery.cookie
            if cookie is not None:
                out.headers.append_header(b"Set-Cookie", cookie)
        return out

    def _switch(
        self,
        head: ResponseHead,
        out: ResponseHead | None,
        attempt: Attempt,
        now: float,
    ) -> None:
        exchange, client = self._exchange, self._exchange.client
        request = exchange.delivery.request
        offered = request.upgrade if request is not None else b""
        if not may_switch(offered, head.upgrade):
            detail = f"101 for {head.upgrade[:64]!r}, offered {offered[:64]!r}"
            exchange.fail(ErrorCode.UPGRADE_FAILED, detail, now)
            return
        exchange.go(Step.SWITCHED)
        exchange.timers.clear_all()
        exchange.tally.status = 101
        client.codec.send(out or self.composed(head, now))
        client.flush()
        conn, patience = client.conn, exchange.terms.tunnel
        tunnel = Tunnel(conn, attempt.conn, exchange.timers, patience)
        tunnel.stranded = not attempt.connected
        exchange.tunnel = tunnel
        tunnel.begin(client.codec.switch(), attempt.switch(), now, exchange.out)
        if client.ended:
            exchange.on_client_eof(now)
