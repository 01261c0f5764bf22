"""Health checks under a virtual clock: probes, schedules, and who gets requests."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproto.config import Backend, Config, HealthCheck, Upstream
from lbproto.health.monitor import HealthMonitor, Report
from lbproto.health.preface import LOCAL
from lbproto.machine.effects import Connect, Level, Log, Target
from lbproto.machine.events import ConnectError, Drain, Wake, WriteBlocked
from lbproto.machine.tls import ClientTls
from lbproto.processes.bulletin import Follower, health_messages
from lbproto.testing.sim import Endpoint, FixedEnv, Sim, SimBackend
from tests.scenario.world import GET, OK, ONE, TWO, answers, config, status

FIRST, SECOND = "10.0.0.1:80", "10.0.0.2:80"


class World:
    """A balancer, the monitor of its backends, and what the latter reports."""

    def __init__(self, backends: tuple[Target, ...] = (ONE,), **check: Any) -> None:
        self.sim = Sim(with_check(config(backends), **check))
        self.monitor = HealthMonitor(FixedEnv(), self.sim.gateway.mint)
        self.sim.machines.append(self.monitor)
        self.monitor.watch(self.upstreams())
        self.reports: list[Report] = []

    def upstreams(self, **changes: Any) -> list[Upstream]:
        web = self.sim.gateway.config.upstreams["web"]
        return [dataclasses.replace(web, **changes)]

    def pass_on(self) -> None:
        for report in self.monitor.take_reports():
            self.reports.append(report)
            follower = Follower(self.sim.gateway.config, self.sim.gateway.balancer)
            for message in health_messages([report]):
                follower.take(message, self.sim.now)

    def advance(self, seconds: float) -> None:
        self.sim.advance(seconds)
        self.pass_on()

    def lines(self) -> list[Log]:
        found = [effect for _, effect in self.sim.log if isinstance(effect, Log)]
        return [line for line in found if line.message.startswith("backend is")]

    def dials(self, address: str = FIRST) -> list[float]:
        return [
            at
            for at, effect in self.sim.log
            if isinstance(effect, Connect) and str(effect.target) == address
        ]

    @property
    def healthy(self) -> list[bool]:
        return list(self.monitor.states().values())

    @property
    def reason(self) -> str:
        return self.reports[-1].reason


def with_check(old: Config, **check: Any) -> Config:
    web = dataclasses.replace(old.upstreams["web"], health_check=HealthCheck(**check))
    return dataclasses.replace(old, upstreams={"web": web})


def half(end: Endpoint, data: bytes) -> None:
    end.send(OK[:-1])


def bad(end: Endpoint, data: bytes) -> None:
    end.send(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")


def closes(end: Endpoint, data: bytes) -> None:
    end.close()


def resets(end: Endpoint, data: bytes) -> None:
    end.abort()


def ask(sim: Sim) -> Endpoint:
    client = sim.client()
    client.send(GET)
    return client


# -- one probe ---------------------------------------------------------------


def test_a_connection_is_enough_for_tcp() -> None:
    world = World()
    backend = world.sim.backend(FIRST)
    world.advance(0.5)
    (probe,) = backend.connections
    assert probe.eof
    assert not probe.reset
    assert probe.received == b""
    assert world.healthy == [True]
    assert world.reports == []


def test_a_request_is_asked_over_http_and_the_connection_is_closed() -> None:
    world = World(type="http", path=b"/healthz")
    backend = world.sim.backend(FIRST, answers)
    world.advance(0.5)
    (probe,) = backend.connections
    assert probe.received.startswith(b"GET /healthz HTTP/1.1\r\nHost: 10.0.0.1:80\r\n")
    assert probe.eof
    assert world.healthy == [True]


def test_a_backend_that_refuses_is_unhealthy_and_the_log_says_why() -> None:
    world = World()
    world.advance(0.5)
    assert world.reports == [Report("web", FIRST, False, "connection refused")]
    (line,) = world.lines()
    assert line == Log(
        Level.WARNING,
        "backend is unhealthy",
        {"upstream": "web", "backend": FIRST, "reason": "connection refused"},
    )


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (ConnectError.DNS, "name not resolved"),
        (ConnectError.TLS, "TLS handshake failed"),
        (ConnectError.TIMEOUT, "no connection within 1s"),
    ],
)
def test_the_reason_of_a_dial_that_fails(mode: ConnectError, reason: str) -> None:
    world = World()
    world.sim.backend(FIRST).mode = mode
    world.advance(1.5)
    assert world.reason == reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "no response within 1s"),
        (half, "no complete response within 1s"),
        (bad, "status 500, expected 200"),
        (closes, "closed before a response"),
        (resets, "connection lost: connection reset by peer"),
    ],
)
def test_the_reason_of_a_response_that_is_none(answer: Any, reason: str) -> None:
    world = World(type="http")
    world.sim.backend(FIRST, answer)
    world.advance(1.5)
    assert world.reason == reason


def test_a_shortage_of_our_own_says_nothing_about_the_backend() -> None:
    world = World()
    world.sim.backend(FIRST).mode = ConnectError.LOCAL
    world.advance(10.0)
    assert world.reports == []
    assert len(world.dials()) > 9


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_proxy_header_comes_first_and_names_nobody(version: Any) -> None:
    world = World()
    backend = world.sim.backend(FIRST)
    world.monitor.watch(world.upstreams(proxy_protocol=version))
    world.advance(0.5)
    (probe,) = backend.connections
    assert probe.preface == (LOCAL if version == "v2" else b"PROXY UNKNOWN\r\n")


def test_probes_speak_tls_where_requests_do_and_go_to_a_port_of_their_own() -> None:
    world = World()
    tls = ClientTls(sni="a.example")
    check = HealthCheck(port=8081)
    world.monitor.watch(world.upstreams(tls=tls, health_check=check))
    world.advance(0.5)
    (dial,) = [effect for _, effect in world.sim.log if isinstance(effect, Connect)]
    assert dial.target == Target("10.0.0.1", 8081, tls=tls)
    assert world.reports == [Report("web", FIRST, False, "connection refused")]


def test_late_news_of_a_probe_that_is_over_is_ignored() -> None:
    world = World()
    backend = world.sim.backend(FIRST)
    world.advance(0.5)
    conn = backend.connections[0].conn
    assert world.monitor.handle(WriteBlocked(conn), 0.5) == []


def test_a_blocked_write_changes_nothing() -> None:
    world = World(type="http")
    backend = world.sim.backend(FIRST, None)
    world.advance(0.5)
    assert world.monitor.handle(WriteBlocked(backend.connections[0].conn), 0.5) == []


# -- when --------------------------------------------------------------------


def test_all_backends_are_probed_at_once_and_then_at_intervals() -> None:
    world = World((ONE, TWO), interval=10.0)
    world.sim.backend(FIRST)
    world.sim.backend(SECOND)
    world.advance(30.0)
    # Up to a tenth of an interval is left out by chance, so that they part.
    for dials in (world.dials(FIRST), world.dials(SECOND)):
        assert dials[0] == 0.0
        pauses = [after - before for before, after in pairwise(dials)]
        assert len(pauses) == 3
        assert all(9.0 <= pause <= 10.0 for pause in pauses)
    assert world.dials(FIRST) != world.dials(SECOND)


def test_a_slow_probe_makes_the_next_one_come_at_once() -> None:
    world = World(interval=1.0, timeout=5.0)
    world.sim.backend(FIRST).mode = ConnectError.TIMEOUT
    world.advance(11.0)
    assert world.dials() == [0.0, 5.0, 10.0]


def test_a_silent_backend_holds_up_no_other() -> None:
    world = World((ONE, TWO), timeout=60.0)
    world.sim.backend(FIRST).mode = ConnectError.TIMEOUT
    world.sim.backend(SECOND)
    world.advance(10.0)
    assert len(world.dials(FIRST)) == 1
    assert len(world.dials(SECOND)) > 9


def test_thresholds_count_findings_in_a_row() -> None:
    world = World(interval=1.0, unhealthy_after=3, healthy_after=2)
    backend = world.sim.backend(FIRST)
    backend.mode = ConnectError.REFUSED
    world.advance(1.5)
    assert world.healthy == [True]
    world.advance(1.0)
    assert world.healthy == [False]
    backend.mode = None
    world.advance(0.5)
    assert world.healthy == [False]
    world.advance(1.0)
    assert world.healthy == [True]
    down, up = world.lines()
    assert down.message == "backend is unhealthy"
    assert up == Log(
        Level.INFO, "backend is healthy", {"upstream": "web", "backend": FIRST}
    )
    assert [report.healthy for report in world.reports] == [False, True]


def test_a_heap_of_old_deadlines_does_not_grow() -> None:
    world = World(interval=1.0, timeout=3.0)
    world.sim.backend(FIRST)
    world.advance(1000.0)
    assert len(world.monitor._heap) < 10


# -- a connection that is kept ------------------------------------------------


def reusing() -> tuple[World, SimBackend]:
    world = World(type="http", reuse=True, interval=1.0)
    backend = world.sim.backend(FIRST, answers)
    world.advance(0.5)
    return world, backend


def test_a_connection_can_be_kept_for_the_next_probe() -> None:
    world, backend = reusing()
    world.advance(5.0)
    (probe,) = backend.connections
    assert probe.received.count(b"GET / ") == 6
    assert not probe.eof


@pytest.mark.parametrize("end", ["close", "abort", "talk"])
def test_a_kept_connection_that_ends_or_speaks_is_replaced(end: str) -> None:
    world, backend = reusing()
    first = backend.connections[0]
    if end == "talk":
        first.send(b"unasked")
    else:
        getattr(first, end)()
    assert first.closed
    world.advance(1.0)
    assert len(backend.connections) == 2
    assert world.healthy == [True]
    assert world.reports == []


@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_kept_connection_that_ends_under_a_request_is_replaced(end: str) -> None:
    world, backend = reusing()
    first = backend.connections[0]
    first.on_data = lambda one, data: getattr(one, end)()
    world.advance(1.0)
    assert len(backend.connections) == 2
    assert backend.connections[1].received.count(b"GET / ") == 1
    assert world.healthy == [True]


def test_an_answer_that_is_wrong_keeps_no_connection() -> None:
    world, backend = reusing()
    backend.connections[0].on_data = bad
    world.advance(1.0)
    assert world.healthy == [False]
    assert backend.connections[0].eof


# -- who is probed ------------------------------------------------------------


def test_upstreams_without_a_check_are_left_alone() -> None:
    world = World()
    world.monitor.watch(world.upstreams(health_check=None))
    assert world.monitor.deadline == float("inf")
    world.advance(10.0)
    assert world.dials() == []


def test_who_stays_keeps_its_state_and_its_time() -> None:
    world = World((ONE, TWO), interval=10.0)
    world.sim.backend(SECOND)
    world.advance(1.0)
    assert world.healthy == [False, True]
    three = Target("10.0.0.3", 80)
    backends = tuple(Backend(target=target) for target in (ONE, three))
    world.monitor.watch(world.upstreams(backends=backends))
    assert world.monitor.states() == {
        ("web", FIRST): False,
        ("web", "10.0.0.3:80"): True,
    }
    world.advance(5.0)
    assert len(world.dials(FIRST)) == 1, "its time has not come"
    assert len(world.dials("10.0.0.3:80")) == 1, "it is new"
    assert len(world.lines()) == 2
    world.advance(10.0)
    assert len(world.dials(SECOND)) == 1, "it is gone"


def test_who_was_known_elsewhere_begins_with_that() -> None:
    world = World()
    world.monitor.watch([])
    world.monitor.watch(world.upstreams(), {("web", FIRST): False})
    assert world.healthy == [False]
    world.sim.backend(FIRST)
    world.advance(0.5)
    assert world.reports == [Report("web", FIRST, True, "")]


def test_a_check_that_changes_starts_anew_with_the_same_state() -> None:
    world = World(type="http", timeout=60.0)
    backend = world.sim.backend(FIRST, None)
    world.monitor.watch(world.upstreams(), {})
    world.advance(1.0)
    world.monitor.watch(world.upstreams(health_check=HealthCheck(timeout=2.0)))
    world.advance(0.5)
    assert backend.connections[0].reset, "nobody waits for this probe"
    assert len(backend.connections) == 2
    assert world.healthy == [True]
    assert world.reports == []


def test_a_drain_closes_everything_and_ends_the_probes() -> None:
    world = World((ONE, TWO), type="http", reuse=True, timeout=60.0)
    kept = world.sim.backend(FIRST, answers)
    pending = world.sim.backend(SECOND, None)
    world.advance(0.5)
    world.sim.machines.remove(world.sim.gateway.housekeeping)
    world.sim._perform(world.monitor, world.monitor.handle(Drain(0.0, 0.0), 0.5))
    assert kept.connections[0].eof
    assert pending.connections[0].reset
    assert world.monitor.deadline == float("inf")


# -- what becomes of requests -------------------------------------------------


def test_an_unhealthy_backend_gets_no_request() -> None:
    world = World((ONE, TWO), type="http")
    one = world.sim.backend(FIRST, answers)
    world.sim.backend(SECOND, answers)
    world.advance(0.5)
    one.answer = bad
    world.advance(1.0)
    before = len(one.connections)
    for _ in range(4):
        assert status(ask(world.sim)) == 200
    assert len(one.connections) == before


def test_when_all_are_unhealthy_the_client_is_told_to_come_back() -> None:
    world = World((ONE, TWO))
    world.advance(0.5)
    client = ask(world.sim)
    assert status(client) == 503
    assert b"\r\nRetry-After: 1\r\n" in client.received
    world.sim.backend(SECOND, answers)
    world.advance(1.0)
    assert status(ask(world.sim)) == 200


def test_until_the_first_result_a_backend_is_taken_as_healthy() -> None:
    world = World(type="http")
    world.sim.backend(FIRST, answers)
    assert status(ask(world.sim)) == 200


# -- whatever happens ---------------------------------------------------------

MODES = st.sampled_from([None, *ConnectError])
ANSWERS = st.sampled_from([None, answers, half, bad, closes, resets])


@settings(deadline=None)
@given(
    kind=st.sampled_from(["tcp", "http"]),
    reuse=st.booleans(),
    timeout=st.sampled_from([0.5, 3.0]),
    up=st.integers(1, 3),
    down=st.integers(1, 3),
    steps=st.lists(st.tuples(MODES, ANSWERS, st.floats(0.1, 3.0)), max_size=12),
)
def test_every_probe_ends_by_its_timeout(
    kind: Any, reuse: bool, timeout: float, up: int, down: int, steps: list[Any]
) -> None:
    world = World(
        type=kind, reuse=reuse, timeout=timeout, healthy_after=up, unhealthy_after=down
    )
    backend = world.sim.backend(FIRST)
    for mode, answer, seconds in steps:
        backend.mode, backend.answer = mode, answer
        for end in backend.connections:
            end.on_data = answer
        world.advance(seconds)
        dials = world.dials()
        gaps = [late - early for early, late in pairwise(dials)]
        if not reuse:
            assert all(gap <= max(1.0, timeout) + 1e-9 for gap in gaps)
            assert world.sim.now - dials[-1] <= max(1.0, timeout) + 1e-9
        alive = [end for end in backend.connections if not end.closed]
        assert len(alive) <= 1
        assert world.monitor.deadline <= world.sim.now + max(1.0, timeout)
    changes = [report.healthy for report in world.reports]
    assert changes == [bool(at % 2) for at in range(len(changes))]
    assert len(changes) == len(world.lines())


def test_a_wake_that_is_early_does_nothing() -> None:
    world = World()
    world.sim.backend(FIRST)
    world.advance(0.5)
    assert world.monitor.handle(Wake(), 0.6) == []
