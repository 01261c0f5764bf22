"""Upgraded connections: bytes both ways after a 101, and not before."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.runtimes.bulk import BLOCK, MIB, Sink, digest
from tests.runtimes.fixtures import RUNTIMES, LbFactory, OriginFactory
from tests.runtimes.origins import OK, Origin, Recorder, Script, answers, reply
from tests.runtimes.process import Lb, settings
from tests.runtimes.wire import PATIENCE, Wire

ASK = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
GET = b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n"
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\n\r\n"
)
SERVICES = {
    "web": {},
    "none": {"upgrades": []},
    "any": {"upgrades": ["*"]},
    "brief": {"timeouts": {"tunnel": 0.2}},
}


class Served:
    """One balancer for all tests of a runtime; its backend plays what each says."""

    def __init__(self, lb: Lb, origin: Origin) -> None:
        self.lb = lb
        self.origin = origin
        self._accepted = 0

    def client(self, script: Script, service: str = "web") -> Wire:
        """Connect to a service; connections to the backend play this from now on."""
        self.origin.script = script
        self._accepted = self.origin.accepted
        return self.lb.connect(service=service)

    @property
    def backends(self) -> list[Wire]:
        """The connections to the backend since."""
        return self.origin.wires[self._accepted :]

    @property
    def received(self) -> bytes:
        """What the backend has got since."""
        return b"".join(wire.received for wire in self.backends)

    def failures(self, word: str) -> list[str]:
        """Log lines about failures; those of other tests are among them."""
        lines = self.lb.lines
        return [one for one in lines if "exchange failed" in one and word in one]

    def check(self) -> None:
        """Fail if something went wrong in the backend."""
        errors, self.origin.errors = self.origin.errors, []
        assert not errors, errors


@pytest.fixture(scope="module", params=RUNTIMES)
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    if request.param in ("uvloop", "gevent"):
        pytest.importorskip(request.param)
    origin = Origin(answers(OK))
    # Without a pool each connection to the backend belongs to one test.
    wanted = {"upstream_keepalive_pool_size": 0, "services": []}
    for name, keys in SERVICES.items():
        (service,) = settings(origin.address, name=name, **keys)["services"]
        wanted["services"].append(service)
    lb = Lb(request.param, tmp_path_factory.mktemp("lb") / "conf.yaml", wanted)
    served = Served(lb, origin)
    try:
        yield served
        lb.finish()
    finally:
        origin.close()
    served.check()


@pytest.fixture
def served(shared: Served) -> Iterator[Served]:
    yield shared
    shared.check()


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


def offer(value: str, *, option: str = "upgrade", version: str = "1.1") -> bytes:
    """Ask for an upgrade."""
    lines = [f"GET / HTTP/{version}", "Host: a"]
    lines += [f"Connection: {option}", f"Upgrade: {value}"]
    return "\r\n".join([*lines, "", ""]).encode()


def switch(*fields: str) -> bytes:
    lines = ["HTTP/1.1 101 Switching Protocols", *fields, "", ""]
    return "\r\n".join(lines).encode()


# -- bytes -------------------------------------------------------------------------


def test_bytes_pass_both_ways_after_a_101(served: Served) -> None:
    with served.client(echo) as client:
        client.send(ASK)
        head = client.response()
        assert head.status == 101
        assert head.get("Upgrade") == b"websocket"
        assert client.exactly(7) == b"welcome"
        for n in range(20):
            client.send(b"ping %02d" % n)
            assert client.exactly(7) == b"ping %02d" % n


def test_bytes_sent_right_behind_the_request_reach_the_tunnel(served: Served) -> None:
    with served.client(echo) as client:
        client.send(ASK + b"early")
        assert client.response().status == 101
        assert client.exactly(12) == b"welcomeearly"


def test_much_passes_through_a_tunnel_both_ways_at_once(served: Served) -> None:
    size = 8 * MIB
    with served.client(echo) as client:
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


def stall(wire: Wire, size: int) -> int:
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


def test_sides_that_do_not_read_stop_each_other_and_fill_no_memory(
    served: Served,
) -> None:
    size = 192 * MIB
    both_stalled = threading.Barrier(2)
    taken: list[int] = []
    sums: list[str] = []

    def flood(wire: Wire) -> None:
        sent = stall(wire, size)
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

    with served.client(script) as client:
        client.send(ASK)
        assert client.response().status == 101
        flood(client)
        client.end()
        assert client.ended()
    assert max(taken) < size  # what the kernel and we hold is bounded
    assert sums == [digest(size)] * 2
    assert served.lb.peak_memory() < 100 * MIB


# -- ends --------------------------------------------------------------------------


def test_a_tunnel_half_closes(served: Served) -> None:
    with served.client(echo) as client:
        client.send(ASK)
        assert client.response().status == 101
        client.send(b"last words")
        client.end()
        assert client.rest() == b"welcomelast wordsbye"


def test_a_backend_that_half_closes_still_hears_the_client(served: Served) -> None:
    heard = []
    done = threading.Event()

    def script(wire: Wire) -> None:
        wire.head()
        wire.send(SWITCH)
        wire.end()
        heard.append(wire.rest())
        done.set()

    with served.client(script) as client:
        client.send(ASK)
        assert client.response().status == 101
        assert client.ended()
        client.send(b"I am still here")
        client.end()
        assert done.wait(PATIENCE)
    assert heard == [b"I am still here"]


def test_a_tunnel_that_a_backend_resets_ends_for_the_client(served: Served) -> None:
    def script(wire: Wire) -> None:
        wire.head()
        wire.send(SWITCH + b"half a mess")
        wire.until(b"go")
        wire.reset()

    with served.client(script) as client:
        client.send(ASK)
        assert client.response().status == 101
        assert client.until(b"mess") == b"half a mess"
        client.send(b"go")
        assert client.ended()


def test_a_tunnel_that_a_client_resets_ends_for_the_backend(served: Served) -> None:
    done = threading.Event()

    def script(wire: Wire) -> None:
        wire.head()
        wire.send(SWITCH)
        wire.until(b"hello")
        wire.rest()
        done.set()

    with served.client(script) as client:
        client.send(ASK + b"hello")
        assert client.response().status == 101
        client.reset()
        assert done.wait(PATIENCE)


def test_a_silent_tunnel_is_closed_on_both_sides(served: Served) -> None:
    heard: list[bytes] = []
    done = threading.Event()

    def script(wire: Wire) -> None:
        wire.head()
        wire.send(SWITCH + b"welcome")
        heard.append(wire.rest())
        done.set()

    with served.client(script, "brief") as client:
        client.send(ASK)
        assert client.response().status == 101
        assert client.rest() == b"welcome"
        assert done.wait(PATIENCE)  # while the client is still there
    assert heard == [b""]
    assert served.failures("service=brief") == []


# -- without a tunnel --------------------------------------------------------------


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
    served: Served,
) -> None:
    recorder = Recorder()
    with served.client(recorder) as client:
        client.send(ASK + GET)
        assert client.response().status == 200
        assert client.response().status == 200
        client.send(ASK + b"\x81\x85 a frame\r\n\r\n")
        assert client.response().status == 200
        assert client.response().status == 400
        assert client.ended()
    offers = [request.get("Upgrade") for request in recorder.requests]
    assert offers == [b"websocket", None, b"websocket"]
    assert all(request.get("X-Forwarded-For") for request in recorder.requests)
    assert b"a frame" not in served.received


def test_a_101_that_nobody_asked_for_is_a_502_and_no_tunnel(served: Served) -> None:
    cases = [
        (GET, SWITCH),
        (GET, switch()),
        (ASK, switch("Connection: upgrade")),
        (ASK, switch("Connection: upgrade", "Upgrade: foo")),
        (ASK, switch("Connection: upgrade", "Upgrade: websocket, foo")),
        (offer("foo"), SWITCH),  # not for us to pass on, so nobody offered it
    ]
    responses = [response + b"raw" for _, response in cases]

    def script(wire: Wire) -> None:
        wire.head()
        if responses:
            wire.send(responses.pop(0))
            assert wire.was_reset()
        else:
            wire.send(OK)

    with served.client(script) as client:
        for request, _ in cases:
            client.send(request)
            response = client.response()
            assert response.status == 502
            assert b"http_upgrade_failed" in (response.get("Proxy-Status") or b"")
            assert response.get("Connection") is None
            assert client.silent()
        # The client is not to blame: its connection is as good as before.
        assert client.ask().body == b"OK"
        assert b"raw" not in client.received
    told = "error=upgrade_failed"  # by nothing else here
    served.lb.wait_until(lambda: len(served.failures(told)) >= len(cases))
    assert len(served.failures(told)) == len(cases)


def test_a_protocol_that_is_not_allowed_is_not_offered(served: Served) -> None:
    with served.client(answers(OK), "none") as client:
        client.send(ASK)
        assert client.response().status == 200
    assert b"Upgrade" not in served.received


def test_what_is_no_whole_offer_is_none(served: Served) -> None:
    with served.client(answers(OK)) as client:
        for request in (
            offer("foo"),
            offer("websocket, foo"),  # the backend might choose the other one
            offer("websocket", option="keep-alive"),
            offer("websocket", version="1.0"),
        ):
            client.send(request)
            assert client.response().body == b"OK"
        assert client.ended()
    assert len(served.backends) == 4
    assert b"upgrade" not in served.received.lower()


def test_where_all_protocols_are_allowed_h2c_is_not(served: Served) -> None:
    http2 = b"\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    offers = ("h2c", "H2C", "foo, h2c", "h2c,foo")

    def script(wire: Wire) -> None:
        head = wire.request()
        if head.get("Upgrade") is None:
            wire.send(OK)
            return
        assert head.get("Upgrade") == b"bar/2, foo"
        wire.send(switch("Connection: upgrade", "Upgrade: Foo"))
        wire.send(wire.exactly(4))

    with served.client(script, "any") as client:
        for protocols in offers:
            request = offer(protocols, option="Upgrade, HTTP2-Settings")
            client.send(request.replace(b"\r\n\r\n", http2))
            assert client.response().body == b"OK"
        assert b"upgrade" not in served.received.lower()
        assert b"HTTP2-Settings" not in served.received
        # The connection is good for any other request, and for a tunnel too.
        client.send(offer("bar/2, foo") + b"ping")
        head = client.response()
        assert (head.status, head.get("Upgrade")) == (101, b"Foo")
        assert client.exactly(4) == b"ping"


@pytest.mark.parametrize(
    "start", ["CONNECT b:443 HTTP/1.1", "CONNECT b:443 HTTP/1.0", "TRACE / HTTP/1.1"]
)
def test_connect_and_trace_are_refused_and_no_backend_hears_of_it(
    served: Served, start: str
) -> None:
    with served.client(answers(OK), "any") as client:
        client.send(f"{start}\r\nHost: b:443\r\nCookie: secret\r\n\r\n".encode())
        response = client.response()
        assert response.status == 405
        assert response.get("Allow") is not None
        assert response.get("Connection") == b"close"
        client.send(GET)
        assert client.ended()
        assert b"secret" not in client.received
    assert served.backends == []
