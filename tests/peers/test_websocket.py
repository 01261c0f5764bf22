"""WebSocket through the balancer, with the `websockets` package on both sides."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("websockets")

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Close
from websockets.server import ServerProtocol
from websockets.sync.server import ServerConnection

from tests.certificates import Authority
from tests.peers.websocket_peers import Room, WebSocketServer, echo
from tests.runtimes.fixtures import RUNTIMES
from tests.runtimes.origins import OK, Origin, answers
from tests.runtimes.process import Lb, settings
from tests.runtimes.secured import authority, client_context, listens
from tests.runtimes.wire import PATIENCE, Wire

__all__ = ["authority"]

MIB = 1024 * 1024
NOISE = random.Random(1).randbytes(MIB)
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""What belongs to the key, by the example in RFC 6455 1.3."""
CODES = pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, "going"), (4000, "mine, Grüße")]
)


@pytest.fixture(scope="module", params=RUNTIMES)
def shared(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    authority: Authority,
) -> Iterator[Room]:
    if request.param in ("uvloop", "gevent"):
        pytest.importorskip(request.param)
    server, origin = WebSocketServer(), Origin(answers(OK))
    services: dict[str, Any] = {
        "web": {},
        "tls": {"listen": listens(authority.issue("localhost"))},
        "brief": {"timeouts": {"tunnel": 0.2}},
        "scripted": {"upstream": {"backends": [origin.address]}},
    }
    wanted: dict[str, Any] = {"upstream_keepalive_pool_size": 0, "services": []}
    for name, keys in services.items():
        (service,) = settings(server.address, name=name, **keys)["services"]
        wanted["services"].append(service)
    lb = Lb(request.param, tmp_path_factory.mktemp("lb") / "conf.yaml", wanted)
    try:
        yield Room(lb, server, origin)
        lb.finish()
    finally:
        origin.close()
        server.close()


@pytest.fixture
def room(shared: Room) -> Iterator[Room]:
    shared.server.plays(echo)
    yield shared
    shared.check()


@pytest.mark.parametrize("compression", ["deflate", None])
def test_messages_of_every_kind_and_size(room: Room, compression: str | None) -> None:
    with room.dial(compression=compression) as client:
        for message in ("text", "grüße", b"binary", "", b"", "x" * MIB, NOISE):
            client.send(message)
            assert client.recv(PATIENCE) == message
        client.send(iter(["in ", "several ", "frames"]))
        assert client.recv(PATIENCE) == "in several frames"


def test_many_small_messages_stay_apart_and_in_order(room: Room) -> None:
    with room.dial() as client:
        numbers = [str(number) for number in range(500)]
        for number in numbers:
            client.send(number)
        assert [client.recv(PATIENCE) for _ in numbers] == numbers


def test_large_messages_cross_each_other(room: Room) -> None:
    count = 4
    got: list[bool] = []

    def pour(peer: Any) -> None:
        for _ in range(count):
            peer.send(NOISE)

    def handler(peer: ServerConnection) -> None:
        pouring = threading.Thread(target=pour, args=(peer,))
        pouring.start()
        got.extend(peer.recv(PATIENCE) == NOISE for _ in range(count))
        pouring.join(PATIENCE)
        peer.send("done")

    room.server.plays(handler)
    with room.dial(compression=None) as client:
        pouring = threading.Thread(target=pour, args=(client,))
        pouring.start()
        assert all(client.recv(PATIENCE) == NOISE for _ in range(count))
        assert client.recv(PATIENCE) == "done"
        pouring.join(PATIENCE)
    assert got == [True] * count


def test_pings_are_answered_by_the_other_end(room: Room) -> None:
    def handler(peer: ServerConnection) -> None:
        answered = peer.ping(b"from the server").wait(PATIENCE)
        peer.send("answered" if answered else "not answered")
        echo(peer)

    room.server.plays(handler)
    with room.dial() as client:
        assert client.recv(PATIENCE) == "answered"
        assert client.ping(b"from the client").wait(PATIENCE)


@CODES
def test_a_client_that_closes_tells_the_server_why(
    room: Room, code: int, reason: str
) -> None:
    endings = room.server.plays(echo)
    with room.dial() as client:
        client.close(code, reason)
    assert endings.get(timeout=PATIENCE) == Close(code, reason)


@CODES
def test_a_server_that_closes_tells_the_client_why(
    room: Room, code: int, reason: str
) -> None:
    room.server.plays(lambda peer: peer.close(code, reason))
    with room.dial() as client:
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(PATIENCE)
        assert caught.value.rcvd == Close(code, reason)


def test_what_the_ends_agree_on_passes(room: Room) -> None:
    with room.dial(subprotocols=["other", "chat"]) as client:
        assert client.subprotocol == "chat"
        names = [type(extension).__name__ for extension in client.protocol.extensions]
        assert names == ["PerMessageDeflate"]
        client.send("squeeze " * 1000)
        assert client.recv(PATIENCE) == "squeeze " * 1000
    with room.dial(subprotocols=["other"], compression=None) as client:
        assert client.subprotocol is None
        assert client.protocol.extensions == []


def test_a_refused_handshake_leaves_plain_http(room: Room) -> None:
    with pytest.raises(InvalidStatus) as caught:
        room.dial(path="/forbidden")
    assert caught.value.response.status_code == 403
    assert caught.value.response.body == b"not you\n"
    with room.lb.connect(service="web") as client:
        for _ in range(2):
            client.send(HANDSHAKE.format(path="/forbidden").encode())
            refused = client.response()
            assert (refused.status, refused.body) == (403, b"not you\n")
            assert client.ask("/plain").body == b"plain\n"
        client.send(HANDSHAKE.format(path="/").encode())
        assert client.response().status == 101


def test_a_frame_right_behind_the_request_reaches_the_server(room: Room) -> None:
    masked = b"\x81\x85\0\0\0\0"  # text of 5 bytes, and a mask that changes none
    with room.lb.connect(service="web") as client:
        client.send(HANDSHAKE.format(path="/").encode() + masked + b"early")
        head = client.response()
        assert (head.status, head.get("Sec-WebSocket-Accept")) == (101, ACCEPT)
        assert client.exactly(7) == b"\x81\x05early"


def test_a_frame_right_behind_the_101_reaches_the_client(room: Room) -> None:
    def script(wire: Wire) -> None:
        protocol = ServerProtocol()
        protocol.receive_data(wire.head().head)
        (request,) = protocol.events_received()
        protocol.send_response(protocol.accept(request))
        protocol.send_text(b"in the same packet")
        wire.send(b"".join(protocol.data_to_send()))
        wire.rest()

    room.origin.script = script
    with room.dial("scripted") as client:
        assert client.recv(PATIENCE) == "in the same packet"
        # This server does not know how to part.
        client.socket.shutdown(socket.SHUT_RDWR)


def test_a_server_that_vanishes_is_missed_by_the_client(room: Room) -> None:
    def handler(peer: ServerConnection) -> None:
        peer.send("whole")
        peer.socket.sendall(b"\x82\x7e\x03\xe8" + bytes(10))  # 10 bytes of 1000
        peer.socket.shutdown(socket.SHUT_RDWR)

    room.server.plays(handler)
    with room.dial() as client:
        assert client.recv(PATIENCE) == "whole"
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(PATIENCE)
        assert caught.value.rcvd is None


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_vanishes_is_missed_by_the_server(room: Room, how: str) -> None:
    endings = room.server.plays(echo)
    with room.lb.connect(service="web") as client:
        client.send(HANDSHAKE.format(path="/").encode())
        assert client.response().status == 101
        client.send(b"\x82\xfe\x03\xe8" + bytes(14))  # 10 bytes of 1000
        getattr(client, how)()
        assert endings.get(timeout=PATIENCE) is None


def test_fifty_at_once(room: Room) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(room.dial()) for _ in range(50)]
        for number, client in enumerate(clients):
            client.send(f"first {number}")
        for number, client in enumerate(clients):
            client.send(f"second {number}")
        for number, client in enumerate(clients):
            assert client.recv(PATIENCE) == f"first {number}"
            assert client.recv(PATIENCE) == f"second {number}"


def test_through_tls(room: Room, authority: Authority) -> None:
    with room.dial("tls", ssl=client_context(authority)) as client:
        for message in ("secret", NOISE):
            client.send(message)
            assert client.recv(PATIENCE) == message
        client.close(4001, "enough")


def test_a_silent_tunnel_ends(room: Room) -> None:
    endings = room.server.plays(echo)
    with room.dial("brief") as client:
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(PATIENCE)
        assert caught.value.rcvd is None
    assert endings.get(timeout=PATIENCE) is None
