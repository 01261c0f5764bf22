"""What is written a little at a time arrives a little at a time.

Each side goes on only after the other has seen the piece before, so a balancer that
waited for more would wait for ever.
"""

from __future__ import annotations

import threading

import pytest

from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import OK
from tests.runtimes.wire import PATIENCE, Wire

EVENTS = [f"data: event {number}\n\n".encode() for number in range(50)]
HEADS = {
    "chunked": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n",
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(b"".join(EVENTS)),
    "close": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
}


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize("framing", HEADS)
def test_each_event_leaves_at_once(
    lb: LbFactory, origin: OriginFactory, framing: str
) -> None:
    seen = threading.Semaphore(0)

    def script(wire: Wire) -> None:
        wire.request()
        wire.send(HEADS[framing])
        for event in EVENTS:
            assert seen.acquire(timeout=PATIENCE)
            wire.send(chunk(event) if framing == "chunked" else event)
        if framing == "chunked":
            wire.send(b"0\r\n\r\n")

    with lb(origin(script)).connect() as client:
        client.get("/events")
        assert client.head().status == 200
        for event in EVENTS:
            seen.release()
            client.until(event)
        if framing != "length":
            assert client.until(b"0\r\n\r\n")


def test_a_slow_upload_is_passed_on_as_it_comes(
    lb: LbFactory, origin: OriginFactory
) -> None:
    seen = threading.Semaphore(0)

    def script(wire: Wire) -> None:
        wire.head()
        for event in EVENTS:
            wire.until(event)
            seen.release()
        wire.until(b"0\r\n\r\n")
        wire.send(OK)

    with lb(origin(script)).connect() as client:
        fields = "Transfer-Encoding: chunked\r\n\r\n"
        client.send(f"POST / HTTP/1.1\r\nHost: a\r\n{fields}".encode())
        for event in EVENTS:
            client.send(chunk(event))
            assert seen.acquire(timeout=PATIENCE)
        client.send(b"0\r\n\r\n")
        assert client.response().body == b"OK"


def test_a_response_that_takes_long_may_come_in_the_end(
    lb: LbFactory, origin: OriginFactory
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def script(wire: Wire) -> None:
        wire.request()
        asked.set()
        assert answer.wait(PATIENCE)
        wire.send(OK)

    one = lb(origin(script))
    with one.connect() as client:
        client.get("/poll")
        assert asked.wait(PATIENCE)
        assert client.silent()
        answer.set()
        assert client.response().body == b"OK"


def test_interim_responses_come_in_order_and_at_once(
    lb: LbFactory, origin: OriginFactory
) -> None:
    seen = threading.Semaphore(0)
    interims = [
        (103, b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"),
        (102, b"HTTP/1.1 102 Processing\r\n\r\n"),
        (103, b"HTTP/1.1 103 Early Hints\r\nLink: </b>; rel=preload\r\n\r\n"),
    ]

    def script(wire: Wire) -> None:
        head = wire.head()
        if head.get("Expect") is not None:
            wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        wire.content(head)
        for _, interim in interims:
            wire.send(interim)
            assert seen.acquire(timeout=PATIENCE)
        wire.send(OK)

    with lb(origin(script)).connect() as client:
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
            b"Content-Length: 5\r\n\r\n"
        )
        assert client.response().status == 100
        client.send(b"hello")
        links = []
        for status, _ in interims:
            response = client.response()
            assert response.status == status
            links.append(response.get("Link"))
            seen.release()
        assert links == [b"</a>; rel=preload", None, b"</b>; rel=preload"]
        assert client.response().body == b"OK"


@pytest.mark.parametrize("method", ["CONNECT a:443", "TRACE /"])
def test_no_other_tunnel_is_opened(
    lb: LbFactory, origin: OriginFactory, method: str
) -> None:
    backend = origin()
    with lb(backend).connect() as client:
        client.send(f"{method} HTTP/1.1\r\nHost: a:443\r\n\r\n".encode())
        assert client.response().status == 405
        assert client.ended()
    assert backend.accepted == 0
