"""WebSocket through the balancer, with the `websockets` package on both sides."""

from __future__ import annotations

import contextlib
import http
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.runtimes.fixtures import LbFactory
from tests.runtimes.process import Lb
from tests.runtimes.secured import authority, client_context, listens
from tests.runtimes.wire import PATIENCE

pytest.importorskip("websockets")

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import Server, ServerConnection, serve

__all__ = ["authority"]

MIB = 1024 * 1024

Handler = Callable[[ServerConnection], None]
Backends = Callable[..., str]


@pytest.fixture
def backend() -> Iterator[Backends]:
    """Start WebSocket servers, and return their addresses."""
    servers: list[tuple[Server, threading.Thread]] = []

    def launch(handler: Handler, **keys: Any) -> str:
        server = serve(handler, "127.0.0.1", 0, max_size=None, **keys)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"127.0.0.1:{server.socket.getsockname()[1]}"

    yield launch
    for server, thread in servers:
        server.shutdown()
        thread.join(PATIENCE)


def echo(socket: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        for message in socket:
            socket.send(message)


def dial(lb: Lb, path: str = "/", **keys: Any) -> ClientConnection:
    settings = {"max_size": None, "proxy": None, "open_timeout": PATIENCE, **keys}
    return connect(f"ws://{lb.address()}{path}", **settings)


def test_messages_of_every_kind_and_size(lb: LbFactory, backend: Backends) -> None:
    one = lb(backend(echo))
    with dial(one) as client:
        for message in ("text", "grüße", b"binary", "", b"", "x" * MIB, bytes(MIB)):
            client.send(message)
            assert client.recv(PATIENCE) == message
        for number in range(200):
            client.send(str(number))
        assert [client.recv(PATIENCE) for _ in range(200)] == list(map(str, range(200)))
        assert client.ping().wait(PATIENCE)


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, "bye"), (4000, "mine")]
)
def test_close_codes_pass_both_ways(
    lb: LbFactory, backend: Backends, code: int, reason: str
) -> None:
    seen: list[tuple[int, str]] = []
    over = threading.Event()

    def handler(socket: ServerConnection) -> None:
        if socket.request is not None and socket.request.path == "/you":
            socket.close(code, reason)
            return
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(PATIENCE)
        if closed.value.rcvd is not None:
            seen.append((closed.value.rcvd.code, closed.value.rcvd.reason))
        over.set()

    one = lb(backend(handler))
    with dial(one, "/me") as client:
        client.close(code, reason)
    assert over.wait(PATIENCE)
    assert seen == [(code, reason)]
    with dial(one, "/you") as client:
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(PATIENCE)
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (code, reason)


def test_what_both_sides_agree_on_passes(lb: LbFactory, backend: Backends) -> None:
    one = lb(backend(echo, subprotocols=["chat"]))
    with dial(one, subprotocols=["other", "chat"]) as client:
        assert client.subprotocol == "chat"
        extensions = [type(it).__name__ for it in client.protocol.extensions]
        assert extensions == ["PerMessageDeflate"]
        client.send("squeeze " * 1000)
        assert client.recv(PATIENCE) == "squeeze " * 1000


def test_a_greeting_arrives_though_nobody_asked(
    lb: LbFactory, backend: Backends
) -> None:
    def handler(socket: ServerConnection) -> None:
        socket.send("welcome")
        echo(socket)

    with dial(lb(backend(handler))) as client:
        assert client.recv(PATIENCE) == "welcome"


def test_a_handshake_that_is_refused_is_plain_http(
    lb: LbFactory, backend: Backends
) -> None:
    def refuse(socket: ServerConnection, request: Any) -> Any:
        return socket.respond(http.HTTPStatus.FORBIDDEN, "not you\n")

    one = lb(backend(echo, process_request=refuse))
    with pytest.raises(InvalidStatus) as caught:
        dial(one)
    assert caught.value.response.status_code == 403
    assert caught.value.response.body == b"not you\n"


def test_whoever_vanishes_is_missed_on_the_other_side(
    lb: LbFactory, backend: Backends
) -> None:
    gone = threading.Event()

    def handler(socket: ServerConnection) -> None:
        if socket.request is not None and socket.request.path == "/vanish":
            socket.socket.close()
            return
        try:
            socket.recv(PATIENCE)
        except ConnectionClosed:
            gone.set()

    one = lb(backend(handler))
    with dial(one, "/vanish") as client, pytest.raises(ConnectionClosed):
        client.recv(PATIENCE)
    client = dial(one)
    client.socket.close()
    assert gone.wait(PATIENCE)


def test_many_at_once(lb: LbFactory, backend: Backends) -> None:
    one = lb(backend(echo))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(dial(one)) for _ in range(30)]
        for number, client in enumerate(clients):
            client.send(str(number))
        got = [client.recv(PATIENCE) for client in clients]
    assert got == list(map(str, range(30)))


def test_through_tls(lb: LbFactory, backend: Backends, authority: Any) -> None:
    one = lb(backend(echo), listen=listens(authority.issue("localhost")))
    port = one.address().rpartition(":")[2]
    context = client_context(authority)
    with connect(f"wss://localhost:{port}/", ssl=context, proxy=None) as client:
        client.send(bytes(MIB // 2))
        assert client.recv(PATIENCE) == bytes(MIB // 2)


def test_a_silent_tunnel_ends(lb: LbFactory, backend: Backends) -> None:
    one = lb(backend(echo), timeouts={"tunnel": "200ms"})
    with dial(one, ping_interval=None) as client, pytest.raises(ConnectionClosed):
        client.recv(PATIENCE)
