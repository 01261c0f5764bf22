"""Selection, for every configuration and every course of events."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from random import Random as Chance
from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from lbproto.config import Backend, Config, OutlierDetection, PolicyName, Upstream
from lbproto.machine.effects import Target
from lbproto.machine.values import ConnId
from lbproto.selection.backend import DRAINING, BackendId
from lbproto.selection.balancer import Balancer, Lease, News, Outcome
from lbproto.selection.fnv_hash import FnvHash
from lbproto.selection.ketama import Ketama
from lbproto.selection.maglev import Maglev
from lbproto.selection.p2c import P2C
from lbproto.selection.peak_ewma import PeakEwma
from lbproto.selection.policy import unique
from lbproto.selection.pool import IdlePool
from lbproto.selection.waiting import Ticket
from lbproto.selection.weighted_random import Random

WEIGHTS = st.lists(st.integers(1, 9), min_size=1, max_size=6)


class World:
    def __init__(self) -> None:
        self.random = Chance(1).random

    @property
    def guard(self) -> AbstractContextManager[object]:
        return nullcontext()

    def random(self) -> float:
        return 0.0

    def http_date(self, now: float) -> bytes:
        return b"%d" % int(now)


def balancer(weights: list[int]) -> Balancer:
    backends = tuple(
        Backend(target=Target("10.0.0.1", port), weight=weight)
        for port, weight in enumerate(weights, 1)
    )
    upstreams = {"web": Upstream(name="web", backends=backends)}
    return Balancer(Config(services=(), upstreams=upstreams), World())


@given(WEIGHTS, st.integers(1, 3))
def test_weights_are_honoured_exactly_over_a_cycle(weights, cycles):
    one = balancer(weights)
    for _ in range(cycles):
        leases = [one.lease("web", (), 0.0) for _ in range(sum(weights))]
        picked = Counter(lease.target.port for lease in leases if lease is not None)
        assert picked == dict(enumerate(weights, 1))


class Leases(RuleBasedStateMachine):
    """Exchanges that try backends, fail, and try others, as time goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = [3, 1, 2]
        self.balancer = balancer(self.weights)
        self.now = 0.0
        self.held: list[Lease] = []
        self.given = 0
        self.blamed = 0
        self.failed_dial: dict[BackendId, float] = {}

    @rule(seconds=st.floats(0, 2))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(tried=st.lists(st.integers(0, 2).map(BackendId), max_size=3))
    def lease(self, tried: list[BackendId]) -> None:
        lease = self.balancer.lease("web", tried, self.now)
        untried = [one for one in map(BackendId, range(3)) if one not in tried]
        assert (lease is None) == (not untried)
        if lease is None:
            return
        assert lease.backend in untried
        rested = [one for one in untried if self.rested(one)]
        assert lease.backend in rested or not rested
        self.held.append(lease)
        self.given += 1

    def rested(self, backend: BackendId) -> bool:
        return self.now >= self.failed_dial.get(backend, -math.inf) + 1.0

    @precondition(lambda self: self.held)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def release(self, data: st.DataObject, outcome: Outcome) -> None:
        lease = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.balancer.release(lease, outcome, self.now)
        if outcome in (Outcome.CONNECT_FAILED, Outcome.FAILED):
            self.blamed += 1
        if outcome is Outcome.CONNECT_FAILED:
            self.failed_dial[lease.backend] = self.now

    @invariant()
    def the_books_balance(self) -> None:
        stats = self.balancer.stats()
        assert stats.active == len(self.held)
        assert sum(one.leases for one in stats.backends) == self.given
        assert sum(one.failures for one in stats.backends) == self.blamed
        active = Counter(lease.backend for lease in self.held)
        assert all(one.active == active[one.id] for one in stats.backends)
        assert len({lease.id for lease in self.held}) == len(self.held)


TestLeases = Leases.TestCase


PORTS = st.lists(st.integers(1, 5), min_size=1, max_size=5, unique=True)


class Everything(RuleBasedStateMachine):
    """Probes, failures, drains, reloads, queues, time: all that bars a backend."""

    def __init__(self) -> None:
        super().__init__()
        self.env = World()
        config = Config(services=(), upstreams={"web": self.upstream([1, 2], {})})
        self.balancer = Balancer(config, self.env)
        self.now = 0.0
        self.held: list[Lease] = []
        self.tickets: list[Ticket] = []
        self.called: list[Ticket] = []

    def upstream(self, ports: list[int], rules: dict[str, Any]) -> Upstream:
        backends = tuple(
            Backend(
                target=Target("10.0.0.1", port),
                weight=1 + port % 3,
                backup=port == 5,
                max_connections=2 if port % 2 else None,
            )
            for port in ports
        )
        return Upstream(
            name="web",
            backends=backends,
            max_queue=3,
            outlier_detection=OutlierDetection(consecutive_failures=2),
            **rules,
        )

    def learn(self, news: News) -> None:
        self.called += news.called

    @rule(
        ports=PORTS,
        policy=st.sampled_from(get_args(PolicyName)),
        panic=st.sampled_from([0, 50]),
        slow=st.sampled_from([0.0, 5.0]),
    )
    def reload(self, ports: list[int], policy: PolicyName, panic: int, slow: float):
        rules = {"policy": policy, "panic_percent": panic, "slow_start": slow}
        upstreams = {"web": self.upstream(ports, rules)}
        self.learn(self.balancer.update(upstreams, self.now))

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(data=st.data(), healthy=st.booleans())
    def probe(self, data: st.DataObject, healthy: bool) -> None:
        which = data.draw(st.sampled_from(self.balancer.stats().backends)).id
        self.learn(self.balancer.set_health(which, healthy, self.now, "probe"))

    @rule(data=st.data(), draining=st.booleans())
    def drain(self, data: st.DataObject, draining: bool) -> None:
        which = data.draw(st.sampled_from(self.balancer.stats().backends)).id
        self.learn(self.balancer.set_draining(which, draining, "operator"))

    @rule(key=st.sampled_from([b"", b"a", b"b", b"c"]), data=st.data())
    def lease(self, key: bytes, data: st.DataObject) -> None:
        ids = [one.id for one in self.balancer.stats().backends]
        tried = data.draw(st.lists(st.sampled_from(ids), max_size=2))
        lease = self.balancer.lease("web", tried, self.now, key)
        known = {one.id: one for one in self.balancer.stats().backends}
        ready = [it for it in known.values() if not it.barred and it.id not in tried]
        if lease is None:
            ticket = self.balancer.wait("web", tried, self.now)
            self.tickets += [ticket] if ticket is not None else []
            assert not ready or ticket is not None or self.tickets
            return
        assert lease.backend not in tried
        assert not known[lease.backend].barred & DRAINING
        self.held.append(lease)

    @precondition(lambda self: self.tickets)
    @rule(data=st.data(), patient=st.booleans())
    def turn(self, data: st.DataObject, patient: bool) -> None:
        ticket = data.draw(st.sampled_from(self.tickets))
        lease = None
        if patient:
            lease = self.balancer.lease("web", (), self.now, ticket=ticket)
        if lease is not None:
            self.held.append(lease)
        else:
            self.learn(self.balancer.give_up(ticket))
        self.tickets.remove(ticket)

    @precondition(lambda self: self.held)
    @rule(
        data=st.data(),
        outcome=st.sampled_from(Outcome),
        status=st.sampled_from([None, 200, 503]),
    )
    def release(
        self, data: st.DataObject, outcome: Outcome, status: int | None
    ) -> None:
        lease = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        if status is not None:
            self.balancer.responded(lease, status, self.now)
        self.learn(self.balancer.release(lease, outcome, self.now))

    @invariant()
    def the_books_balance(self) -> None:
        stats = self.balancer.stats()
        active = Counter(lease.backend for lease in self.held)
        assert stats.active == len(self.held)
        for one in stats.backends:
            assert one.active == active[one.id]
        assert len(set(map(id, self.called))) == len(self.called)

    @invariant()
    def all_that_are_well_and_no_others_are_in(self) -> None:
        group = self.balancer._standings["web"].group
        for tier, backup in zip(
            (group._proper, group._backup), (False, True), strict=True
        ):
            mine = [one for one in group.backends if one.backup is backup]
            inside = [one for one in mine if group._is_in(one)]
            walked = list(unique(tier.walk(b"x", self.now), 100))
            assert all(one in mine for one in walked)
            if not isinstance(tier, FnvHash | Ketama | Maglev):
                assert all(one in inside for one in walked)
                assert len(walked) == len(inside) or isinstance(
                    tier, Random | P2C | PeakEwma
                )
            assert (tier.pick(b"x", self.now) is None) == (not inside)


TestEverything = Everything.TestCase


class Pool(RuleBasedStateMachine):
    """The pool beside a plain list: the connection parked longest ago is first."""

    SIZE = 4

    def __init__(self) -> None:
        super().__init__()
        self.pool = IdlePool(self.SIZE)
        self.parked: list[tuple[ConnId, BackendId, float]] = []
        self.evicted: list[ConnId] = []

    def drop(self, gone: list[ConnId]) -> None:
        self.parked = [entry for entry in self.parked if entry[0] not in gone]

    @rule(
        conn=st.integers(1, 9).map(ConnId),
        backend=st.integers(0, 2).map(BackendId),
        expires=st.sampled_from([1.0, 2.0, 3.0, 4.0, math.inf]),
    )
    def park(self, conn: ConnId, backend: BackendId, expires: float) -> None:
        if conn in [*(entry[0] for entry in self.parked), *self.evicted]:
            return
        assert self.pool.park((backend, b""), conn, expires)
        over = max(len(self.parked) + 1 - self.SIZE, 0)
        evicted = [entry[0] for entry in self.parked[:over]]
        self.evicted += evicted
        self.drop(evicted)
        self.parked.append((conn, backend, expires))

    @rule(backend=st.integers(0, 2).map(BackendId))
    def checkout(self, backend: BackendId) -> None:
        fitting = [entry[0] for entry in self.parked if entry[1] == backend]
        conn = self.pool.checkout((backend, b""))
        assert conn == (fitting[-1] if fitting else None)
        if conn is not None:
            self.drop([conn])

    @rule(conn=st.integers(1, 9).map(ConnId))
    def forget(self, conn: ConnId) -> None:
        known = [*(entry[0] for entry in self.parked), *self.evicted]
        assert self.pool.forget(conn) == (conn in known)
        self.drop([conn])
        self.evicted = [one for one in self.evicted if one != conn]

    @rule(now=st.sampled_from([0.5, 1.0, 2.5, 4.0]))
    def expire(self, now: float) -> None:
        expired = self.pool.expire(now)
        assert sorted(expired) == sorted(
            [*(entry[0] for entry in self.parked if entry[2] <= now), *self.evicted]
        )
        self.evicted = []
        self.drop(expired)
        assert self.pool.deadline > now

    @invariant()
    def size_and_deadline_are_right(self) -> None:
        assert len(self.pool) == len(self.parked) <= self.SIZE
        first = min((entry[2] for entry in self.parked), default=math.inf)
        assert self.pool.deadline == (-math.inf if self.evicted else first)


TestPool = Pool.TestCase
