"""A graceful stop, seen from clients in every state."""

from __future__ import annotations

import pytest

from lbproto.testing.sim import Sim
from tests.scenario.world import GET, OK, SWITCHED, WEBSOCKET, answers, bare

pytestmark = pytest.mark.usefixtures("every_framing")


def test_idle_clients_are_closed_when_the_grace_is_over() -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80", answers)
    fresh, kept = sim.client(), sim.client()
    kept.send(GET)
    sim.drain(grace=5.0)
    sim.advance(4.9)
    assert not fresh.closed
    assert not kept.closed
    sim.advance(0.2)
    assert fresh.closed
    assert kept.closed
    assert all(end.closed for end in backend.connections)


def test_without_grace_idle_clients_are_closed_at_once() -> None:
    sim = Sim(bare())
    client = sim.client()
    sim.drain()
    assert client.closed
    assert not client.reset


def test_a_client_that_speaks_in_the_grace_gets_an_answer_and_a_close() -> None:
    sim = Sim(bare())
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    sim.drain(grace=5.0)
    sim.advance(2.0)
    client.send(GET)
    assert client.received.endswith(b"Connection: close\r\n\r\nOK")
    assert client.closed


def test_a_request_in_flight_is_finished() -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(GET)
    sim.drain()
    sim.advance(30.0)
    backend.connections[0].send(OK)
    assert b"Connection: close\r\n" in client.received
    assert client.received.endswith(b"OK")
    assert client.closed


def test_a_head_that_is_on_its_way_is_waited_for() -> None:
    sim = Sim(bare())
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET[:10])
    sim.drain()
    assert not client.closed
    client.send(GET[10:])
    assert client.received.endswith(b"OK")
    assert client.closed


def test_patience_ends() -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80")
    waiting, streaming, tunnel = sim.client(), sim.client(), sim.client()
    waiting.send(GET)
    streaming.send(GET)
    backend.connections[1].send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1")
    tunnel.send(WEBSOCKET)
    backend.connections[2].send(SWITCHED)
    half = sim.client()
    half.send(b"GET")
    sim.drain(grace=1.0, timeout=5.0)
    sim.advance(5.9)
    assert not any(one.closed for one in (waiting, streaming, tunnel, half))
    sim.advance(0.2)
    assert all(one.closed for one in (waiting, streaming, tunnel, half))
    assert [record.error for record in sim.access] == ["DRAINED"] * 3
    assert all(end.reset for end in backend.connections)


def test_a_refused_client_does_not_linger_beyond_the_end() -> None:
    sim = Sim(bare())
    sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1")
    sim.drain(timeout=61.0)
    sim.advance(60.5)
    assert b"HTTP/1.1 408" in client.received
    assert not client.closed
    sim.advance(0.5)
    assert client.closed


def test_a_client_refused_at_the_very_end_is_closed_at_once() -> None:
    sim = Sim(bare())
    sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    machine = sim.machines[1]
    sim.drain(timeout=10.0)
    # The wake-up comes late, and broken content before it.
    sim.now = 10.0
    client.send(b"garbage\r\n")
    assert b"HTTP/1.1 400" in client.received
    sim.advance(0.0)
    assert client.closed
    assert machine.deadline > sim.now
