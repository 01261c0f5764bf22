"""What clients may take, and what they are told, over real sockets."""

from __future__ import annotations

import pytest

from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import OK
from tests.runtimes.wire import Wire

BIG = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n"


def echoes(wire: Wire) -> None:
    """Answer in chunks, with the trailers of the request behind them."""
    wire.until(b"5\r\nhello\r\n0\r\n")
    trailers = wire.until(b"\r\n\r\n")
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    wire.send(head + b"2\r\nOK\r\n0\r\n" + trailers)


@pytest.mark.parametrize("on", [True, False])
def test_our_own_errors_say_why_unless_the_file_says_no(
    on: bool, lb: LbFactory, origin: OriginFactory
) -> None:
    dead = origin()
    dead.close()
    one = lb(dead, proxy_status=on, limits={"header_count": 3})
    with one.connect() as client:
        refused = client.ask()
        assert refused.status == 502
        wanted = b"lb; error=connection_refused" if on else None
        assert refused.get("Proxy-Status") == wanted
        limited = client.ask(fields="A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n")
        assert limited.status == 431
        wanted = b"lb; error=http_request_error" if on else None
        assert limited.get("Proxy-Status") == wanted


def test_a_connection_ends_with_its_last_request(
    lb: LbFactory, origin: OriginFactory
) -> None:
    one = lb(origin(), limits={"requests_per_connection": 3})
    with one.connect() as client:
        assert [client.ask().get("Connection") for _ in range(3)] == [
            None,
            None,
            b"close",
        ]
        assert client.ended()


def test_one_address_has_so_many_connections(
    lb: LbFactory, origin: OriginFactory
) -> None:
    one = lb(origin(), limits={"connections_per_address": 2})
    with one.connect() as first, one.connect() as second:
        assert first.ask().body == second.ask().body == b"OK"
        with one.connect() as third:
            assert third.ended()
        one.line("client refused")
        assert first.ask().body == b"OK"


def test_slow_content_is_a_408(lb: LbFactory, origin: OriginFactory) -> None:
    one = lb(origin(), timeouts={"request_body_grace": 0.2})
    with one.connect() as client:
        client.send(BIG + b"x")
        assert client.response().status == 408


def test_an_early_answer_arrives_while_the_client_is_sending(
    lb: LbFactory, origin: OriginFactory
) -> None:
    one = lb(origin(), limits={"body_size": 1000})
    with one.connect() as client:
        client.send(BIG + b"x" * 300_000)
        assert client.response().status == 413


def test_trailers_go_both_ways_if_the_file_says_so(
    lb: LbFactory, origin: OriginFactory
) -> None:
    one = lb(origin(echoes), trailers="pass")
    with one.connect() as client:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.send(head + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n")
        answer = client.until(b"0\r\nX-Sum: 1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"evil" not in answer


def test_a_worker_without_room_turns_new_clients_away(
    start: LbFactory, origin: OriginFactory
) -> None:
    service = {
        "listen": ["127.0.0.1:0"],
        "upstream": {"backends": [origin(OK).address]},
    }
    one = start({"services": [service], "buffer_budget": "50KiB"})
    with one.connect() as known, one.connect() as hog:
        assert known.ask().body == b"OK"
        hog.send(BIG + b"x" * (48 * 1024))
        while one.fetch().status == 200:
            pass
        assert one.fetch().get("Retry-After") == b"1"
        assert known.ask().body == b"OK"
        hog.reset()
        while one.fetch().status == 503:
            pass
        assert one.fetch().body == b"OK"
