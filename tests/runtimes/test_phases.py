"""Applications that conduct their own exchanges, in every runtime."""

from __future__ import annotations

import asyncio
import threading

import pytest

from lbproto.phases.header import RequestHeader, ResponseHeader
from lbproto.phases.http import ProxyHttp
from lbproto.phases.peer import HttpPeer
from lbproto.phases.session import Session
from tests.runtimes.fixtures import Conducted, OriginFactory
from tests.runtimes.origins import Recorder, answers, reply
from tests.runtimes.wire import PATIENCE, dial

AWAITING = ("asyncio", "uvloop")


@pytest.fixture
def awaits(runtime: str) -> None:
    """Leave runtimes without an event loop out."""
    if runtime not in AWAITING:
        pytest.skip("it has no event loop")


class Editor(ProxyHttp[None]):
    """Sends everything to one address, and marks what passes."""

    def __init__(self, address: str) -> None:
        self.address = address

    def upstream_peer(self, session: Session, ctx: None) -> HttpPeer:
        return HttpPeer(self.address)

    def upstream_request_filter(
        self, session: Session, upstream_request: RequestHeader, ctx: None
    ) -> None:
        upstream_request.insert_header("Host", "one.one.one.one")

    def request_body_filter(
        self, session: Session, body: bytes, end_of_stream: bool, ctx: None
    ) -> bytes:
        return body.upper()

    def response_filter(
        self, session: Session, upstream_response: ResponseHeader, ctx: None
    ) -> None:
        upstream_response.insert_header("X-Edited", "yes")


def test_an_application_edits_what_passes(
    conducted: Conducted, origin: OriginFactory
) -> None:
    recorder = Recorder(reply(), reply())
    address = conducted(Editor(origin(recorder).address))
    with dial(address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
        assert client.response().get("x-edited") == b"yes"
        assert client.ask().get("x-edited") == b"yes"
    first = recorder.requests[0]
    assert first.get("host") == b"one.one.one.one"
    assert first.body == b"HELLO"


def test_a_bug_of_the_application_is_a_500_and_one_line(
    conducted: Conducted, origin: OriginFactory, capfd: pytest.CaptureFixture[str]
) -> None:
    class Broken(Editor):
        def request_filter(self, session: Session, ctx: None) -> bool:
            if session.req_header.path == "/bug":
                raise ZeroDivisionError("oops")
            return False

    address = conducted(Broken(origin(answers(reply(), reply())).address))
    with dial(address) as other, dial(address) as client:
        assert other.ask().status == 200
        assert client.ask("/bug").status == 500
        assert other.ask().status == 200
    lines = capfd.readouterr().err.splitlines()
    (line,) = [one for one in lines if "application failed" in one]
    assert "phase=request_filter" in line
    assert "ZeroDivisionError: oops" in line
    assert "Traceback" in line


class Slow(Editor):
    """Awaits a gate before it lets a request pass."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.waiting = threading.Event()
        self.cancelled = threading.Event()
        self.gate: asyncio.Event | None = None

    async def request_filter(  # type: ignore[override]
        self, session: Session, ctx: None
    ) -> bool:
        if session.req_header.path == "/open":
            assert self.gate is not None
            self.gate.set()
            session.respond(200, "opened")
            return True
        if session.req_header.path == "/wait":
            self.gate = asyncio.Event()
            self.waiting.set()
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return False


@pytest.mark.usefixtures("awaits")
def test_a_coroutine_holds_up_its_own_request_only(
    conducted: Conducted, origin: OriginFactory
) -> None:
    slow = Slow(origin(answers(reply(), reply())).address)
    address = conducted(slow)
    with dial(address) as client, dial(address) as other:
        client.get("/wait")
        assert slow.waiting.wait(PATIENCE)
        assert other.ask().status == 200
        assert other.ask("/open").body == b"opened"
        assert client.response().status == 200


@pytest.mark.usefixtures("awaits")
def test_a_client_that_leaves_cancels_its_coroutine(
    conducted: Conducted, origin: OriginFactory
) -> None:
    slow = Slow(origin(answers(reply())).address)
    address = conducted(slow)
    with dial(address) as client:
        client.get("/wait")
        assert slow.waiting.wait(PATIENCE)
        client.reset()
        assert slow.cancelled.wait(PATIENCE)


@pytest.mark.usefixtures("awaits")
def test_what_is_awaited_ends_with_the_server(
    conducted: Conducted, origin: OriginFactory
) -> None:
    slow = Slow(origin(answers(reply())).address)
    address = conducted(slow)
    with dial(address) as client:
        client.get("/wait")
        assert slow.waiting.wait(PATIENCE)


def test_without_a_loop_a_coroutine_is_an_error_of_that_request(
    conducted: Conducted,
    runtime: str,
    origin: OriginFactory,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if runtime in AWAITING:
        pytest.skip("it has an event loop")
    address = conducted(Slow(origin(answers(reply())).address))
    with dial(address) as client:
        assert client.ask().status == 500
    assert "no event loop awaits a coroutine here" in capfd.readouterr().err
