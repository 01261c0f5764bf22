"""Upgraded connections: bytes both ways after a 101, and not before."""

from __future__ import annotations

import threading

import pytest

from tests.runtimes.bulk import BLOCK, MIB, Sink, digest
from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import OK, Recorder, answers, reply
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


def test_behind_a_declined_upgrade_come_requests_and_nothing_raw(
    lb: LbFactory, origin: OriginFactory
) -> None:
    recorder = Recorder()
    backend = origin(recorder)
    with lb(backend).connect() as client:
        client.send(ASK + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.response().status == 200
        assert client.response().status == 200
        client.send(ASK + b"\x81\x85 a frame\r\n\r\n")
        assert client.response().status == 200
        assert client.response().status == 400
        assert client.ended()
    offers = [request.get("Upgrade") for request in recorder.requests]
    assert offers == [b"websocket", None, b"websocket"]
    assert all(request.get("X-Forwarded-For") for request in recorder.requests)
    assert b"a frame" not in backend.received


def upgrading(value: str, *, option: str = "upgrade", version: str = "1.1") -> bytes:
    """Ask for an upgrade."""
    lines = [f"GET / HTTP/{version}", "Host: a"]
    lines += [f"Connection: {option}", f"Upgrade: {value}"]
    return "\r\n".join([*lines, "", ""]).encode()


def switch_to(*fields: str) -> bytes:
    lines = ["HTTP/1.1 101 Switching Protocols", *fields, "", ""]
    return "\r\n".join(lines).encode()


def test_a_101_that_was_not_asked_for_is_a_502_and_no_tunnel(
    lb: LbFactory, origin: OriginFactory
) -> None:
    plain = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    cases = [
        (plain, SWITCH),
        (plain, switch_to()),
        (ASK, switch_to("Connection: upgrade")),
        (ASK, switch_to("Connection: upgrade", "Upgrade: foo")),
        (ASK, switch_to("Connection: upgrade", "Upgrade: websocket, foo")),
        (upgrading("foo"), SWITCH),  # not ours to offer, so it was not
    ]
    responses: list[bytes] = []
    broken: list[bool] = []

    def script(wire: Wire) -> None:
        wire.head()
        wire.send(responses[-1])
        # The next request needs another connection: nobody knows what this one is.
        broken.append(wire.was_reset() or wire.ahead == b"")

    backend = origin(script)
    one = lb(backend)
    with one.connect() as client:
        for request, response in cases:
            responses.append(response + b"raw")
            client.send(request)
            got = client.response()
            assert got.status == 502
            assert b"http_upgrade_failed" in (got.get("Proxy-Status") or b"")
            assert got.get("Connection") is None
        assert client.silent()
        assert b"raw" not in client.received
        failed = [line for line in one.lines if "exchange failed" in line]
        assert ["upgrade_failed" in line for line in failed] == [True] * len(cases)
        responses.append(OK)
        client.get()
        assert client.response().body == b"OK"
    assert backend.accepted == len(cases) + 1
    backend.close()
    assert broken == [True] * (len(cases) + 1)


def test_a_protocol_that_is_not_allowed_is_not_offered(
    lb: LbFactory, origin: OriginFactory
) -> None:
    backend = origin()
    with lb(backend, upgrades=[]).connect() as client:
        client.send(ASK)
        assert client.response().status == 200
    assert b"Upgrade" not in backend.received


def test_what_is_no_whole_offer_is_none(lb: LbFactory, origin: OriginFactory) -> None:
    backend = origin()
    with lb(backend).connect() as client:
        for request in (
            upgrading("foo"),
            upgrading("websocket, foo"),  # the backend might choose the other one
            upgrading("websocket", option="keep-alive"),
            upgrading("websocket", version="1.0"),
        ):
            client.send(request)
            assert client.response().body == b"OK"
        assert client.ended()
    assert b"upgrade" not in backend.received.lower()


def test_where_all_protocols_are_allowed_h2c_is_not(
    lb: LbFactory, origin: OriginFactory
) -> None:
    def script(wire: Wire) -> None:
        while True:
            head = wire.request()
            if head.get("Upgrade") is None:
                wire.send(OK)
                continue
            assert head.get("Upgrade") == b"bar/2, foo"
            wire.send(switch_to("Connection: upgrade", "Upgrade: Foo"))
            wire.send(wire.exactly(4))

    backend = origin(script)
    one = lb(backend, upgrades=["*"])
    with one.connect() as client:
        for offer in ("h2c", "H2C", "foo, h2c", "h2c,foo"):
            option = "Upgrade, HTTP2-Settings"
            settings = b"\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
            request = upgrading(offer, option=option)
            client.send(request.replace(b"\r\n\r\n", settings))
            assert client.response().body == b"OK"
        assert b"upgrade" not in backend.received.lower()
        assert b"HTTP2-Settings" not in backend.received
        # The connection is as good as any, for an offer that may be made, too.
        client.send(upgrading("bar/2, foo") + b"ping")
        head = client.response()
        assert (head.status, head.get("Upgrade")) == (101, b"Foo")
        assert client.exactly(4) == b"ping"


@pytest.mark.parametrize("upgrades", [["websocket"], ["*"]])
def test_connect_and_trace_are_refused_unseen_by_any_backend(
    lb: LbFactory, origin: OriginFactory, upgrades: list[str]
) -> None:
    backend = origin()
    one = lb(backend, upgrades=upgrades)
    for start in (
        "CONNECT b.example:443 HTTP/1.1",
        "CONNECT b.example:443 HTTP/1.0",
        "TRACE / HTTP/1.1",
    ):
        with one.connect() as client:
            secret = "Cookie: secret=1\r\nMax-Forwards: 0"
            client.send(f"{start}\r\nHost: b.example:443\r\n{secret}\r\n\r\n".encode())
            response = client.response()
            assert response.status == 405
            assert response.get("Allow") is not None
            assert response.get("Connection") == b"close"
            client.send(b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.ended()
            assert b"secret" not in client.received
    assert backend.accepted == 0


def stalled(wire: Wire, size: int) -> int:
    """Send until the other side takes no more; return how much it took."""
    sent = 0
    wire.sock.settimeout(0.3)
    try:
        while sent < size:
            sent += wire.sock.send(BLOCK[sent % len(BLOCK) :][: size - sent])
    except TimeoutError:
        pass
    wire.sock.settimeout(PATIENCE)
    return sent


def test_sides_that_do_not_read_stop_the_other_and_fill_no_memory(
    lb: LbFactory, origin: OriginFactory
) -> None:
    size = 192 * MIB
    both_stalled = threading.Barrier(2)
    taken: list[int] = []
    sums: list[str] = []

    def flood(wire: Wire) -> None:
        sent = stalled(wire, size)
        taken.append(sent)
        both_stalled.wait(PATIENCE)

        def finish() -> None:
            left = sent
            while left < size:
                left += wire.sock.send(BLOCK[left % len(BLOCK) :][: size - left])

        sending = threading.Thread(target=finish, daemon=True)
        sending.start()
        sums.append(Sink().counted(wire, size))
        sending.join(PATIENCE)

    def script(wire: Wire) -> None:
        wire.head()
        wire.send(SWITCH)
        flood(wire)

    one = lb(origin(script))
    with one.connect() as client:
        client.send(ASK)
        assert client.response().status == 101
        flood(client)
        client.end()
        assert client.ended()
    assert sums == [digest(size)] * 2
    assert max(taken) < size
    assert one.peak_memory() < 100 * MIB


def test_a_silent_tunnel_is_closed(lb: LbFactory, origin: OriginFactory) -> None:
    heard: list[bytes] = []
    done = threading.Event()

    def script(wire: Wire) -> None:
        wire.head()
        wire.send(SWITCH + b"welcome")
        heard.append(wire.rest())
        done.set()

    with lb(origin(script), timeouts={"tunnel": 0.2}).connect() as client:
        client.send(ASK)
        assert client.response().status == 101
        assert client.rest() == b"welcome"
        assert done.wait(PATIENCE)  # while the client is still there
    assert heard == [b""]
