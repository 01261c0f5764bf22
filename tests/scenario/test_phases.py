"""Applications that conduct their own exchanges, on the virtual clock."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from lbproto.config import Config, Retry, Service, Timeouts
from lbproto.machine.effects import Cancel, SetReading
from lbproto.machine.events import ConnectError, Lost
from lbproto.phases.errors import FailToProxy, HttpError, ProxyError
from lbproto.phases.header import RequestHeader, ResponseHeader
from lbproto.phases.http import ProxyHttp
from lbproto.phases.peer import HttpPeer
from lbproto.phases.session import Session
from lbproto.testing.awaited import sleep
from lbproto.testing.sim import Sim
from tests.scenario import world
from tests.scenario.world import (
    GET,
    OK,
    ONE,
    POST,
    SWITCHED,
    TWO,
    WEBSOCKET,
    answers,
    errors,
    logged,
    status,
)

pytestmark = pytest.mark.usefixtures("every_framing")

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def bare(**changes: Any) -> Config:
    """A service of a program: it has no upstream."""
    service = Service(
        name="web", framing=world.FRAMING, via=None, timeouts=Timeouts(**changes)
    )
    return Config(services=(service,), upstreams={}, max_retries=3)


def simulated(application: ProxyHttp[Any], config: Config | None = None) -> Sim:
    return Sim(config or bare(), applications={"web": application})


class Diary(ProxyHttp[list[str]]):
    """Sends everything to ONE and writes down which phase is called."""

    def __init__(self) -> None:
        self.pages: list[list[str]] = []

    def new_ctx(self) -> list[str]:
        self.pages.append(["new_ctx"])
        return self.pages[-1]

    def early_request_filter(self, session: Session, ctx: list[str]) -> None:
        ctx.append("early_request_filter")

    def request_filter(self, session: Session, ctx: list[str]) -> bool:
        ctx.append("request_filter")
        return False

    def proxy_upstream_filter(self, session: Session, ctx: list[str]) -> bool:
        ctx.append("proxy_upstream_filter")
        return True

    def upstream_peer(self, session: Session, ctx: list[str]) -> HttpPeer:
        ctx.append("upstream_peer")
        return HttpPeer(ONE)

    def fail_to_connect(
        self, session: Session, peer: object, ctx: list[str], error: ProxyError
    ) -> ProxyError:
        ctx.append(f"fail_to_connect {error.code.name}")
        return error

    def connected_to_upstream(
        self,
        session: Session,
        reused: bool,
        peer: object,
        digest: object,
        ctx: list[str],
    ) -> None:
        ctx.append(f"connected_to_upstream {'reused' if reused else 'fresh'}")

    def upstream_request_filter(
        self, session: Session, upstream_request: RequestHeader, ctx: list[str]
    ) -> None:
        ctx.append("upstream_request_filter")

    def request_body_filter(
        self, session: Session, body: bytes, end_of_stream: bool, ctx: list[str]
    ) -> None:
        ctx.append(f"request_body_filter {body!r} {end_of_stream}")

    def upstream_response_filter(
        self, session: Session, upstream_response: ResponseHeader, ctx: list[str]
    ) -> None:
        ctx.append(f"upstream_response_filter {upstream_response.status}")

    def response_filter(
        self, session: Session, upstream_response: ResponseHeader, ctx: list[str]
    ) -> None:
        ctx.append(f"response_filter {upstream_response.status}")

    def upstream_response_body_filter(
        self, session: Session, body: bytes, end_of_stream: bool, ctx: list[str]
    ) -> None:
        ctx.append(f"upstream_response_body_filter {body!r} {end_of_stream}")

    def response_body_filter(
        self, session: Session, body: bytes, end_of_stream: bool, ctx: list[str]
    ) -> None:
        ctx.append(f"response_body_filter {body!r} {end_of_stream}")

    def error_while_proxy(
        self,
        peer: object,
        session: Session,
        error: ProxyError,
        ctx: list[str],
        client_reused: bool,
    ) -> ProxyError:
        ctx.append(f"error_while_proxy {error.code.name} {error.retry}")
        return error

    def fail_to_proxy(
        self, session: Session, error: ProxyError, ctx: list[str]
    ) -> FailToProxy | int | None:
        ctx.append(f"fail_to_proxy {error.code.name}")
        return None

    def logging(
        self, session: Session, error: ProxyError | None, ctx: list[str]
    ) -> None:
        ctx.append(f"logging {error.code.name if error else None}")


def test_the_phases_come_in_order() -> None:
    diary = Diary()
    sim = simulated(diary)
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    assert status(client) == 200
    assert client.received.endswith(b"OK")
    assert diary.pages == [
        [
            "new_ctx",
            "early_request_filter",
            "request_filter",
            "proxy_upstream_filter",
            "upstream_peer",
            "connected_to_upstream fresh",
            "upstream_request_filter",
            "request_body_filter b'' True",
            "upstream_response_filter 200",
            "response_filter 200",
            "upstream_response_body_filter b'OK' True",
            "response_body_filter b'OK' True",
            "logging None",
        ]
    ]


# -- what a phase may do ---------------------------------------------------------


class ToOne(ProxyHttp[None]):
    """Sends everything to ONE; the base of others."""

    def __init__(self) -> None:
        self.over: list[tuple[str, int]] = []

    def upstream_peer(self, session: Session, ctx: None) -> HttpPeer:
        return HttpPeer(ONE)

    def logging(self, session: Session, error: ProxyError | None, ctx: None) -> None:
        status = session.response_written.status if session.response_written else 0
        self.over.append((error.code.name if error else "", status))


def upstream(sim: Sim) -> bytes:
    """What the backend ONE got last."""
    return sim.ends[max(sim.ends)].received


def test_a_request_may_be_answered_at_once() -> None:
    class Limiter(ToOne):
        def request_filter(self, session: Session, ctx: None) -> bool:
            session.respond(429, "slow down", [("Retry-After", "7")])
            return True

    limiter = Limiter()
    sim = simulated(limiter)
    client = sim.client()
    client.send(GET)
    head, _, body = client.received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"Retry-After: 7" in head
    assert b"Content-Length: 9" in head
    assert b"Date: " in head
    assert b"Content-Type: text/plain; charset=utf-8" in head
    assert body == b"slow down"
    client.send(GET)
    assert client.received.count(b"HTTP/1.1 429") == 2, "the connection stays"
    assert limiter.over == [("", 429), ("", 429)]


def test_an_answer_before_the_content_closes_the_connection() -> None:
    class Refuser(ToOne):
        def request_filter(self, session: Session, ctx: None) -> bool:
            session.respond_error(403)
            return True

    sim = simulated(Refuser())
    client = sim.client()
    client.send(POST[:-2])
    assert status(client) == 403
    assert b"Connection: close" in client.received
    assert client.received.endswith(b"\r\n\r\n403 Forbidden\n")


def test_an_answer_to_head_has_no_content() -> None:
    class Refuser(ToOne):
        def request_filter(self, session: Session, ctx: None) -> bool:
            session.respond_error(403)
            return True

    sim = simulated(Refuser())
    client = sim.client()
    client.send(b"HEAD" + GET[3:])
    assert client.received.endswith(b"\r\n\r\n")
    assert b"Content-Length: 14" in client.received


def test_an_answer_may_be_written_piece_by_piece() -> None:
    class Writer(ToOne):
        def request_filter(self, session: Session, ctx: None) -> bool:
            header = ResponseHeader.build(200)
            header.append_header(b"X-A", b"1")
            header.append_header("Content-Length", "9999")
            session.write_response_header(header)
            session.write_response_body(b"one", end_of_stream=False)
            session.write_response_body(b"two")
            with pytest.raises(ValueError, match="no response to write to"):
                session.write_response_body(b"three")
            with pytest.raises(ValueError, match="a response already"):
                session.respond(200)
            return True

    sim = simulated(Writer())
    client = sim.client()
    client.send(GET)
    assert client.received.endswith(b"\r\n\r\nonetwo")
    assert b"X-A: 1" in client.received
    assert b"Content-Length: 6" in client.received
    assert b"9999" not in client.received


def test_an_answer_without_content_has_none() -> None:
    class Writer(ToOne):
        def request_filter(self, session: Session, ctx: None) -> bool:
            session.write_response_header(ResponseHeader.build(204), end_of_stream=True)
            return True

    sim = simulated(Writer())
    client = sim.client()
    client.send(GET)
    assert client.received.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert client.received.endswith(b"\r\n\r\n")
    assert b"Content-Length" not in client.received


@pytest.mark.parametrize("wrong", [99, 100, 600])
def test_an_answer_that_is_none_is_an_error_of_the_application(wrong: int) -> None:
    class Writer(ToOne):
        def request_filter(self, session: Session, ctx: None) -> bool:
            session.respond(wrong)
            return True

    sim = simulated(Writer())
    client = sim.client()
    client.send(GET)
    assert status(client) == 500
    assert logged(sim)[0].message == "application failed"


def test_who_says_that_it_has_answered_must_have() -> None:
    class Liar(ToOne):
        def request_filter(self, session: Session, ctx: None) -> bool:
            return True

    sim = simulated(Liar())
    client = sim.client()
    client.send(GET)
    assert status(client) == 500
    assert logged(sim)[0].fields["phase"] == "request_filter"


def test_an_answer_counts_even_if_the_phase_does_not_say_so() -> None:
    class Forgetful(ToOne):
        def request_filter(self, session: Session, ctx: None) -> None:
            session.respond(200, b"here")

    sim = simulated(Forgetful())
    client = sim.client()
    client.send(GET)
    assert client.received.endswith(b"here")


def test_no_backend_is_asked_if_the_last_filter_says_no() -> None:
    class Stopper(ToOne):
        def proxy_upstream_filter(self, session: Session, ctx: None) -> bool:
            if session.req_header.path == "/own":
                session.respond(200, b"own")
            return False

    sim = simulated(Stopper())
    client = sim.client()
    client.send(GET.replace(b"/", b"/own", 1))
    assert client.received.endswith(b"own")
    client.send(GET)
    assert b"HTTP/1.1 502 Bad Gateway" in client.received


def test_a_phase_may_refuse_with_a_status() -> None:
    class Refuser(ToOne):
        def early_request_filter(self, session: Session, ctx: None) -> None:
            raise HttpError(451, "not here")

    refuser = Refuser()
    sim = simulated(refuser)
    client = sim.client()
    client.send(GET)
    assert status(client) == 451
    assert client.received.endswith(b"451 Unavailable For Legal Reasons\n")
    line = logged(sim)[0]
    assert (line.message, line.level) == ("exchange failed", 20)
    assert line.fields["detail"] == "not here"
    assert line.fields["summary"] == "GET /, Host: a.example"
    assert refuser.over == [("APPLICATION", 451)]


def test_only_statuses_of_errors_are_errors() -> None:
    with pytest.raises(ValueError, match="200 is no status of an error"):
        HttpError(200)


def test_the_request_may_be_changed_for_every_backend() -> None:
    class Editor(ToOne):
        def request_filter(self, session: Session, ctx: None) -> None:
            header = session.req_header
            assert (header.method, header.path, header.query) == ("GET", "/a", "b=c")
            assert header.authority == "a.example"
            assert header.version.value == b"1.1"
            assert not header.is_upgrade
            assert header.get("x-one") == "1"
            assert header.get_all("X-One") == ["1", "2"]
            assert header.get("x-none") is None
            assert ("X-One", "1") in list(header.items())
            header.method = "PUT"
            header.target = "/changed?x"
            header.insert_header("Host", "b.example")
            assert header.remove_header("X-One")
            header.append_header("X-New", "n\xe9")

    sim = simulated(Editor())
    sim.backend("10.0.0.1:80", answers)
    sim.client().send(
        b"GET /a?b=c HTTP/1.1\r\nHost: a.example\r\nX-One: 1\r\nX-One: 2\r\n\r\n"
    )
    got = upstream(sim)
    assert got.startswith(b"PUT /changed?x HTTP/1.1\r\n")
    assert b"Host: b.example\r\n" in got
    assert b"X-Forwarded-Host: b.example\r\n" in got
    assert b"X-New: n\xe9\r\n" in got
    assert b"X-One" not in got


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("method", "GET POST"),
        ("target", "no/slash"),
        ("target", "/a b"),
        ("target", "/\u20ac"),
    ],
)
def test_a_request_must_stay_one(name: str, value: str) -> None:
    class Breaker(ToOne):
        def request_filter(self, session: Session, ctx: None) -> None:
            setattr(session.req_header, name, value)

    sim = simulated(Breaker())
    client = sim.client()
    client.send(GET)
    assert status(client) == 500
    assert logged(sim)[0].fields["phase"] == "request_filter"


@pytest.mark.parametrize("name", ["X: y", "a b", ""])
def test_no_field_may_split_a_message(name: str) -> None:
    class Splitter(ToOne):
        def upstream_request_filter(
            self, session: Session, upstream_request: RequestHeader, ctx: None
        ) -> None:
            upstream_request.insert_header(
                name or "X", "1" if name else "1\r\nX-Evil: 2"
            )

    sim = simulated(Splitter())
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    assert status(client) == 500
    assert upstream(sim) == b""


def test_the_request_to_one_backend_may_be_changed() -> None:
    class Editor(ToOne):
        def upstream_request_filter(
            self, session: Session, upstream_request: RequestHeader, ctx: None
        ) -> None:
            upstream_request.insert_header("Host", "one.one.one.one")

    sim = simulated(Editor())
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    assert b"Host: one.one.one.one\r\n" in upstream(sim)
    assert b"X-Forwarded-Host: a.example\r\n" in upstream(sim)
    assert status(client) == 200


# -- content ---------------------------------------------------------------------


class Shouter(ToOne):
    """Changes content both ways; its size stays."""

    def request_body_filter(
        self, session: Session, body: bytes, end_of_stream: bool, ctx: None
    ) -> bytes:
        return body.upper()

    def response_body_filter(
        self, session: Session, body: bytes, end_of_stream: bool, ctx: None
    ) -> bytes:
        return body.lower()


def test_content_may_be_changed_both_ways() -> None:
    sim = simulated(Shouter())
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(POST)
    assert upstream(sim).endswith(b"\r\n\r\nHELLO")
    assert client.received.endswith(b"\r\n\r\nok")


def test_content_that_comes_later_is_changed_too() -> None:
    sim = simulated(Shouter())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(POST[:-5])
    client.send(b"he")
    client.send(b"llo")
    assert backend.received.endswith(b"\r\n\r\nHELLO")
    backend.connections[0].send(OK[:-1])
    backend.connections[0].send(OK[-1:])
    assert client.received.endswith(b"\r\n\r\nok")


class Framer(ToOne):
    """Collects content and sends another one at the end, in chunks."""

    def new_ctx(self) -> None:
        self.up, self.down = b"", b""

    def upstream_request_filter(
        self, session: Session, upstream_request: RequestHeader, ctx: None
    ) -> None:
        upstream_request.remove_header("Content-Length")
        upstream_request.insert_header("Transfer-Encoding", "chunked")

    def request_body_filter(
        self, session: Session, body: bytes, end_of_stream: bool, ctx: None
    ) -> bytes:
        self.up += body
        return b"<" + self.up + b">" if end_of_stream else b""

    def response_filter(
        self, session: Session, upstream_response: ResponseHeader, ctx: None
    ) -> None:
        upstream_response.remove_header("Content-Length")

    def response_body_filter(
        self, session: Session, body: bytes, end_of_stream: bool, ctx: None
    ) -> bytes:
        self.down += body
        return b"[" + self.down + b"]" if end_of_stream else b""


def test_content_may_change_its_size_if_the_head_says_so() -> None:
    sim = simulated(Framer())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(POST[:-2])
    client.send(POST[-2:])
    assert b"Transfer-Encoding: chunked\r\n" in backend.received
    assert b"Content-Length" not in backend.received
    assert backend.received.endswith(b"\r\n\r\n7\r\n<hello>\r\n0\r\n\r\n")
    backend.connections[0].send(OK[:-1])
    backend.connections[0].send(OK[-1:])
    assert b"Transfer-Encoding: chunked\r\n" in client.received
    assert b"Content-Length" not in client.received
    assert client.received.endswith(b"\r\n\r\n4\r\n[OK]\r\n0\r\n\r\n")


def test_a_client_of_1_0_gets_other_content_until_the_end() -> None:
    sim = simulated(Framer())
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET.replace(b"1.1", b"1.0"))
    assert client.received.endswith(b"\r\n\r\n[OK]")
    assert client.eof


def test_an_answer_to_head_stays_without_content() -> None:
    sim = simulated(Framer())
    sim.backend("10.0.0.1:80", lambda end, data: end.send(OK[:-2]))
    client = sim.client()
    client.send(b"HEAD" + GET[3:])
    assert client.received.endswith(b"\r\n\r\n")
    client.send(b"HEAD" + GET[3:])
    assert client.received.count(b"HTTP/1.1 200") == 2


@pytest.mark.parametrize("content", [b"longer than it was", b"x"])
def test_a_request_whose_content_breaks_its_promise_is_not_sent(content: bytes) -> None:
    class Liar(ToOne):
        def request_body_filter(
            self, session: Session, body: bytes, end_of_stream: bool, ctx: None
        ) -> bytes:
            return content

    sim = simulated(Liar())
    backend = sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(POST)
    assert status(client) == 500
    assert backend.received == b""
    assert "Content-Length" in str(logged(sim)[0].fields["exception"])


@pytest.mark.parametrize("content", [b"longer than it was", b"x"])
def test_a_response_whose_content_breaks_its_promise_is_cut(content: bytes) -> None:
    class Liar(ToOne):
        def response_body_filter(
            self, session: Session, body: bytes, end_of_stream: bool, ctx: None
        ) -> bytes:
            return content

    sim = simulated(Liar())
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    assert client.closed
    assert not client.received.endswith(content)


def test_content_is_bytes() -> None:
    class Texter(ToOne):
        def request_body_filter(
            self, session: Session, body: bytes, end_of_stream: bool, ctx: None
        ) -> Any:
            return "text"

    sim = simulated(Texter())
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(POST)
    assert status(client) == 500
    assert "str is not bytes" in str(logged(sim)[0].fields["exception"])


def test_a_length_may_be_given_anew() -> None:
    class Longer(ToOne):
        def response_filter(
            self, session: Session, upstream_response: ResponseHeader, ctx: None
        ) -> None:
            upstream_response.insert_header("Content-Length", "4")

        def response_body_filter(
            self, session: Session, body: bytes, end_of_stream: bool, ctx: None
        ) -> bytes:
            return body * 2

    sim = simulated(Longer())
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    assert b"Content-Length: 4\r\n" in client.received
    assert client.received.endswith(b"OKOK")


def test_a_length_must_be_a_number() -> None:
    class Wrong(ToOne):
        def response_filter(
            self, session: Session, upstream_response: ResponseHeader, ctx: None
        ) -> None:
            upstream_response.insert_header("Content-Length", "many")

    sim = simulated(Wrong())
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    assert status(client) == 500


# -- heads of responses ----------------------------------------------------------


def test_a_response_may_be_changed_before_and_after_all_other_rules() -> None:
    class Editor(ToOne):
        def upstream_response_filter(
            self, session: Session, upstream_response: ResponseHeader, ctx: None
        ) -> None:
            assert upstream_response.get("Server") == "backend"
            assert upstream_response.get_all("Server") == ["backend"]
            assert ("Server", "backend") in list(upstream_response.items())
            upstream_response.insert_header("Server", "filter")

        def response_filter(
            self, session: Session, upstream_response: ResponseHeader, ctx: None
        ) -> None:
            assert upstream_response.get("Server") == "filter"
            assert upstream_response.get("Date") is not None, "ours is there"
            assert upstream_response.remove_header("Server")
            upstream_response.set_status(203)
            upstream_response.append_header("X-Seen", "1")

    sim = simulated(Editor())
    head = b"HTTP/1.1 200 OK\r\nServer: backend\r\nContent-Length: 0\r\n\r\n"
    sim.backend("10.0.0.1:80", lambda end, data: end.send(head))
    client = sim.client()
    client.send(GET)
    assert client.received.startswith(b"HTTP/1.1 203 ")
    assert b"X-Seen: 1" in client.received
    assert b"Server" not in client.received
    assert sim.access[0].status == 203


@pytest.mark.parametrize(("wrong", "reason"), [(100, ""), (700, ""), (200, "O\r\nK")])
def test_a_response_must_stay_one(wrong: int, reason: str) -> None:
    class Breaker(ToOne):
        def response_filter(
            self, session: Session, upstream_response: ResponseHeader, ctx: None
        ) -> None:
            upstream_response.set_status(wrong)
            upstream_response.reason = reason

    sim = simulated(Breaker())
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    assert status(client) == 500


@pytest.mark.parametrize(("before", "after"), [(200, 304), (304, 200), (200, 204)])
def test_a_status_decides_whether_there_is_content(before: int, after: int) -> None:
    class Changer(ToOne):
        def response_filter(
            self, session: Session, upstream_response: ResponseHeader, ctx: None
        ) -> None:
            upstream_response.set_status(after)

    content = b"Content-Length: 2\r\n\r\n" + (b"" if before == 304 else b"OK")
    answer = b"HTTP/1.1 %d X\r\n%b" % (before, content)
    sim = simulated(Changer())
    sim.backend("10.0.0.1:80", lambda end, data: end.send(answer))
    client = sim.client()
    client.send(GET)
    assert status(client) == after
    assert client.received.endswith(b"\r\n\r\n")
    assert (b"Content-Length: 0" in client.received) is (after == 200)
    client.send(GET)
    assert client.received.count(b"HTTP/1.1 ") == 2, "the conversation goes on"


def test_interim_responses_pass_the_filters_too() -> None:
    diary = Diary()
    sim = simulated(diary)
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    sim.backend("10.0.0.1:80", lambda end, data: end.send(early + OK))
    client = sim.client()
    client.send(GET)
    assert client.received.startswith(b"HTTP/1.1 103 ")
    assert "upstream_response_filter 103" in diary.pages[0]
    assert "response_filter 200" in diary.pages[0]


def test_a_tunnel_begins_behind_the_filters() -> None:
    diary = Diary()
    sim = simulated(diary)
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(world.WEBSOCKET)
    backend.connections[0].send(world.SWITCHED + b"early")
    client.send(b"ping")
    assert backend.received.endswith(b"ping")
    assert client.received.endswith(b"\r\n\r\nearly")
    assert "response_filter 101" in diary.pages[0]
    client.close()
    backend.connections[0].close()
    assert diary.pages[0][-1] == "logging None"


def test_the_client_may_be_sent_away() -> None:
    class Closer(ToOne):
        def response_filter(
            self, session: Session, upstream_response: ResponseHeader, ctx: None
        ) -> None:
            session.keepalive = False

    sim = simulated(Closer())
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    assert b"Connection: close" in client.received
    assert client.eof


# -- failures --------------------------------------------------------------------


class Failover(ProxyHttp[list[int]]):
    """ONE first, then TWO, as in Pingora's quick start."""

    def new_ctx(self) -> list[int]:
        return []

    def upstream_peer(self, session: Session, ctx: list[int]) -> HttpPeer:
        return HttpPeer(TWO if ctx else ONE, connect_timeout=0.5, read_timeout=2.0)

    def fail_to_connect(
        self, session: Session, peer: object, ctx: list[int], error: ProxyError
    ) -> ProxyError:
        ctx.append(session.tries)
        error.set_retry(len(ctx) < 2)
        return error


def test_another_peer_is_chosen_after_a_failed_dial() -> None:
    sim = simulated(Failover())
    two = sim.backend("10.0.0.2:80", answers)
    client = sim.client()
    client.send(POST)
    assert status(client) == 200
    assert two.received.endswith(b"hello")
    assert sim.access[0].tries == 2


def test_the_dial_has_the_time_that_the_peer_says() -> None:
    sim = simulated(Failover())
    sim.backend("10.0.0.1:80").mode = ConnectError.TIMEOUT
    sim.backend("10.0.0.2:80", answers)
    client = sim.client()
    client.send(GET)
    sim.advance(0.5)
    assert status(client) == 200


def test_the_response_has_the_time_that_the_peer_says() -> None:
    sim = simulated(Failover())
    sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(GET)
    sim.advance(2.0)
    assert status(client) == 504


def test_tries_end() -> None:
    sim = simulated(Failover())
    client = sim.client()
    client.send(GET)
    assert status(client) == 502
    assert errors(sim).count("connect_refused") == 2


def test_tries_are_bounded_whatever_an_application_wants() -> None:
    class Stubborn(ToOne):
        def fail_to_connect(
            self, session: Session, peer: object, ctx: None, error: ProxyError
        ) -> ProxyError:
            error.set_retry(True)
            return error

    sim = simulated(Stubborn())
    client = sim.client()
    client.send(GET)
    assert status(client) == 502
    assert sim.access[0].tries == 4, "max_retries is 3"


def test_without_an_opinion_a_failed_dial_is_the_end() -> None:
    diary = Diary()
    sim = simulated(diary)
    client = sim.client()
    client.send(GET)
    assert status(client) == 502
    assert diary.pages[0][-3:] == [
        "fail_to_connect CONNECT_REFUSED",
        "fail_to_proxy CONNECT_REFUSED",
        "logging CONNECT_REFUSED",
    ]


def test_a_silent_backend_is_an_error_while_proxying() -> None:
    diary = Diary()
    sim = simulated(diary)
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(GET)
    backend.connections[0].close()
    assert status(client) == 502
    assert diary.pages[0][-3:] == [
        "error_while_proxy BACKEND_CLOSED False",
        "fail_to_proxy BACKEND_CLOSED",
        "logging BACKEND_CLOSED",
    ]


def test_a_request_on_an_idle_connection_that_closed_goes_out_again() -> None:
    diary = Diary()
    sim = simulated(diary)
    backend = sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    backend.answer = None
    first = backend.connections[0]
    first.on_data = lambda end, data: end.close()
    backend.answer = answers
    client.send(GET)
    assert client.received.count(b"HTTP/1.1 200") == 2
    assert "error_while_proxy BACKEND_CLOSED True" in diary.pages[1]
    assert diary.pages[1].count("upstream_peer") == 2


def test_an_application_may_send_again_what_the_rules_would_not() -> None:
    class Brave(ToOne):
        def error_while_proxy(
            self,
            peer: object,
            session: Session,
            error: ProxyError,
            ctx: None,
            client_reused: bool,
        ) -> ProxyError:
            error.set_retry(session.tries < 2)
            return error

    sim = simulated(Brave())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(POST)
    backend.answer = answers
    backend.connections[0].close()
    assert status(client) == 200
    assert backend.connections[1].received.endswith(b"hello")


def test_after_the_response_began_there_is_no_other() -> None:
    class Brave(Diary):
        def error_while_proxy(
            self,
            peer: object,
            session: Session,
            error: ProxyError,
            ctx: list[str],
            client_reused: bool,
        ) -> ProxyError:
            error.set_retry(True)
            return super().error_while_proxy(peer, session, error, ctx, client_reused)

    brave = Brave()
    sim = simulated(brave)
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(GET)
    backend.connections[0].send(OK[:-1])
    backend.connections[0].close()
    assert client.closed
    assert brave.pages[0][-3:] == [
        "error_while_proxy RESPONSE_INCOMPLETE True",
        "fail_to_proxy RESPONSE_INCOMPLETE",
        "logging RESPONSE_INCOMPLETE",
    ]


def test_nonsense_of_a_backend_is_answered_for_it() -> None:
    diary = Diary()
    sim = simulated(diary)
    sim.backend("10.0.0.1:80", lambda end, data: end.send(b"nonsense\r\n\r\n"))
    client = sim.client()
    client.send(GET)
    assert status(client) == 502
    assert diary.pages[0][-1] == "logging RESPONSE_INVALID"


def test_an_answer_of_one_s_own_may_be_the_last() -> None:
    class Last(ToOne):
        def request_filter(self, session: Session, ctx: None) -> bool:
            session.keepalive = False
            session.respond(200, "so long")
            return True

    client = simulated(Last()).client()
    client.send(GET)
    assert client.received.endswith(b"\r\nConnection: close\r\n\r\nso long")
    assert client.eof


def test_an_error_page_may_be_one_s_own() -> None:
    class Page(ToOne):
        def fail_to_proxy(
            self, session: Session, error: ProxyError, ctx: None
        ) -> FailToProxy:
            session.respond_error_with_body(503, "<h1>back soon</h1>")
            return FailToProxy(503, can_reuse_downstream=True)

    page = Page()
    sim = simulated(page)
    client = sim.client()
    client.send(GET)
    assert status(client) == 503
    assert client.received.endswith(b"<h1>back soon</h1>")
    assert not client.eof
    assert page.over == [("CONNECT_REFUSED", 503)]
    assert sim.access[0].error == "CONNECT_REFUSED"


def test_an_error_may_get_another_status() -> None:
    class Other(ToOne):
        def fail_to_proxy(
            self, session: Session, error: ProxyError, ctx: None
        ) -> int | FailToProxy:
            if session.req_header.path == "/":
                return 599
            return FailToProxy(504, can_reuse_downstream=False)

    sim = simulated(Other())
    client = sim.client()
    client.send(GET)
    assert status(client) == 599
    client.send(GET.replace(b"/", b"/x", 1))
    assert b"HTTP/1.1 504 Gateway Timeout" in client.received
    assert client.eof


def test_an_application_may_keep_a_failure_out_of_the_log() -> None:
    class Quiet(ToOne):
        def suppress_error_log(
            self, session: Session, ctx: None, error: ProxyError
        ) -> bool:
            return True

    sim = simulated(Quiet())
    client = sim.client()
    client.send(GET)
    assert status(client) == 502
    assert logged(sim) == []


def test_a_server_that_fails_is_named_in_the_log() -> None:
    sim = simulated(ToOne())
    sim.client().send(GET)
    assert logged(sim)[0].fields["backend"] == "10.0.0.1:80"


class Broken(ToOne):
    """Has a bug in one phase."""

    def __init__(self, phase: str) -> None:
        super().__init__()
        setattr(self, phase, self.fail)

    def fail(self, *arguments: object) -> None:
        raise ZeroDivisionError("oops")


PHASES = [
    "new_ctx",
    "early_request_filter",
    "request_filter",
    "proxy_upstream_filter",
    "upstream_peer",
    "connected_to_upstream",
    "upstream_request_filter",
    "request_body_filter",
    "upstream_response_filter",
    "response_filter",
]


@pytest.mark.parametrize("phase", PHASES)
def test_an_exception_is_a_500_for_that_request_and_nothing_else(phase: str) -> None:
    broken = Broken(phase)
    sim = simulated(broken)
    sim.backend("10.0.0.1:80", answers)
    other = sim.client()
    client = sim.client()
    client.send(GET)
    assert status(client) == 500
    (line,) = logged(sim)
    assert (line.message, line.fields["phase"]) == ("application failed", phase)
    assert isinstance(line.fields["exception"], ZeroDivisionError)
    assert line.fields["summary"] == "GET /, Host: a.example"
    assert broken.over == [("INTERNAL", 500)]
    assert not other.closed


@pytest.mark.parametrize(
    "phase", ["upstream_response_body_filter", "response_body_filter"]
)
def test_an_exception_in_the_midst_of_a_response_cuts_it(phase: str) -> None:
    broken = Broken(phase)
    sim = simulated(broken)
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    assert client.closed
    assert broken.over == [("INTERNAL", 200)]


@pytest.mark.parametrize(
    "phase",
    ["fail_to_connect", "fail_to_proxy", "suppress_error_log", "request_summary"],
)
def test_an_exception_while_failing_changes_nothing(phase: str) -> None:
    broken = Broken(phase)
    sim = simulated(broken)
    client = sim.client()
    client.send(GET)
    assert status(client) == 500
    assert broken.over == [("INTERNAL", 500)]
    stats = sim.gateway.balancer.stats()
    assert stats.active == 0, "the lease is released"


def test_an_exception_while_logging_is_logged() -> None:
    sim = simulated(Broken("logging"))
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    client.send(GET)
    assert client.received.count(b"HTTP/1.1 200") == 2
    assert [line.message for line in logged(sim)] == ["application failed"] * 2


def test_there_must_be_somebody_to_send_a_request_to() -> None:
    sim = simulated(ProxyHttp())
    client = sim.client()
    client.send(GET)
    assert status(client) == 404


def test_nobody_to_choose_is_a_503() -> None:
    class Empty(ProxyHttp[None]):
        def upstream_peer(self, session: Session, ctx: None) -> HttpPeer:
            return HttpPeer(None, tls=True)

    sim = simulated(Empty())
    client = sim.client()
    client.send(GET)
    assert status(client) == 503
    assert b"Retry-After: 1" in client.received


def test_a_peer_is_a_peer() -> None:
    class Wrong(ProxyHttp[None]):
        def upstream_peer(self, session: Session, ctx: None) -> Any:
            return "10.0.0.1:80"

    sim = simulated(Wrong())
    client = sim.client()
    client.send(GET)
    assert status(client) == 500
    assert "str is no HttpPeer" in str(logged(sim)[0].fields["exception"])


def test_errors_before_a_head_is_understood_concern_no_application() -> None:
    diary = Diary()
    sim = simulated(diary)
    client = sim.client()
    client.send(b"nonsense\r\n\r\n")
    assert status(client) == 400
    assert diary.pages == []


def test_a_client_that_leaves_is_told_to_logging() -> None:
    diary = Diary()
    sim = simulated(diary)
    sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(GET)
    client.abort()
    assert diary.pages[0][-1] == "logging CLIENT_LEFT"


# -- beside a configuration ------------------------------------------------------


class Marker(ProxyHttp[None]):
    """Decides nothing about backends."""

    def upstream_request_filter(
        self, session: Session, upstream_request: RequestHeader, ctx: None
    ) -> None:
        upstream_request.insert_header("X-Try", str(session.tries))
        assert session.peer is None


def test_what_an_application_leaves_open_the_configuration_says() -> None:
    sim = simulated(Marker(), world.config([ONE, TWO]))
    two = sim.backend("10.0.0.2:80", answers)
    client = sim.client()
    client.send(GET)
    client.send(GET)
    assert client.received.count(b"HTTP/1.1 200") == 2
    assert b"X-Try: 2" in two.connections[0].received


def test_when_no_backend_is_left_the_first_error_is_told() -> None:
    sim = simulated(Marker(), world.config([ONE]))
    client = sim.client()
    client.send(GET)
    assert status(client) == 502


def test_a_response_may_be_given_up_for_another_backend() -> None:
    config = world.config([ONE, TWO])
    upstreams = {
        "web": dataclasses.replace(
            config.upstreams["web"], retry=Retry(statuses=(503,))
        )
    }
    sim = simulated(Marker(), world.replace(config, upstreams=upstreams))
    bad = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    sim.backend("10.0.0.1:80", lambda end, data: end.send(bad))
    sim.backend("10.0.0.2:80", answers)
    client = sim.client()
    client.send(GET)
    assert status(client) == 200


def test_a_request_that_times_out_may_go_to_another_backend() -> None:
    config = world.config([ONE, TWO], timeouts={"response_header": 3.0})
    upstreams = {
        "web": dataclasses.replace(
            config.upstreams["web"], retry=Retry(on=("timeout",))
        )
    }
    sim = simulated(Marker(), world.replace(config, upstreams=upstreams))
    sim.backend("10.0.0.1:80")
    sim.backend("10.0.0.2:80", answers)
    client = sim.client()
    client.send(GET)
    sim.advance(3.0)
    assert status(client) == 200


def test_a_stale_idle_connection_is_replaced_in_silence() -> None:
    sim = simulated(Marker(), world.config([ONE]))
    backend = sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    backend.connections[0].close()
    client.send(GET)
    assert client.received.count(b"HTTP/1.1 200") == 2


# -- from one request to the next ------------------------------------------------


def test_a_connection_s_next_request_gets_what_was_kept() -> None:
    seen: list[object] = []

    class Counter(ToOne):
        def on_connection_reuse(
            self, session: Session, ctx: None, kept: object
        ) -> None:
            seen.append(kept)

        def persist_connection_context(self, session: Session, ctx: None) -> object:
            return len(seen) + 1

    sim = simulated(Counter())
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    for _ in range(3):
        client.send(GET)
    sim.client().send(GET)
    assert seen == [1, 2]


def test_what_was_kept_need_not_be_taken() -> None:
    class Keeper(ToOne):
        def persist_connection_context(self, session: Session, ctx: None) -> object:
            return "kept"

    sim = simulated(Keeper())
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    client.send(GET)
    assert client.received.count(b"HTTP/1.1 200") == 2


def test_idle_connections_to_a_peer_are_used_again() -> None:
    sim = simulated(ToOne())
    backend = sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    client.send(GET)
    assert len(backend.connections) == 1
    assert sim.gateway.balancer.stats().idle == 1


def test_a_peer_that_is_spoken_to_in_another_way_is_another_one() -> None:
    class Alternating(ProxyHttp[None]):
        def upstream_peer(self, session: Session, ctx: None) -> HttpPeer:
            sni = session.req_header.path[1:]
            return HttpPeer("10.0.0.1:80", tls=True, sni=f"{sni}.example")

    sim = simulated(Alternating())
    backend = sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    for path in (b"/a", b"/b", b"/a"):
        client.send(GET.replace(b"/", path, 1))
    assert len(backend.connections) == 2


# -- coroutines ------------------------------------------------------------------


UPWARD = ["connected_to_upstream", "upstream_request_filter", "request_body_filter"]
"""Phases at whose time a backend has nothing of the request."""


class Sleeper(ToOne):
    """Awaits in one phase, a second if nothing else is said."""

    def __init__(self, phase: str, seconds: float = 1.0) -> None:
        super().__init__()
        before = getattr(self, phase)

        async def slowly(*arguments: object) -> object:
            await sleep(seconds)
            return before(*arguments)

        setattr(self, phase, slowly)


@pytest.mark.parametrize(
    "phase", [*PHASES, "upstream_response_body_filter", "response_body_filter"]
)
def test_every_phase_may_be_awaited(phase: str) -> None:
    sleeper = Sleeper(phase)
    sim = simulated(sleeper)
    backend = sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(POST)
    assert not client.received.endswith(b"OK")
    sim.advance(1.0)
    assert client.received.endswith(b"OK")
    assert backend.received.endswith(b"hello")
    client.send(GET)
    sim.advance(1.0)
    assert client.received.count(b"HTTP/1.1 200") == 2
    assert sleeper.over == [("", 200)] * 2


@pytest.mark.parametrize("phase", ["fail_to_connect", "fail_to_proxy"])
def test_phases_of_failures_may_be_awaited(phase: str) -> None:
    sim = simulated(Sleeper(phase))
    client = sim.client()
    client.send(GET)
    assert client.received == b""
    sim.advance(1.0)
    assert status(client) == 502


def test_logging_holds_up_nobody() -> None:
    sleeper = Sleeper("logging")
    sim = simulated(sleeper)
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    client.send(GET)
    assert client.received.count(b"HTTP/1.1 200") == 2
    client.close()
    assert sleeper.over == []
    sim.advance(1.0)
    assert sleeper.over == [("", 200)] * 2


def test_what_happens_meanwhile_waits_in_order() -> None:
    sim = simulated(Sleeper("request_filter"))
    backend = sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(POST[:-5])
    client.send(b"he")
    client.send(b"llo")
    client.half_close()
    assert backend.connections == []
    sim.advance(1.0)
    assert backend.received.endswith(b"hello")
    assert status(client) == 200


def test_a_backend_that_answers_meanwhile_is_heard_later() -> None:
    sim = simulated(Sleeper("upstream_response_filter"))
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(GET)
    backend.connections[0].send(OK[:-2])
    backend.connections[0].send(b"O")
    backend.connections[0].send(b"K")
    backend.connections[0].close()
    assert client.received == b""
    sim.advance(1.0)
    assert client.received.endswith(b"OK")


@pytest.mark.parametrize("phase", UPWARD)
def test_a_backend_that_is_lost_meanwhile_gets_no_more_orders(phase: str) -> None:
    sleeper = Sleeper(phase)
    sim = simulated(sleeper)
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(POST)
    backend.connections[0].abort()
    sim.advance(1.0)
    assert status(client) == 502
    assert sleeper.over == [("BACKEND_CLOSED", 502)]
    assert backend.received == b""


@pytest.mark.parametrize("phase", UPWARD)
def test_an_idle_connection_that_was_dead_is_replaced_after_that(phase: str) -> None:
    sim = simulated(Sleeper(phase))
    backend = sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    sim.advance(3.0)
    backend.connections[0].gone = True  # we shall see when we use it
    client.send(GET)
    sim.advance(1.0)
    sim.advance(1.0)
    assert client.received.count(b"HTTP/1.1 200") == 2
    assert len(backend.connections) == 2


@pytest.mark.parametrize(
    "phase", ["upstream_response_filter", "response_filter", "response_body_filter"]
)
def test_a_backend_may_be_lost_behind_its_response(phase: str) -> None:
    sim = simulated(Sleeper(phase))
    backend = sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    backend.connections[0].abort()
    sim.advance(1.0)
    assert client.received.endswith(b"OK")
    assert sim.gateway.balancer.stats().idle == 0
    client.send(GET)
    sim.advance(1.0)
    assert client.received.count(b"HTTP/1.1 200") == 2
    assert len(backend.connections) == 2


@pytest.mark.parametrize("said", [b"", b"hello"])
@pytest.mark.parametrize("ends", [False, True])
def test_a_backend_may_be_lost_behind_its_101(said: bytes, ends: bool) -> None:
    sim = simulated(Sleeper("response_filter"))
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(WEBSOCKET)
    backend.connections[0].send(SWITCHED + b"hi")
    client.send(said)
    if ends:
        client.half_close()
    backend.connections[0].abort()
    sim.advance(1.0)
    assert client.received.startswith(b"HTTP/1.1 101 ")
    assert client.received.endswith(b"\r\n\r\nhi")
    assert client.closed


def test_a_backend_may_be_lost_behind_its_nonsense() -> None:
    sim = simulated(Sleeper("fail_to_proxy"))
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(GET)
    backend.connections[0].send(b"nonsense\r\n\r\n")
    backend.connections[0].abort()
    sim.advance(1.0)
    assert status(client) == 502


def test_who_is_lost_meanwhile_may_be_nobody_s_any_more() -> None:
    sim = simulated(Sleeper("upstream_peer"))
    closing = OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    backend = sim.backend("10.0.0.1:80", lambda end, data: end.send(closing))
    client = sim.client()
    client.send(GET)
    sim.advance(1.0)
    client.send(GET)
    late = Lost(backend.connections[0].conn, "it was on its way")
    assert sim.machines[1].handle(late, sim.now) == [SetReading(client.conn, False)]
    sim.advance(1.0)
    assert client.received.count(b"HTTP/1.1 200") == 2


def test_a_deadline_does_not_count_what_the_application_takes() -> None:
    sim = simulated(Sleeper("connected_to_upstream"), bare(response_header=5.0))
    sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(GET)
    sim.advance(1.0)
    sim.advance(4.9)
    assert client.received == b""
    sim.advance(0.1)
    assert status(client) == 504


def test_a_client_that_leaves_meanwhile_cancels() -> None:
    sleeper = Sleeper("request_filter")
    sim = simulated(sleeper)
    client = sim.client()
    client.send(GET)
    client.abort()
    assert any(isinstance(effect, Cancel) for _, effect in sim.log)
    assert sleeper.over == [("CLIENT_LEFT", 0)]
    sim.advance(5.0)
    assert sleeper.over == [("CLIENT_LEFT", 0)]


def test_the_operator_s_patience_ends_what_is_awaited() -> None:
    class Endless(ToOne):
        async def request_filter(self, session: Session, ctx: None) -> bool:
            await sleep(1e6)
            return False

    endless = Endless()
    sim = simulated(endless)
    client = sim.client()
    client.send(GET)
    sim.drain(grace=0.0, timeout=10.0)
    sim.advance(10.0)
    assert client.closed
    assert endless.over == [("DRAINED", 0)]


def test_the_operator_s_patience_ends_how_a_failure_is_awaited() -> None:
    class Endless(ToOne):
        async def fail_to_proxy(
            self, session: Session, error: ProxyError, ctx: None
        ) -> None:
            await sleep(1e6)

    endless = Endless()
    sim = simulated(endless)
    client = sim.client()
    client.send(GET)
    sim.drain(grace=0.0, timeout=10.0)
    sim.advance(10.0)
    assert client.closed
    assert endless.over == [("DRAINED", 0)]


def test_what_a_coroutine_raises_is_what_the_phase_raises() -> None:
    class Refuser(ToOne):
        async def request_filter(self, session: Session, ctx: None) -> bool:
            await sleep(1.0)
            if session.req_header.path == "/bug":
                raise ZeroDivisionError
            raise HttpError(403)

    sim = simulated(Refuser())
    client = sim.client()
    client.send(GET)
    sim.advance(1.0)
    assert status(client) == 403
    client.send(GET.replace(b"/", b"/bug", 1))
    sim.advance(1.0)
    assert b"HTTP/1.1 500" in client.received


def test_a_client_that_does_not_read_meanwhile_is_noticed_later() -> None:
    sim = simulated(Sleeper("response_body_filter"), bare(send=30.0))
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.pause()
    client.send(GET)
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n"
    backend.connections[0].send(big + b"x" * 200_000)
    for _ in range(6):
        sim.advance(1.0)
    client.resume()
    backend.connections[0].send(b"x" * 100_000)
    for _ in range(6):
        sim.advance(1.0)
    assert client.received.endswith(b"x" * 300_000)


def test_trailers_pass_beside_the_filters() -> None:
    sim = simulated(Shouter(), world.config([ONE], trailers="pass"))
    sim.backend("10.0.0.1:80").answer = lambda end, data: end.send(
        CHUNKED + b"2\r\nOK\r\n0\r\nX-Sum: 1\r\n\r\n"
    )
    client = sim.client()
    client.send(GET.replace(b"\r\n\r\n", b"\r\nTE: trailers\r\nConnection: te\r\n\r\n"))
    assert client.received.endswith(b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")


@pytest.mark.parametrize("phase", ["request_filter", "upstream_request_filter"])
def test_a_client_is_not_slow_for_what_the_application_takes(phase: str) -> None:
    sim = simulated(Sleeper(phase, seconds=100.0))
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(POST[:-2])
    sim.advance(99.0)
    assert client.received == b""
    sim.advance(1.0)
    client.send(POST[-2:])
    assert backend.received.endswith(b"hello")
    backend.connections[0].send(OK)
    assert status(client) == 200


def test_after_that_it_is_slow_as_ever() -> None:
    sim = simulated(Sleeper("request_filter", seconds=100.0))
    sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(POST[:-2])
    sim.advance(159.0)
    assert client.received == b""
    sim.advance(1.0)
    assert status(client) == 408
