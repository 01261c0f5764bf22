"""Every deadline, on the virtual clock."""

from __future__ import annotations

import math

import pytest

from lbproto.machine.events import ConnectError
from lbproto.testing.sim import Endpoint, Sim
from tests.scenario.world import (
    GET,
    OK,
    ONE,
    POST,
    TWO,
    answers,
    bare,
    errors,
    status,
)

pytestmark = pytest.mark.usefixtures("every_framing")


BODY = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"
PARTIAL = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"


def alive(end: Endpoint) -> bool:
    return not (end.closed or end.eof)


def test_a_client_that_says_nothing_is_closed_in_silence() -> None:
    sim = Sim(bare())
    client = sim.client()
    sim.advance(9.9)
    assert alive(client)
    sim.advance(0.2)
    assert client.closed
    assert client.received == b""
    assert sim.access == []


def test_a_head_has_ten_seconds_however_it_drips() -> None:
    sim = Sim(bare())
    client = sim.client()
    sim.advance(5.0)
    client.send(b"G")
    for byte in b"ET / HTTP/1.1\r\nHost: a.example":
        sim.advance(0.3)
        client.send(bytes([byte]))
    assert alive(client)
    sim.advance(2.0)
    assert status(client) == 408
    assert b"Connection: close\r\n" in client.received
    assert client.eof
    sim.advance(2.0)
    assert client.closed
    assert sim.access[0].status == 408


def test_an_idle_client_has_the_keepalive_time() -> None:
    sim = Sim(bare(timeouts={"keepalive": 30.0}))
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    for _ in range(3):
        client.send(GET)
        sim.advance(29.0)
    assert alive(client)
    sim.advance(1.1)
    assert client.closed
    assert client.received.count(b"HTTP/1.1 200") == 3


def test_the_next_head_has_its_own_time() -> None:
    sim = Sim(bare())
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET + GET[:10])
    sim.advance(9.9)
    assert client.received == OK.replace(b"\r\n\r\n", DATE + b"\r\n\r\n")
    sim.advance(0.2)
    assert client.received.count(b"HTTP/1.1 408") == 1


DATE = b"\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT"


def test_request_content_may_pause_but_not_stall() -> None:
    sim = Sim(bare(timeouts={"request_body": 10.0, "response_header": 5.0}))
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(BODY)
    for _ in range(5):
        sim.advance(9.0)
        client.send(b"x")
    assert alive(client)
    sim.advance(11.0)
    assert status(client) == 408
    assert backend.connections[0].reset


def test_content_that_waited_for_a_connection_may_not_stall_after_it() -> None:
    sim = Sim(bare())
    sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(BODY.replace(b"100", b"70000") + b"x" * 69_999)
    sim.advance(60.1)
    assert status(client) == 408


def test_a_backend_that_does_not_answer_is_a_504() -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(POST)
    sim.advance(59.9)
    assert client.received == b""
    sim.advance(0.2)
    assert status(client) == 504
    assert alive(client)
    assert backend.connections[0].reset
    assert errors(sim) == ["response_timeout"]


def test_interim_responses_show_that_the_backend_is_alive() -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(GET)
    for _ in range(5):
        sim.advance(50.0)
        backend.connections[0].send(b"HTTP/1.1 102 Processing\r\n\r\n")
    assert client.received.count(b"HTTP/1.1 102") == 5
    sim.advance(61.0)
    assert b"HTTP/1.1 504" in client.received


def test_an_interim_response_in_the_middle_of_a_request_changes_no_deadline() -> None:
    sim = Sim(bare(timeouts={"request_body": 10.0}))
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(BODY)
    backend.connections[0].send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    sim.advance(9.9)
    assert b"HTTP/1.1 408" not in client.received
    sim.advance(0.2)
    assert b"HTTP/1.1 408" in client.received


def test_a_client_that_waits_for_100_is_not_to_blame() -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(BODY.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
    sim.advance(60.1)
    assert status(client) == 504
    # And after the 100 it is the client's turn.
    client = sim.client()
    client.send(BODY.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
    backend.connections[-1].send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert client.received == b"HTTP/1.1 100 Continue\r\n\r\n"
    sim.advance(60.1)
    assert b"HTTP/1.1 408" in client.received


def test_an_upload_that_did_not_wait_for_100_may_take_its_time() -> None:
    sim = Sim(bare(limits={"request_body_rate": 0}))
    sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(BODY.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
    for _ in range(10):
        sim.advance(50.0)
        client.send(b"x")
    assert client.received == b""


def test_a_backend_that_does_not_read_is_a_504() -> None:
    sim = Sim(bare(timeouts={"response_header": 20.0}))
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(BODY.replace(b"100", b"1000000"))
    end = backend.connections[0]
    end.pause()
    client.send(b"x" * 200_000)
    assert end.blocked
    sim.advance(10.0)
    end.resume()
    sim.advance(15.0)
    assert alive(client)
    end.pause()
    client.send(b"x" * 200_000)
    sim.advance(20.1)
    assert status(client) == 504


def test_response_content_may_pause_but_not_stall() -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(GET)
    backend.connections[0].send(PARTIAL)
    for _ in range(3):
        sim.advance(59.0)
        backend.connections[0].send(b"x")
    assert alive(client)
    sim.advance(60.1)
    assert client.closed
    assert b"HTTP/1.1 504" not in client.received
    assert backend.connections[0].reset
    assert sim.access[0].error == "RESPONSE_TIMEOUT"


def test_a_backend_is_not_to_blame_for_a_client_that_does_not_read() -> None:
    sim = Sim(bare(timeouts={"send": 500.0}))
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(GET)
    client.pause()
    backend.connections[0].send(PARTIAL.replace(b"100", b"1000000") + b"x" * 200_000)
    assert client.blocked
    sim.advance(400.0)
    assert not client.closed
    client.resume()
    sim.advance(59.0)
    assert not client.closed
    sim.advance(2.0)
    assert client.closed


def test_a_client_that_does_not_read_is_reset() -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(GET)
    client.pause()
    backend.connections[0].send(PARTIAL.replace(b"100", b"1000000") + b"x" * 200_000)
    sim.advance(59.9)
    assert not client.closed
    sim.advance(0.2)
    assert client.reset
    assert backend.connections[0].reset
    assert sim.access[0].error == "CLIENT_STALLED"


def test_a_stalled_client_without_a_request_is_reset_too() -> None:
    sim = Sim(bare())
    sim.backend("10.0.0.1:80", lambda end, _: end.send(OK.replace(b"2", b"99999", 1)))
    client = sim.client()
    client.pause()
    backend = sim.backend(
        "10.0.0.1:80",
        lambda end, _: end.send(
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + b"x" * 99999
        ),
    )
    client.send(GET)
    assert client.blocked
    assert sim.gateway.balancer.stats().idle + len(backend.connections) > 0
    sim.advance(60.1)
    assert client.reset


def test_an_idle_backend_connection_has_its_time() -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    sim.advance(59.9)
    assert not backend.connections[0].closed
    sim.advance(0.2)
    assert backend.connections[0].closed
    assert sim.gateway.balancer.stats().idle == 0
    client.send(GET)
    assert len(backend.connections) == 2


def test_a_client_that_leaves_while_idle_leaves_nothing() -> None:
    sim = Sim(bare())
    client = sim.client()
    client.abort()
    assert sim.deadline == math.inf
    assert sim.access == []


def test_without_a_deadline_nothing_is_armed() -> None:
    sim = Sim(bare())
    assert sim.deadline == math.inf


@pytest.mark.parametrize("mode", [ConnectError.REFUSED, ConnectError.TIMEOUT])
def test_a_dead_backend_costs_the_client_nothing_but_time(
    mode: ConnectError,
) -> None:
    sim = Sim(bare(backends=(ONE, TWO)))
    dead = sim.backend("10.0.0.1:80")
    dead.mode = mode
    sim.backend("10.0.0.2:80", answers)
    for _ in range(6):
        client = sim.client()
        client.send(GET)
        sim.advance(5.0)
        assert status(client) == 200


def test_a_backend_that_refused_rests_for_a_second() -> None:
    sim = Sim(bare(backends=(ONE, TWO)))
    sim.backend("10.0.0.2:80", answers)
    client = sim.client()
    tries = []
    for _ in range(4):
        client.send(GET)
        tries.append(sim.access[-1].tries)
    assert tries == [2, 1, 1, 1]
    sim.advance(1.0)
    client.send(GET)
    client.send(GET)
    assert sorted(record.tries for record in sim.access[-2:]) == [1, 2]


def test_nobody_waits_for_the_content_of_a_request_that_was_answered() -> None:
    sim = Sim(bare(backends=()))
    client = sim.client()
    client.send(BODY + b"x")
    assert status(client) == 503
    sim.advance(1000.0)
    assert client.closed
    assert [record.status for record in sim.access] == [503]
