"""Deadlines: each one ends what it is for, in the way that the status table says."""

from __future__ import annotations

import threading

from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import OK, answers
from tests.runtimes.wire import PATIENCE, Wire

SOON = 0.3
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello"


def never(wire: Wire) -> None:
    """Read and say nothing."""
    wire.rest()


def test_a_request_head_that_stays_incomplete_is_a_408(
    lb: LbFactory, origin: OriginFactory
) -> None:
    backend = origin()
    with lb(backend, timeouts={"request_header": SOON}).connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost")
        response = client.response()
        assert response.status == 408
        assert response.get("Connection") == b"close"
        assert client.ended()
    assert backend.accepted == 0


def test_a_client_that_sends_nothing_is_closed_in_silence(
    lb: LbFactory, origin: OriginFactory
) -> None:
    with lb(origin(), timeouts={"request_header": SOON}).connect() as client:
        assert client.ended()


def test_an_idle_client_is_closed_in_silence(
    lb: LbFactory, origin: OriginFactory
) -> None:
    with lb(origin(), timeouts={"keepalive": SOON}).connect() as client:
        assert client.ask().body == b"OK"
        assert client.ended()


def test_a_second_request_head_has_a_deadline_too(
    lb: LbFactory, origin: OriginFactory
) -> None:
    with lb(origin(), timeouts={"request_header": SOON}).connect() as client:
        assert client.ask().body == b"OK"
        client.send(b"GET ")
        assert client.response().status == 408


def test_request_content_that_stalls_is_a_408_and_no_complete_request(
    lb: LbFactory, origin: OriginFactory
) -> None:
    reset = threading.Event()

    def script(wire: Wire) -> None:
        wire.head()
        wire.exactly(5)
        assert wire.was_reset()
        reset.set()

    with lb(origin(script), timeouts={"request_body": SOON}).connect() as client:
        client.send(POST)
        assert client.response().status == 408
        assert client.ended()
    assert reset.wait(PATIENCE)


def test_a_backend_that_does_not_answer_is_a_504_and_the_client_kept(
    lb: LbFactory, origin: OriginFactory
) -> None:
    one = lb(origin(never), timeouts={"response_header": SOON})
    with one.connect() as client:
        for _ in range(2):
            response = client.ask()
            assert response.status == 504
            assert b"http_response_timeout" in (response.get("Proxy-Status") or b"")
    assert "response_timeout" in one.line("exchange failed")


def test_response_content_that_stalls_is_cut(
    lb: LbFactory, origin: OriginFactory
) -> None:
    def script(wire: Wire) -> None:
        wire.request()
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nOK\r\n")
        wire.rest()

    with lb(origin(script), timeouts={"response_body": SOON}).connect() as client:
        client.get()
        assert client.head().status == 200
        assert client.rest() == b"2\r\nOK\r\n"


def test_a_client_that_does_not_read_is_reset(
    lb: LbFactory, origin: OriginFactory
) -> None:
    blocked = threading.Event()

    def script(wire: Wire) -> None:
        wire.request()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            while True:
                wire.send(bytes(65536))
        except ConnectionError:
            blocked.set()
            raise

    one = lb(origin(script), timeouts={"send": SOON})
    with one.connect() as client:
        client.get()
        assert blocked.wait(PATIENCE)
        assert client.was_reset()
    assert "client_stalled" in one.line("exchange failed")


def test_a_slow_but_steady_client_meets_no_deadline(
    lb: LbFactory, origin: OriginFactory
) -> None:
    body = b"x" * 10
    with lb(origin(answers(OK)), timeouts={"request_body": SOON}).connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        client.drip(body)
        assert client.response().body == b"OK"
