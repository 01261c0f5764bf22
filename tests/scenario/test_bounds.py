"""What one client, one address and all of them together may take."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from lbproto.config import HeaderRules, Listen
from lbproto.machine.effects import Log, SetReading, Target
from lbproto.machine.errors import VERDICTS, ErrorCode
from lbproto.machine.events import Opened, PeerInfo
from lbproto.proxy.replies import error_reply
from lbproto.testing.sim import Endpoint, Sim
from tests.scenario.world import GET, OK, POST, SWITCHED, WEBSOCKET, bare

pytestmark = pytest.mark.usefixtures("every_framing")

KIB = 1024
BIG = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n"
HERE = "127.0.0.1:6188"


def answers(end: Endpoint, _: bytes) -> None:
    end.send(OK)


def client_of(sim: Sim, address: str) -> Endpoint:
    return sim.client(peer=PeerInfo(address, 4000, HERE))


# -- our own errors ----------------------------------------------------------


@pytest.mark.parametrize("code", [it for it in ErrorCode if VERDICTS[it].status])
def test_every_error_of_ours_says_why_unless_it_is_told_not_to(code: ErrorCode) -> None:
    service = bare().services[0]
    head, _ = error_reply(code, service, 1, b"now")
    error = VERDICTS[code].proxy_error.encode()
    assert head.headers.get_all(b"proxy-status") == [b"lb; error=" + error]
    head, _ = error_reply(code, replace(service, proxy_status=False), 1, b"now")
    assert b"proxy-status" not in head.headers


@pytest.mark.parametrize(
    ("via", "name"), [(b"edge", b"edge"), (b"*x", b"*x"), (b"1lb", b'"1lb"')]
)
def test_a_pseudonym_is_a_token_or_a_string_of_proxy_status(
    via: bytes, name: bytes
) -> None:
    # RFC 8941 3.3.4: a token begins with a letter or `*`; a field's token need not.
    service = replace(bare().services[0], via=via)
    head, _ = error_reply(ErrorCode.LOOP, service, 1, b"now")
    assert head.headers.get(b"proxy-status") == name + b"; error=proxy_loop_detected"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n", 413),
        (GET, 404),
    ],
)
@pytest.mark.parametrize("on", [True, False])
def test_errors_on_the_wire(request_bytes: bytes, status: int, on: bool) -> None:
    config = bare(limits={"body_size": 10}, proxy_status=on)
    config = replace(config, services=(replace(config.services[0], upstream=None),))
    client = Sim(config).client()
    client.send(request_bytes)
    assert client.received.startswith(b"HTTP/1.1 %d " % status)
    assert (b"\r\nProxy-Status: lb; error=" in client.received) is on


@pytest.mark.parametrize("more", [b"", b"Forwarded: for=6.6.6.6\r\n"])
@pytest.mark.parametrize("removed", [(), (b"forwarded",)])
@pytest.mark.parametrize("via", [None, b"lb"])
def test_backends_are_told_of_clients_in_the_standard_field(
    more: bytes, removed: tuple[bytes, ...], via: bytes | None
) -> None:
    rules = HeaderRules(remove=removed)
    service = replace(bare().services[0], forwarded=True, request_headers=rules)
    sim = Sim(replace(bare(), services=(replace(service, via=via),)))
    backend = sim.backend("10.0.0.1:80")
    sim.client().send(GET.replace(b"\r\n\r\n", b"\r\n" + more + b"\r\n"))
    line = b"Forwarded: for=127.0.0.1;host=a.example;proto=http\r\n"
    assert (line in backend.received) is (not removed)
    assert backend.received.count(b"\r\nForwarded:") == (not removed)


# -- clients that were answered early ----------------------------------------


def test_an_answered_client_is_read_for_so_many_bytes_and_then_left_to_read() -> None:
    sim = Sim(bare(limits={"body_size": 1000}))
    client = sim.client()
    client.send(BIG)
    assert client.received.startswith(b"HTTP/1.1 413")
    assert client.eof
    client.send(b"x" * (63 * KIB))
    assert client.listened
    client.send(b"x" * KIB)
    assert not client.listened
    sim.advance(1.9)
    assert not client.closed
    sim.advance(0.2)
    assert client.closed
    assert not client.reset


def test_how_much_of_an_answered_client_is_dropped_is_a_setting() -> None:
    sim = Sim(bare(limits={"body_size": 1000, "lingering": 1000 * KIB}))
    client = sim.client()
    client.send(BIG + b"x" * (900 * KIB))
    assert client.listened


# -- slow content ------------------------------------------------------------


def drip(sim: Sim, client: Endpoint, seconds: int, count: int) -> None:
    for _ in range(seconds):
        sim.advance(1.0)
        if client.closed:
            return
        client.send(b"x" * count)


def test_content_that_drips_is_a_408() -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(BIG)
    drip(sim, client, 59, 100)
    assert client.received == b""
    sim.advance(1.1)
    assert client.received.startswith(b"HTTP/1.1 408")
    assert backend.connections[0].reset


def test_content_that_is_quick_enough_goes_on_for_ever() -> None:
    sim = Sim(bare())
    sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(BIG)
    drip(sim, client, 1000, 250)
    assert client.received == b""
    sim.advance(41.0)  # 250,000 bytes are worth 1041 seconds
    assert client.received == b""
    sim.advance(1.0)
    assert client.received.startswith(b"HTTP/1.1 408")


def test_the_rate_and_the_grace_are_settings() -> None:
    timeouts = {"request_body_grace": 5.0}
    sim = Sim(bare(limits={"request_body_rate": 10}, timeouts=timeouts))
    sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(BIG)
    drip(sim, client, 20, 15)
    assert client.received == b""
    sim.advance(9.9)
    assert client.received == b""
    sim.advance(0.2)
    assert client.received.startswith(b"HTTP/1.1 408")


def test_a_client_does_not_answer_for_what_was_not_read() -> None:
    sim = Sim(bare(timeouts={"request_body_grace": 1.0, "response_header": 1000.0}))
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(BIG)
    backend.connections[0].pause()
    client.send(b"x" * (70 * KIB))
    assert not client.listened
    sim.advance(500.0)
    backend.connections[0].resume()
    assert client.listened
    sim.advance(50.0)
    assert client.received == b""
    client.send(b"x")
    sim.advance(59.0)
    assert client.received == b""
    sim.advance(1.1)
    assert client.received.startswith(b"HTTP/1.1 408")


def test_time_before_a_100_does_not_count() -> None:
    sim = Sim(bare(timeouts={"request_body_grace": 1.0, "response_header": 1000.0}))
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(BIG.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
    sim.advance(500.0)
    backend.connections[0].send(b"HTTP/1.1 100 Continue\r\n\r\n")
    sim.advance(0.9)
    assert client.received == b"HTTP/1.1 100 Continue\r\n\r\n"
    sim.advance(0.2)
    assert b"HTTP/1.1 408" in client.received


def test_a_client_that_reads_too_slowly_is_cut() -> None:
    # It is told apart by what it leaves unread: from the high-water mark to the low
    # one within `send`, or it is gone. That is a lowest rate, too.
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(GET)
    client.pause()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n"
    backend.connections[0].send(head + b"x" * 200_000)
    for _ in range(59):
        sim.advance(1.0)
        client.resume(100)
    assert not client.closed
    assert client.waiting + len(client.received) < 300_000
    sim.advance(1.1)
    assert client.reset


# -- how long a connection is used -------------------------------------------


def test_the_last_request_of_a_connection_is_told_so() -> None:
    sim = Sim(bare(limits={"requests_per_connection": 3}))
    backend = sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET * 2)
    assert b"Connection: close" not in client.received
    client.send(GET * 2)
    assert client.received.count(b"HTTP/1.1 200") == 3
    assert client.received.count(b"Connection: close") == 1
    assert client.closed
    assert not client.reset
    assert backend.received.count(b"GET /") == 3


def test_connections_carry_a_thousand_requests_unless_told_otherwise() -> None:
    sim = Sim(bare())
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    for _ in range(999):
        client.send(GET)
    assert not client.closed
    client.send(GET)
    assert client.closed
    assert client.received.count(b"HTTP/1.1 200") == 1000
    sim = Sim(bare(limits={"requests_per_connection": None}))
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    for _ in range(1001):
        client.send(GET)
    assert not client.closed


@pytest.mark.parametrize("most", [None, 1000])
def test_without_keep_alive_every_response_is_the_last(most: int | None) -> None:
    limits = {"requests_per_connection": most}
    sim = Sim(bare(limits=limits, timeouts={"keepalive": 0.0}))
    backend = sim.backend("10.0.0.1:80", answers)
    slow, quick = sim.client(), sim.client()
    sim.advance(9.9)
    assert not slow.closed  # it has the time of a head, and not none
    quick.send(GET * 2)
    assert quick.received.count(b"Connection: close\r\n") == 1
    assert quick.closed
    assert not quick.reset
    assert backend.received.count(b"GET /") == 1


def test_a_client_that_was_kept_elsewhere_may_speak_once_more() -> None:
    sim = Sim(bare(timeouts={"keepalive": 0.0}))
    conn = sim.gateway.mint()
    machine = sim.gateway.connection("web", conn)
    machine.handle(Opened(conn, PeerInfo("192.0.2.1", 1, HERE), True), 0.0)
    assert machine.deadline == 10.0


def test_an_old_connection_ends_with_its_next_request() -> None:
    sim = Sim(bare(timeouts={"connection_age": 100.0}))
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    sim.advance(50.0)
    client.send(GET)
    assert b"close" not in client.received
    sim.advance(50.0)
    client.send(GET)
    assert client.received.count(b"Connection: close") == 1
    assert client.closed


def test_the_last_request_may_become_a_tunnel() -> None:
    sim = Sim(bare(limits={"requests_per_connection": 1}))
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(WEBSOCKET)
    backend.connections[0].send(SWITCHED + b"hello")
    client.send(b"there")
    assert client.received.endswith(b"hello")
    assert backend.received.endswith(b"there")


# -- connections of one address ----------------------------------------------


def test_an_address_has_so_many_connections() -> None:
    sim = Sim(bare(limits={"connections_per_address": 2}))
    sim.backend("10.0.0.1:80", answers)
    first, second = client_of(sim, "192.0.2.1"), client_of(sim, "192.0.2.1")
    third, other = client_of(sim, "192.0.2.1"), client_of(sim, "192.0.2.2")
    assert third.closed
    assert not any(client.closed for client in (first, second, other))
    logs = [effect for _, effect in sim.log if isinstance(effect, Log)]
    assert [log.message for log in logs] == ["client refused"]
    assert logs[0].fields["client"] == "192.0.2.1"
    assert logs[0].fields["detail"] == "more than 2 connections of its address"
    first.abort()
    assert not client_of(sim, "192.0.2.1").closed
    second.half_close()
    assert not client_of(sim, "192.0.2.1").closed
    assert client_of(sim, "192.0.2.1").closed


def test_nobody_is_counted_who_is_gone() -> None:
    sim = Sim(bare(limits={"connections_per_address": 2}))
    for _ in range(5):
        client_of(sim, "192.0.2.1").abort()
    assert sim.gateway.sites["web"].crowd == {}


def test_proxies_and_neighbours_are_not_counted() -> None:
    trusted = (ip_network("192.0.2.0/24"),)
    limits = {"connections_per_address": 1}
    sim = Sim(bare(limits=limits, trusted_proxies=trusted))
    for address in ("192.0.2.1", "unix:"):
        clients = [client_of(sim, address) for _ in range(3)]
        assert not any(client.closed for client in clients)


def test_whom_a_proxy_speaks_for_is_counted() -> None:
    trusted = (ip_network("192.0.2.0/24"),)
    limits = {"connections_per_address": 1}
    sim = Sim(bare(limits=limits, trusted_proxies=trusted))
    listen = Listen(target=Target("0.0.0.0", 80), proxy_protocol=True)
    sim.backend("10.0.0.1:80", answers)
    clients = []
    for port in (1, 2):
        client = sim.client(peer=PeerInfo("192.0.2.1", 4000, HERE), listen=listen)
        client.send(b"PROXY TCP4 198.51.100.7 192.0.2.1 %d 80\r\n" % port + GET)
        clients.append(client)
    assert clients[0].received.startswith(b"HTTP/1.1 200")
    assert clients[1].received == b""
    assert clients[1].closed


def test_a_client_that_was_moved_here_is_counted_and_never_refused() -> None:
    sim = Sim(bare(limits={"connections_per_address": 1}))
    site = sim.gateway.sites["web"]
    machines = []
    for _ in range(2):
        conn = sim.gateway.mint()
        machine = sim.gateway.connection("web", conn)
        machines.append(machine)
        effects = machine.handle(Opened(conn, PeerInfo("192.0.2.1", 1, HERE), True), 0)
        assert effects == []
    assert site.crowd == {"192.0.2.1": 2}


# -- the bytes that wait in a worker -----------------------------------------


def small(budget: int) -> Sim:
    sim = Sim(replace(bare(), buffer_budget=budget))
    sim.backend("10.0.0.1:80")
    return sim


def test_at_the_end_of_the_budget_no_content_is_read() -> None:
    sim = small(180 * KIB)
    stock = sim.gateway.sites["web"].stock
    backend = sim.backend("10.0.0.1:80")
    waiting = sim.client()
    waiting.send(BIG)
    clients = [sim.client() for _ in range(3)]
    for client in clients:
        client.send(BIG)
        backend.connections[-1].pause()
        client.send(b"x" * (60 * KIB))
    clients[0].send(b"x" * (60 * KIB))
    assert stock.full
    waiting.send(b"x")
    assert not waiting.listened
    # That is not the client's fault, however long it takes.
    sim.advance(59.0)
    waiting_connection = backend.connections[0]
    before = len(waiting_connection.received)
    waiting.send(b"y" * 1000)
    assert len(waiting_connection.received) == before
    for end in backend.connections:
        end.resume()
    for client in clients:
        client.abort()
    assert not stock.full
    sim.advance(0.2)
    assert waiting.listened
    assert len(waiting_connection.received) == before + 1000
    assert b"408" not in waiting.received


def test_those_who_wait_for_room_do_not_keep_it_from_each_other() -> None:
    sim = small(180 * KIB)
    stock = sim.gateway.sites["web"].stock
    backend = sim.backend("10.0.0.1:80")
    clients = [sim.client() for _ in range(4)]
    for client in clients:
        client.send(BIG)
    for client in clients:
        client.send(b"x" * (45 * KIB))  # sent, and kept for another try
    assert stock.full
    for client in clients:
        client.send(b"x" * (45 * KIB))
    sim.advance(1.0)
    assert not stock.full
    assert all(client.listened for client in clients)
    sizes = [len(end.received) for end in backend.connections]
    assert min(sizes) > 90 * KIB


def test_a_request_may_end_with_a_read_that_slipped_through() -> None:
    sim = Sim(replace(bare(), buffer_budget=60 * KIB), slack=1)
    backend = sim.backend("10.0.0.1:80")
    stock = sim.gateway.sites["web"].stock
    client = sim.client()
    client.send(POST[:-5])
    stock.move(60 * KIB)
    client.send(POST[-5:-2])
    assert not client.listened
    client.send(POST[-2:])
    backend.connections[0].send(OK)
    assert client.received.startswith(b"HTTP/1.1 200")
    sim.advance(1.0)
    client.send(GET)
    backend.connections[0].send(OK)
    assert client.received.count(b"HTTP/1.1 200") == 2


def test_who_needs_no_content_is_served_at_the_end_of_the_budget() -> None:
    sim = small(60 * KIB)
    backend = sim.backend("10.0.0.1:80", answers)
    backend.answer = None
    tunnel = sim.client()
    tunnel.send(WEBSOCKET)
    backend.connections[0].send(SWITCHED)
    busy, hog = sim.client(), sim.client()
    busy.send(GET)
    backend.connections[1].send(OK)
    hog.send(BIG + b"x" * (61 * KIB))
    assert sim.gateway.sites["web"].stock.full
    busy.send(GET)
    answers(backend.connections[-1], GET)
    assert busy.received.count(b"HTTP/1.1 200") == 2
    tunnel.send(b"through")
    assert backend.received.count(b"through") == 1


def test_near_the_end_of_the_budget_new_clients_get_a_503() -> None:
    sim = small(100 * KIB)
    backend = sim.backend("10.0.0.1:80", answers)
    known = sim.client()
    known.send(GET)
    backend.answer = backend.connections[0].on_data = None
    hog = sim.client()
    hog.send(BIG + b"x" * (50 * KIB))
    more = sim.client()
    more.send(BIG + b"x" * (45 * KIB))
    stock = sim.gateway.sites["web"].stock
    assert stock.scarce
    assert not stock.full
    fresh = sim.client()
    fresh.send(POST)
    assert fresh.received.startswith(b"HTTP/1.1 503")
    assert b"\r\nRetry-After: 1\r\n" in fresh.received
    assert b"\r\nProxy-Status: lb; error=proxy_internal_response\r\n" in fresh.received
    assert fresh.eof
    assert sim.access[-1].error == "OVERLOADED"
    backend.answer = answers
    known.send(GET)
    assert known.received.count(b"HTTP/1.1 200") == 2


def test_nothing_is_counted_of_clients_that_are_gone() -> None:
    sim = small(10_000 * KIB)
    stock = sim.gateway.sites["web"].stock
    for end in ("abort", "half_close"):
        client = sim.client()
        client.send(BIG + b"x" * (50 * KIB))
        assert stock.kept >= 50 * KIB
        getattr(client, end)()
        assert stock.kept == 0


def test_a_peer_that_does_not_keep_up_counts() -> None:
    sim = small(10_000 * KIB)
    stock = sim.gateway.sites["web"].stock
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.pause()
    client.send(GET)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n"
    backend.connections[0].send(head + b"x" * (100 * KIB))
    assert stock.kept == 64 * KIB
    client.resume()
    assert stock.kept == 0
    assert [effect.on for _, effect in sim.log if isinstance(effect, SetReading)] == [
        False,
        True,
    ]
