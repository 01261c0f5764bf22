"""One request and its response.

An `Exchange` is born with the first event of a request and ends with one `Access`.
It picks a backend, sends the rewritten request, and passes the response on while
it comes; or it answers by itself. What may follow what stands in `stages`; when a
request may be repeated, in `retry`.

The exchange pushes effects into the list of the client connection that owns it
(`out`), writes to the client through its codec, and says when it is over
(`exchange_over`). It keeps its own deadlines.

Rules that are easy to break here:

* once a response head went to the client, no other response can: the connection
  is cut instead, so that what is short never looks complete (RFC 9112 8);
* a backend connection returns to the pool only after a complete request and a
  complete response (RFC 9112 9.3);
* nothing passes to a tunnel before a 101 for a protocol that the client offered
  (RFC 9110 7.8).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from lbproto.framing.messages import (
    NO_BODY,
    STREAMED,
    Body,
    End,
    HttpEvent,
    RequestHead,
    Reset,
    ResponseHead,
)
from lbproto.machine.effects import Access, Effect, Level
from lbproto.machine.errors import LEVELS, VERDICTS, Blame, ErrorCode
from lbproto.machine.timers import REQUEST_BODY
from lbproto.machine.values import fleeting
from lbproto.phases.errors import ProxyError
from lbproto.proxy.access import Tally
from lbproto.proxy.answer import Answer
from lbproto.proxy.conduct import Conduct
from lbproto.proxy.delivery import Delivery
from lbproto.proxy.directions import direct, refused
from lbproto.proxy.replies import error_reply, options_reply
from lbproto.proxy.stages import (
    BROKEN,
    DONE,
    ENDED,
    HEAD,
    IDLE,
    STREAMING,
    TUNNEL,
    Step,
    advance,
)
from lbproto.proxy.terms import ANY_SIZE, Terms
from lbproto.proxy.tunnel import Tunnel
from lbproto.proxy.upload import UploadClock
from lbproto.rewriting.outgoing import answers_itself, upstream_request
from lbproto.rewriting.trailers import passed_on
from lbproto.rewriting.trust import client_of
from lbproto.selection.balancer import Outcome
from lbproto.selection.keys import request_key

if TYPE_CHECKING:
    from lbproto.proxy.attempt import Attempt
    from lbproto.proxy.connection import ProxyConnection

__all__ = ["Exchange"]

IDLE_CLOCK: Final = UploadClock()
"""Of requests without content that is waited for; it never runs."""


@fleeting
class Exchange:
    """A request and its response, from the first byte to the access record."""

    __deletable__ = ("answer", "delivery")  # else compiled attributes stay
    __slots__ = (
        "answer",
        "client",
        "conduct",
        "delivery",
        "head",
        "remote",
        "service",
        "site",
        "stage",
        "stream",
        "tally",
        "terms",
        "timers",
        "tunnel",
        "upload",
    )

    def __init__(self, stream: int, client: ProxyConnection, now: float) -> None:
        self.stage = IDLE
        self.stream = stream
        self.client = client
        self.remote = client.peer
        """Who asks: the peer, or the client for whom a trusted one speaks."""
        self.site = client.site
        self.terms = client.site.terms
        """What holds for this request."""
        self.service = self.terms.service
        """The same in full: the service, as the route has changed it."""
        self.head: RequestHead | None = None
        """The request as it came; None until its head was understood."""
        self.timers = client.exchange_timers
        self.tally = Tally(now)
        self.delivery = Delivery(self)
        """The way up."""
        self.answer = Answer(self)
        """The way back."""
        self.tunnel: Tunnel | None = None
        self.conduct = None if client.recess is None else Conduct(self, client.recess)
        """An application's part in this, if there is one."""
        self.upload = IDLE_CLOCK
        """Its own once we wait for content."""

    # -- what the client connection and the delivery ask ---------------------

    @property
    def out(self) -> list[Effect]:
        """Where effects of the event at hand go."""
        return self.client.out

    @property
    def tunnelling(self) -> bool:
        """The client's bytes are no HTTP any more."""
        return self.stage == TUNNEL

    @property
    def tunnelled(self) -> bool:
        """It has been a tunnel."""
        return self.tunnel is not None

    @property
    def at_rest(self) -> bool:
        """An application is awaited, and no deadline counts."""
        recess = self.client.recess
        return recess is not None and recess.on

    @property
    def request_complete(self) -> bool:
        """The request has been received whole."""
        return self.delivery.held.complete

    @property
    def awaits_continue(self) -> bool:
        """The client waits for a 100 (Continue) before it sends content."""
        return (
            self.head is not None
            and self.head.expects_continue
            and not (self.answer.continued or self.delivery.held.received)
        )

    @property
    def buffered(self) -> int:
        """How many received bytes are kept."""
        attempt = self.delivery.attempt
        codec = attempt.buffered if attempt is not None else 0
        return self.delivery.held.size + codec

    def key(self, upstream: str) -> bytes:
        """What gives the request its backend; empty where nothing does."""
        rule = self.site.balancer.hash_on(upstream)
        if rule is None or self.head is None:
            return b""
        return request_key(rule, self.head, self.remote)

    def follow(self, terms: Terms) -> None:
        """Have other terms for this request than its service has."""
        self.terms = terms
        self.service = terms.service

    def go(self, step: int) -> None:
        """Move on in the table of stages."""
        self.stage = advance(self.stage, step)

    def tried(self, attempt: Attempt) -> None:
        """Take note of an attempt that was started."""
        self.client.own(attempt.conn)
        tally = self.tally
        tally.tries += 1
        tally.backend = attempt.lease.name
        tally.reused = attempt.reused

    # -- events from the client ----------------------------------------------

    def on_http(self, event: HttpEvent, now: float) -> None:
        """Take a piece of the request."""
        if isinstance(event, RequestHead):
            self._begin(event, now)
        elif isinstance(event, Reset):
            self.fail(event.error, event.detail, now)
        elif not self.delivery.held.complete:
            assert not isinstance(event, ResponseHead), "a client sends none"
            if isinstance(event, Body) and self._too_large(len(event.data)):
                detail = "the content is over the limit of its route"
                self.fail(ErrorCode.CONTENT_TOO_LARGE, detail, now)
                return
            if isinstance(event, End) and event.trailers and self.head is not None:
                nominated, rules = self.head.nominated, self.service.request_headers
                event = passed_on(event, nominated, self.service, rules)
            self.delivery.content(event, now)
            self.answer.expect_more(now)
            self.pace(now)

    def _too_large(self, more: int) -> bool:
        """Tell whether a piece is too much; the codec knows no route's limit."""
        limit = self.terms.body_size
        return limit != ANY_SIZE and self.delivery.held.received + more > limit

    def on_client_data(self, data: bytes, now: float) -> None:
        """Take the client's bytes for the tunnel."""
        assert self.tunnel is not None, "asked only while tunnelling"
        self.tunnel.from_client(data, now, self.out)

    def on_client_eof(self, now: float) -> None:
        """The client sends no more; a tunnel may have ended with that."""
        if self.tunnel is not None and self.tunnel.eof(self.client.conn, self.out):
            self.over(ENDED, None, now)

    def on_client_lost(self, now: float) -> None:
        """The client is gone: nobody waits for this any more."""
        self.over(BROKEN, ErrorCode.CLIENT_LEFT, now)

    def on_backend_blocked(self, blocked: bool, now: float) -> None:
        """The backend does not keep up with the request, or does again."""
        self.delivery.on_blocked(blocked, now)
        self.pace(now)

    def _begin(self, head: RequestHead, now: float) -> None:
        self.go(HEAD)
        self.head = head
        if head.body.length == 0 and head.body.kind is not STREAMED:
            # The end goes out with the head; that it comes as an event is no news.
            self.delivery.held.add(End(self.stream))
        if not head.headers.ordinary:
            self.remote = client_of(head.headers, self.client.peer, self.service)
            if refused(self, head, now):
                return
        if self.stream == 1 and self.site.stock.scarce:
            detail = "too many bytes wait for other connections"
            self.fail(ErrorCode.OVERLOADED, detail, now)
        elif answers_itself(head):
            self.reply(options_reply(self.stream, self.date(now)), b"", None, now)
        elif self.conduct is not None:
            self.conduct.begin(head, now)
        else:
            direct(self, head, now)

    def forward(
        self, head: RequestHead, target: bytes, upstream: str | None, now: float
    ) -> None:
        """Send the request to one of an upstream's backends."""
        peer, policy = self.client.peer, self.terms.heads
        request = upstream_request(head, peer, policy, target, self.remote)
        if len(request.upgrade) and not self.request_complete:
            self.fail(ErrorCode.SYNTAX, "Upgrade in a request with content", now)
        elif self.conduct is not None:
            self.conduct.forward(request, upstream, now)
        elif upstream is None:
            self.fail(ErrorCode.NO_ROUTE, "no route takes this request", now)
        else:
            self.delivery.begin(request, upstream, now)
            self.pace(now)

    def pace(self, now: float) -> None:
        """Arm the client's deadline for its next bytes, if it is its turn."""
        if self.delivery.held.complete:
            self.timers.clear(REQUEST_BODY)
            return
        if self.head is None or self.stage == TUNNEL or self.stage == DONE:
            return
        if self.at_rest:
            return
        clock = self.upload
        if clock is IDLE_CLOCK:
            clock = self.upload = UploadClock()
        if self.awaits_continue or not self.delivery.wants_more:
            self.timers.clear(REQUEST_BODY)
            clock.rest(now)
        else:
            until = clock.wait(self.service, self.delivery.held.received, now)
            self.timers.set(REQUEST_BODY, until)

    # -- endings -------------------------------------------------------------

    def fail(self, code: ErrorCode, detail: str, now: float) -> None:
        """Answer with the error's status; cut the connection if that is too late."""
        verdict = VERDICTS[code]
        if self.conduct is not None and self.conduct.session is not None:
            self.conduct.fail(ProxyError(code, detail), now)
            return
        self.log(LEVELS[verdict.blame], "exchange failed", code, detail)
        self.give_up(code, verdict.status, now)

    def give_up(self, code: ErrorCode, status: int, now: float) -> None:
        """Answer with a status that says what failed, if there can be an answer."""
        if status == 0 or self.stage == STREAMING or self.stage == TUNNEL:
            self.over(BROKEN, code, now)
            return
        if VERDICTS[code].close:
            self.client.codec.go_away()
        reply = error_reply(code, self.service, self.stream, self.date(now), status)
        self.reply(*reply, code, now)

    def reply(
        self, head: ResponseHead, content: bytes, code: ErrorCode | None, now: float
    ) -> None:
        """Answer the client ourselves; `code` says why, if it is an error."""
        self.go(Step.BAD_HEAD if self.stage == IDLE else Step.GIVE_UP)
        self.tally.status = head.status
        if self.conduct is not None:
            self.conduct.replied(head)
        codec = self.client.codec
        if not self.request_complete:
            codec.go_away()  # nobody reads what may come
        if self.head is not None and self.head.method == b"HEAD":
            head, content = replace(head, body=NO_BODY), b""
        codec.send(head)
        if content:
            self.tally.sent += len(content)
            codec.send(Body(self.stream, content))
        codec.send(End(self.stream))
        self.over(ENDED, code, now)

    def over(self, step: int, code: ErrorCode | None, now: float) -> None:
        """End the exchange: settle with the backend, record, tell the connection."""
        client, tunnel = self.client, self.tunnel
        self.go(step)
        self.timers.clear_all()
        client.flush()
        self.delivery.end(self._outcome(code), now)
        received = self.delivery.held.received
        if tunnel is not None:
            received += tunnel.received
            self.tally.sent += tunnel.sent
        record = self.tally.record(
            client.conn, self.remote, self.head, received, code, now
        )
        self.out.append(Access(record))
        if self.conduct is not None:
            self.conduct.finish(code, now)
        if step == BROKEN:
            client.cut(now, abort=self.answer.unframed)
        else:
            client.exchange_over(self, now)

    def _outcome(self, code: ErrorCode | None) -> Outcome:
        if code is not None:
            blamed = VERDICTS[code].blame is Blame.BACKEND
            return Outcome.FAILED if blamed else Outcome.ABANDONED
        if not self.request_complete:
            return Outcome.ABANDONED  # the rest of the request will not be sent
        return Outcome.OK

    def retire(self) -> None:
        """After all is over: let go of the parts that know it.

        Cycles wait for the garbage collector, which costs more than the exchange's own
        memory management. An application may still be busy with its parts.
        """
        if self.conduct is None:
            del self.answer, self.delivery

    # -- small things --------------------------------------------------------

    def date(self, now: float) -> bytes:
        """The wall-clock time as an IMF-fixdate."""
        return self.site.date(now)

    def log(
        self, level: Level, message: str, code: ErrorCode | None, detail: str
    ) -> None:
        """Write a log line about this exchange."""
        fields: dict[str, object] = {"client": self.remote.address, "detail": detail}
        if code is not None:
            fields = {"error": code.name.lower(), **fields}
        if self.tally.backend:
            fields["backend"] = self.tally.backend
        if self.head is not None:
            fields["method"] = self.head.method.decode("ascii")
            fields["target"] = self.head.target[:1024].decode("ascii")
        self.client.log(level, message, fields)
