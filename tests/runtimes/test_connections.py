"""Connections and messages: kept alive, pipelined, framed for the one who reads."""

from __future__ import annotations

import threading

import pytest

from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import OK, Script, answers, echoes_target, reply
from tests.runtimes.wire import PATIENCE, Wire


def closes_after(response: bytes) -> Script:
    def script(wire: Wire) -> None:
        wire.request()
        wire.send(response)

    return script


def test_connections_are_kept_alive_on_both_sides(
    lb: LbFactory, origin: OriginFactory
) -> None:
    backend = origin()
    one = lb(backend)
    with one.connect() as client:
        for _ in range(10):
            assert client.ask().body == b"OK"
        assert client.silent()
    assert one.fetch().body == b"OK"
    assert backend.accepted == 1


def test_a_client_that_says_close_gets_it(lb: LbFactory, origin: OriginFactory) -> None:
    backend = origin()
    one = lb(backend)
    with one.connect() as client:
        response = client.ask(fields="Connection: close\r\n")
        assert response.get("Connection") == b"close"
        assert client.ended()
    assert one.fetch().body == b"OK"
    assert backend.accepted == 1  # the client's close is not the backend's


def test_a_backend_that_says_close_is_dialled_anew(
    lb: LbFactory, origin: OriginFactory
) -> None:
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK"
    backend = origin(answers(response))
    with lb(backend).connect() as client:
        for _ in range(3):
            got = client.ask()
            assert got.body == b"OK"
            assert got.get("Connection") is None
    assert backend.accepted == 3


def test_the_pool_keeps_as_many_as_it_may(lb: LbFactory, origin: OriginFactory) -> None:
    together = threading.Barrier(4)

    def script(wire: Wire) -> None:
        wire.request()
        together.wait(PATIENCE)  # four at once, so four connections
        wire.send(OK)
        answers(OK)(wire)

    backend = origin(script)
    one = lb(backend, top={"upstream_keepalive_pool_size": 2})
    clients = [one.connect() for _ in range(4)]
    for client in clients:
        client.get()
    for client in clients:
        assert client.response().body == b"OK"
    assert backend.accepted == 4
    # Two were closed for the others; a backend sees that as an end of stream.
    assert [client.ask().body for client in clients] == [b"OK"] * 4
    assert backend.accepted == 4
    for client in clients:
        client.close()


def test_without_a_pool_each_request_has_its_own_connection(
    lb: LbFactory, origin: OriginFactory
) -> None:
    backend = origin()
    with lb(backend, top={"upstream_keepalive_pool_size": 0}).connect() as client:
        for _ in range(3):
            assert client.ask().body == b"OK"
    assert backend.accepted == 3


def test_an_idle_backend_connection_expires(
    lb: LbFactory, origin: OriginFactory
) -> None:
    ended = threading.Event()

    def script(wire: Wire) -> None:
        wire.request()
        wire.send(OK)
        assert wire.ended()
        ended.set()

    backend = origin(script)
    with lb(backend, timeouts={"upstream_keepalive": 0.2}).connect() as client:
        assert client.ask().body == b"OK"
        assert ended.wait(PATIENCE)
        assert client.ask().body == b"OK"
    assert backend.accepted == 2


def test_bytes_that_nobody_asked_for_reach_no_client(
    lb: LbFactory, origin: OriginFactory
) -> None:
    closed = threading.Event()

    def script(wire: Wire) -> None:
        wire.request()
        wire.send(OK)
        if backend.accepted == 1:
            wire.send(reply(b"poison"))
            wire.rest()
            closed.set()
        else:
            answers(OK)(wire)

    backend = origin(script)
    with lb(backend).connect() as client:
        assert client.ask().body == b"OK"
        assert closed.wait(PATIENCE)
        assert client.ask().body == b"OK"


def test_a_10_client_is_closed_after_its_response(
    lb: LbFactory, origin: OriginFactory
) -> None:
    backend = origin()
    with lb(backend).connect() as client:
        client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        response = client.response()
        assert response.start == b"HTTP/1.1 200 OK"
        assert response.get("Connection") == b"close"
        assert response.body == b"OK"
        assert client.ended()
    assert backend.received.startswith(b"GET / HTTP/1.1\r\n")


def test_pipelined_requests_are_answered_in_order(
    lb: LbFactory, origin: OriginFactory
) -> None:
    with lb(origin(echoes_target)).connect() as client:
        client.send(
            b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
            b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
            b"GET /3 HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        assert [client.response().body for _ in range(3)] == [b"/1", b"/2", b"/3"]


def test_many_pipelined_requests_are_answered_in_order(
    lb: LbFactory, origin: OriginFactory
) -> None:
    with lb(origin(echoes_target)).connect() as client:
        for n in range(200):
            client.get(f"/{n}")
        client.end()
        assert [client.response().body for _ in range(200)] == [
            b"/%d" % n for n in range(200)
        ]
        assert client.ended()


def test_a_half_closed_client_gets_its_response(
    lb: LbFactory, origin: OriginFactory
) -> None:
    with lb(origin()).connect() as client:
        client.get()
        client.end()
        assert client.response().body == b"OK"
        assert client.ended()


def test_head_has_a_length_and_no_content(lb: LbFactory, origin: OriginFactory) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n"
    with lb(origin(answers(head, OK))).connect() as client:
        client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        response = client.response("HEAD")
        assert response.get("Content-Length") == b"12345"
        assert client.ask().body == b"OK"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_statuses_without_content_end_at_their_head(
    lb: LbFactory, origin: OriginFactory, status: str
) -> None:
    bare = f'HTTP/1.1 {status}\r\nETag: "x"\r\n\r\n'.encode()
    backend = origin(answers(bare, OK))
    with lb(backend).connect() as client:
        response = client.ask()
        assert response.start == f"HTTP/1.1 {status}".encode()
        assert response.get("ETag") == b'"x"'
        assert response.get("Transfer-Encoding") is None
        assert client.ask().body == b"OK"
    assert backend.accepted == 1


def test_chunked_content_passes_both_ways(lb: LbFactory, origin: OriginFactory) -> None:
    def script(wire: Wire) -> None:
        body = wire.request().body
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        wire.send(b"%x;ext=1\r\n%b\r\n0\r\nX-T: 1\r\n\r\n" % (len(body), body))
        answers(OK)(wire)

    backend = origin(script)
    with lb(backend).connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n")
        response = client.response()
        assert response.get("Transfer-Encoding") == b"chunked"
        assert response.get("Content-Length") is None
        assert response.body == b"hello world"
        assert client.ask().body == b"OK"
    assert backend.accepted == 1
    assert b"Content-Length" not in backend.received
    assert b"x=y" not in backend.received


def test_content_until_close_is_chunked_for_a_11_client(
    lb: LbFactory, origin: OriginFactory
) -> None:
    backend = origin(closes_after(b"HTTP/1.1 200 OK\r\n\r\nuntil the end"))
    with lb(backend).connect() as client:
        for _ in range(2):
            response = client.ask()
            assert response.get("Transfer-Encoding") == b"chunked"
            assert response.body == b"until the end"
    assert backend.accepted == 2


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"d\r\nuntil the end\r\n0\r\n\r\n",
    ],
    ids=["until close", "chunked"],
)
def test_content_without_length_ends_with_a_10_connection(
    lb: LbFactory, origin: OriginFactory, response: bytes
) -> None:
    with lb(origin(closes_after(response))).connect() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        got = client.head()
        assert got.get("Transfer-Encoding") is None
        assert got.get("Content-Length") is None
        assert client.rest() == b"until the end"


def test_an_interim_response_comes_before_the_final_one(
    lb: LbFactory, origin: OriginFactory
) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    with lb(origin(answers(early + OK))).connect() as client:
        client.get()
        assert client.response().status == 103
        assert client.response().status == 200


def test_a_client_that_waits_for_100_gets_it_from_the_backend(
    lb: LbFactory, origin: OriginFactory
) -> None:
    def script(wire: Wire) -> None:
        head = wire.head()
        assert head.get("Expect") == b"100-continue"
        wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        wire.send(reply(wire.exactly(5)))

    with lb(origin(script)).connect() as client:
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert client.response().status == 100
        client.send(b"hello")
        assert client.response().body == b"hello"


def test_clients_are_served_side_by_side(lb: LbFactory, origin: OriginFactory) -> None:
    together = threading.Barrier(20)

    def script(wire: Wire) -> None:
        target = wire.request().start.split(b" ")[1]
        together.wait(PATIENCE)
        wire.send(reply(target))

    one = lb(origin(script))
    clients = [one.connect() for _ in range(20)]
    for n, client in enumerate(clients):
        client.get(f"/{n}")
    for n, client in enumerate(clients):
        assert client.response().body == b"/%d" % n
        client.close()


def test_a_client_that_leaves_cancels_its_request(
    lb: LbFactory, origin: OriginFactory
) -> None:
    asked, cancelled = threading.Event(), threading.Event()

    def script(wire: Wire) -> None:
        wire.request()
        asked.set()
        wire.rest()
        cancelled.set()

    one = lb(origin(script))
    client = one.connect()
    client.get()
    assert asked.wait(PATIENCE)
    client.reset()
    assert cancelled.wait(PATIENCE)
