"""Upgraded connections: bytes both ways after a 101, and not before."""

from __future__ import annotations

import threading

from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import OK, answers, reply
from tests.runtimes.wire import PATIENCE, Wire

ASK = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\n\r\n"
)


def echo(wire: Wire) -> None:
    """Switch, greet with the 101, and send everything back."""
    head = wire.head()
    assert head.get("Upgrade") == b"websocket"
    assert (head.get("Connection") or b"").lower() == b"upgrade"
    wire.send(SWITCH + b"welcome")
    while wire.ahead or wire.more():
        wire.send(wire.ahead)
        wire.ahead = b""
    wire.send(b"bye")


def test_bytes_pass_both_ways_after_a_101(lb: LbFactory, origin: OriginFactory) -> None:
    with lb(origin(echo)).connect() as client:
        client.send(ASK)
        head = client.response()
        assert head.status == 101
        assert head.get("Upgrade") == b"websocket"
        assert client.exactly(7) == b"welcome"
        for n in range(20):
            client.send(b"ping %02d" % n)
            assert client.exactly(7) == b"ping %02d" % n


def test_bytes_sent_right_behind_the_request_reach_the_tunnel(
    lb: LbFactory, origin: OriginFactory
) -> None:
    with lb(origin(echo)).connect() as client:
        client.send(ASK + b"early")
        assert client.response().status == 101
        assert client.exactly(12) == b"welcomeearly"


def test_a_tunnel_half_closes(lb: LbFactory, origin: OriginFactory) -> None:
    with lb(origin(echo)).connect() as client:
        client.send(ASK)
        assert client.response().status == 101
        client.send(b"last words")
        client.end()
        assert client.rest() == b"welcomelast wordsbye"


def test_a_backend_that_half_closes_still_hears_the_client(
    lb: LbFactory, origin: OriginFactory
) -> None:
    heard = []
    done = threading.Event()

    def script(wire: Wire) -> None:
        wire.head()
        wire.send(SWITCH)
        wire.end()
        heard.append(wire.rest())
        done.set()

    with lb(origin(script)).connect() as client:
        client.send(ASK)
        assert client.response().status == 101
        assert client.ended()
        client.send(b"I am still here")
        client.end()
        assert done.wait(PATIENCE)
    assert heard == [b"I am still here"]


def test_much_passes_through_a_tunnel_both_ways_at_once(
    lb: LbFactory, origin: OriginFactory
) -> None:
    size = 8 * 1024 * 1024
    with lb(origin(echo)).connect() as client:
        client.send(ASK)
        assert client.response().status == 101
        data = bytes(range(256)) * (size // 256)

        def pour() -> None:
            client.send(data)
            client.end()

        pouring = threading.Thread(target=pour)
        pouring.start()
        got = client.rest()
        pouring.join(PATIENCE)
    assert got == b"welcome" + data + b"bye"


def test_a_declined_upgrade_goes_on_as_http(
    lb: LbFactory, origin: OriginFactory
) -> None:
    backend = origin(answers(reply(b"no"), OK))
    with lb(backend).connect() as client:
        client.send(ASK)
        response = client.response()
        assert response.status == 200
        assert response.body == b"no"
        assert client.ask().body == b"OK"
    assert backend.accepted == 1


def test_a_101_that_nobody_asked_for_is_a_502(
    lb: LbFactory, origin: OriginFactory
) -> None:
    backend = origin(answers(SWITCH))
    with lb(backend).connect() as client:
        response = client.ask()
        assert response.status == 502
        assert b"http_upgrade_failed" in (response.get("Proxy-Status") or b"")


def test_a_protocol_that_is_not_allowed_is_not_offered(
    lb: LbFactory, origin: OriginFactory
) -> None:
    backend = origin()
    with lb(backend, upgrades=[]).connect() as client:
        client.send(ASK)
        assert client.response().status == 200
    assert b"Upgrade" not in backend.received


def test_a_silent_tunnel_is_closed(lb: LbFactory, origin: OriginFactory) -> None:
    with lb(origin(echo), timeouts={"tunnel": 0.2}).connect() as client:
        client.send(ASK)
        assert client.response().status == 101
        assert client.rest() == b"welcome"
