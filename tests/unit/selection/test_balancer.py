"""Turns, leases and idle connections of a process."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from lbproto.config import Backend, Config, Upstream
from lbproto.machine.effects import Effect, Target
from lbproto.machine.errors import LocalProtocolError
from lbproto.selection.backend import RESTING, BackendId
from lbproto.selection.balancer import (
    CONNECT_FAILURE_REST,
    BackendStats,
    Balancer,
    Lease,
    Outcome,
    Stats,
)
from lbproto.selection.leases import UNKNOWN
from lbproto.selection.pool import NOBODY
from lbproto.selection.waiting import Ticket, TicketId

if TYPE_CHECKING:
    pass


class World:
    """An `Env` that counts how often its guard was taken, never one inside another."""

    def __init__(self) -> None:
        self.taken = 0
        self.held = False

    @property
    def guard(self) -> World:
        return self

    def __enter__(self) -> None:
        assert not self.held
        self.held = True
        self.taken += 1

    def __exit__(self, *_: object) -> None:
        self.held = False

    def random(self) -> float:
        return 0.5

    def http_date(self, now: float) -> bytes:
        return b"%d" % int(now)


def target(port: int) -> Target:
    return Target("10.0.0.1", port)


def balancer(*weights: int, pool: int = 2, env: World | None = None) -> Balancer:
    backends = tuple(
        Backend(target=target(port), weight=weight)
        for port, weight in enumerate(weights, 1)
    )
    upstreams = {
        "web": Upstream(name="web", backends=backends),
        "api": Upstream(name="api", backends=(Backend(target=target(99)),)),
        "none": Upstream(name="none", backends=()),
    }
    config = Config(services=(), upstreams=upstreams, upstream_keepalive_pool_size=pool)
    return Balancer(config, env or World())


def leased(one: Balancer, *tried: Lease, now: float = 0.0) -> Lease:
    lease = one.lease("web", [lease.backend for lease in tried], now)
    assert lease is not None
    return lease


def ports(one: Balancer, count: int, now: float = 0.0) -> list[int]:
    return [leased(one, now=now).target.port for _ in range(count)]


def test_connections_are_numbered_from_1():
    one = balancer(1)
    assert [one.mint() for _ in range(3)] == [1, 2, 3]


def test_leases_follow_the_weights():
    assert ports(balancer(5, 1, 1), 7) == [1, 1, 2, 1, 3, 1, 1]


def test_upstreams_have_their_own_turns():
    one = balancer(1, 1)
    assert ports(one, 1) == [1]
    lease = one.lease("api", (), 0.0)
    assert lease is not None
    assert lease.target == target(99)
    assert ports(one, 2) == [2, 1]


@pytest.mark.parametrize("upstream", ["none", "unknown"])
def test_an_upstream_without_backends_gives_no_lease(upstream):
    assert balancer(1).lease(upstream, (), 0.0) is None


def test_a_tried_backend_is_not_chosen_again():
    one = balancer(3, 1)
    first = leased(one)
    second = leased(one, first)
    assert {first.target.port, second.target.port} == {1, 2}
    assert one.lease("web", [first.backend, second.backend], 0.0) is None


def test_the_preferred_backend_is_chosen_if_it_can_be():
    one = balancer(1, 1, 1)
    (_, first), (wanted, second), _ = [
        (backend, each.port) for backend, each in one.members("web")
    ]
    assert (first, second) == (1, 2)
    for _ in range(3):
        lease = one.lease("web", (), 0.0, prefer=wanted)
        assert lease is not None
        assert lease.backend == wanted
    lease = one.lease("web", (wanted,), 0.0)
    assert lease is not None
    assert lease.backend != wanted


def test_a_preferred_backend_that_rests_or_is_gone_is_not_waited_for():
    one = balancer(1, 1)
    lease = leased(one)
    one.release(lease, Outcome.CONNECT_FAILED, 0.0)
    other = one.lease("web", (), 0.5, prefer=lease.backend)
    assert other is not None
    assert other.backend != lease.backend
    assert one.lease("web", (), 0.5, prefer=BackendId(99)) is not None
    assert one.members("unknown") == ()
    assert one.members("web") is one.members("web")


def test_a_backend_rests_after_a_failed_dial():
    one = balancer(1, 1)
    lease = leased(one, now=10.0)
    one.release(lease, Outcome.CONNECT_FAILED, 10.0)
    assert lease.target.port == 1
    assert ports(one, 3, now=10.0 + CONNECT_FAILURE_REST - 0.01) == [2, 2, 2]
    assert 1 in ports(one, 2, now=10.0 + CONNECT_FAILURE_REST)


def test_backends_that_rest_are_used_when_all_do():
    one = balancer(1, 1)
    first = leased(one)
    second = leased(one, first)
    for lease in (first, second):
        one.release(lease, Outcome.CONNECT_FAILED, 0.0)
    assert sorted(ports(one, 2, now=0.5)) == [1, 2]
    assert leased(one, first, now=0.5).backend == second.backend


@pytest.mark.parametrize(
    ("outcome", "failures"),
    [
        (Outcome.OK, 0),
        (Outcome.CONNECT_FAILED, 1),
        (Outcome.FAILED, 1),
        (Outcome.ABANDONED, 0),
    ],
)
def test_an_outcome_is_counted(outcome, failures):
    one = balancer(1)
    lease = leased(one)
    assert one.stats().active == 1
    one.release(lease, outcome, 0.0)
    web, api = one.stats().backends
    assert web == BackendStats(
        id=lease.backend,
        upstream="web",
        target=target(1),
        active=0,
        leases=1,
        failures=failures,
        barred=RESTING if outcome is Outcome.CONNECT_FAILED else 0,
    )
    assert (api.upstream, api.leases) == ("api", 0)


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.FAILED, Outcome.ABANDONED])
def test_only_a_failed_dial_makes_a_backend_rest(outcome):
    one = balancer(1, 1)
    one.release(leased(one), outcome, 0.0)
    assert ports(one, 2) == [2, 1]


def test_a_lease_is_released_exactly_once():
    one = balancer(1)
    lease = leased(one)
    one.release(lease, Outcome.OK, 0.0)
    with pytest.raises(LocalProtocolError, match="not held"):
        one.release(lease, Outcome.OK, 0.0)
    assert one.stats().backends[0].active == 0


def test_idle_connections_are_kept_and_given_back():
    one = balancer(1, pool=2)
    lease = leased(one)
    conns = [one.mint() for _ in range(3)]
    assert one.pool_deadline == math.inf
    assert one.park(lease, conns[0], 5.0)
    assert one.park(lease, conns[1], 7.0)
    assert one.park(lease, conns[2], 6.0)
    assert one.stats().idle == 2
    assert one.expire(0.0) == [conns[0]]
    assert one.checkout(lease) == conns[2]
    assert one.pool_deadline == 7.0
    assert not one.forget(conns[2])
    assert one.expire(7.0) == [conns[1]]
    assert one.stats().idle == 0


def test_the_counters_start_at_zero():
    stats = balancer().stats()
    assert stats == Stats(active=0, idle=0, backends=stats.backends)
    assert [one.leases for one in stats.backends] == [0]


def test_every_use_of_shared_state_holds_the_guard_once():
    env = World()
    one = balancer(1, env=env)
    conn = one.mint()
    lease = leased(one)
    one.responded(lease, 200, 0.0)
    one.release(lease, Outcome.OK, 0.0)
    one.hash_on("web")
    one.wait("web", (), 0.0)
    one.give_up(Ticket(TicketId(1), "web", 0.0))
    one.set_health(lease.backend, False, 0.0, "refused")
    one.set_draining(lease.backend, True, "operator")
    one.update({}, 0.0)
    one.park(lease, conn, 1.0)
    one.checkout(lease)
    one.forget(conn)
    one.expire(0.0)
    assert one.pool_deadline == math.inf
    one.stats()
    assert env.taken == 14


def test_a_lease_and_its_connection_come_and_go_at_once():
    env = World()
    one = balancer(1, env=env)
    conn, out = one.mint(), list[Effect]()
    first = one.lease("web", (), 0.0, idle=True)
    assert first is not None
    assert first.idle == UNKNOWN, "it has never had any"
    assert one.give_back(first, conn, 5.0, b"", 0.0, out)
    again = one.lease("web", (), 0.0, idle=True)
    assert again is not None
    assert again.idle == conn
    third = one.lease("web", (), 0.0, idle=True)
    assert third is not None
    assert third.idle == NOBODY
    assert env.taken == 5
    with pytest.raises(LocalProtocolError, match="not held"):
        one.give_back(first, conn, 5.0, b"", 0.0, out)
    assert one.stats().idle == 0
    assert out == []


def test_news_go_out_with_the_connection_that_is_given_back():
    one = balancer(1, 1)
    conn, out = one.mint(), list[Effect]()
    lease = leased(one)
    one.set_health(lease.backend, False, 0.0, "refused").log.clear()
    upstreams = {"web": Upstream(name="web", backends=())}
    assert one.update(upstreams, 0.0).log
    assert not one.give_back(lease, conn, 5.0, b"", 0.0, out)
