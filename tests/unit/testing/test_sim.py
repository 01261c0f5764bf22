from __future__ import annotations

import pytest

from lbproto.machine.effects import Send
from lbproto.machine.events import ConnectError
from lbproto.machine.values import ConnId
from lbproto.testing.sim import FixedEnv, Sim
from tests.scenario.world import GET, OK, answers, bare, status


def test_a_backend_may_refuse_in_any_way() -> None:
    sim = Sim(bare())
    sim.backend("10.0.0.1:80").mode = ConnectError.DNS
    client = sim.client()
    client.send(GET)
    assert status(client) == 502


def test_what_is_on_its_way_makes_an_idle_connection_stale() -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    backend.connections[0].gone = True  # closed; its FIN has not come yet
    client.send(GET)
    assert client.received.count(b"200 OK") == 2
    assert len(backend.connections) == 2


def test_a_read_may_slip_through_after_a_pause() -> None:
    for slack in (0, 1):
        sim = Sim(bare(), slack=slack)
        backend = sim.backend("10.0.0.1:80")
        client = sim.client()
        client.send(GET)
        client.pause()
        end = backend.connections[0]
        end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n")
        end.send(b"x" * 400_000)
        reads = 400_000 // 65536 + 1
        assert len(end.inbox) == reads - 1 - slack


def test_an_unread_client_is_reset_all_the_same() -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(GET)
    client.pause()
    end = backend.connections[0]
    end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n")
    end.send(b"x" * 400_000)
    end.abort()
    assert client.closed
    assert end.closed


def test_the_same_script_gives_the_same_effects() -> None:
    logs = []
    for _ in range(2):
        sim = Sim(bare())
        sim.backend("10.0.0.1:80", answers)
        client = sim.client()
        client.send(GET)
        sim.advance(100.0)
        logs.append(sim.log)
    assert logs[0] == logs[1]


def test_the_simulator_checks_what_runtimes_rely_on() -> None:
    sim = Sim(bare())
    client = sim.client()
    with pytest.raises(AssertionError, match="unknown connection"):
        sim._perform(sim.machines[1], [Send(ConnId(99), b"x")])
    with pytest.raises(AssertionError, match="empty Send"):
        sim._perform(sim.machines[1], [Send(client.conn, b"")])
    client.send(b"GET / HTTP/9.9\r\n")
    assert client.eof
    with pytest.raises(AssertionError, match="after HalfClose"):
        sim._perform(sim.machines[1], [Send(client.conn, b"x")])


def test_partial_reads_keep_the_order() -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(GET)
    client.pause()
    backend.connections[0].send(OK)
    client.resume(limit=8)
    assert client.received == b"HTTP/1.1"
    client.resume()
    assert client.received.endswith(b"OK")


def test_chance_repeats_itself_and_is_even() -> None:
    one, same, other = FixedEnv(7), FixedEnv(7), FixedEnv(8)
    drawn = [one.random() for _ in range(2000)]
    assert drawn == [same.random() for _ in range(2000)]
    assert drawn[:5] != [other.random() for _ in range(5)]
    assert all(0.0 <= number < 1.0 for number in drawn)
    assert 0.4 < sum(drawn) / len(drawn) < 0.6
