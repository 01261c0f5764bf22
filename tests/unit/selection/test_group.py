"""Who may be chosen: health, ejection, panic, backup, full ones, slow starts."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproto.config import (
    Backend,
    Config,
    OutlierDetection,
    PolicyName,
    Upstream,
)
from lbproto.machine.effects import Level, Log, Target
from lbproto.machine.tls import ClientTls
from lbproto.selection.backend import BackendId
from lbproto.selection.balancer import Balancer, Lease, News, Outcome
from lbproto.selection.policies import KEYED, WEIGHS_RAMPS

NAMES = get_args(PolicyName)
EACH = pytest.mark.parametrize("name", NAMES)
OUTLIERS = OutlierDetection(consecutive_failures=3, base_ejection=10.0)


class World:
    def __init__(self, seed: int = 1) -> None:
        self.random = Random(seed).random

    @property
    def guard(self) -> AbstractContextManager[object]:
        return nullcontext()

    def http_date(self, now: float) -> bytes:
        return b""


def backend(port: int, **more: object) -> Backend:
    return Backend(target=Target("10.0.0.1", port), **more)


def upstream(*backends: Backend | int, **more: object) -> Upstream:
    those = tuple(backend(it) if isinstance(it, int) else it for it in backends)
    return Upstream(name="web", backends=those, **more)


def balancer(*backends: Backend | int, **more: object) -> Balancer:
    config = Config(services=(), upstreams={"web": upstream(*backends, **more)})
    return Balancer(config, World())


def take(one: Balancer, now: float = 0.0, tried: tuple[int, ...] = ()) -> Lease:
    lease = one.lease("web", [BackendId(it) for it in tried], now)
    assert lease is not None
    return lease


def visits(one: Balancer, count: int, now: float = 0.0) -> Counter[int]:
    """Where requests go that are over at once."""
    got: Counter[int] = Counter()
    for number in range(count):
        lease = one.lease("web", (), now, b"key-%d" % number)
        got[lease.target.port if lease is not None else 0] += 1
        if lease is not None:
            one.release(lease, Outcome.ABANDONED, now)
    return got


def fail(one: Balancer, port: int, times: int, now: float = 0.0) -> list[Log]:
    """Let requests fail at one backend, the others being tried already."""
    news: list[Log] = []
    others = [it.id for it in one.stats().backends if it.target.port != port]
    for _ in range(times):
        lease = one.lease("web", others, now)
        assert lease is not None
        news += one.release(lease, Outcome.FAILED, now).log
    return news


def said(log: list[Log]) -> list[tuple[str, object]]:
    return [(line.message, line.fields.get("backend")) for line in log]


# -- health ----------------------------------------------------------------------


@EACH
def test_an_unhealthy_backend_gets_nothing_until_it_is_healthy(name):
    one = balancer(1, 2, 3, policy=name)
    assert one.set_health(BackendId(1), False, 0.0, "refused") == News(
        [
            Log(
                Level.WARNING,
                "backend becomes unhealthy",
                {"upstream": "web", "backend": "10.0.0.1:2", "reason": "refused"},
            )
        ],
        [],
    )
    assert set(visits(one, 100)) == {1, 3}
    assert one.set_health(BackendId(1), False, 0.0, "refused").log == []
    news = one.set_health(BackendId(1), True, 0.0, "200")
    assert said(news.log) == [("backend becomes healthy", "10.0.0.1:2")]
    assert news.log[0].level is Level.INFO
    assert set(visits(one, 100)) == {1, 2, 3}


@EACH
def test_when_all_are_unhealthy_there_is_no_lease(name):
    one = balancer(1, 2, policy=name)
    for at in range(2):
        one.set_health(BackendId(at), False, 0.0, "refused")
    assert one.lease("web", (), 0.0) is None
    assert one.wait("web", (), 0.0) is None


def test_whoever_is_gone_is_nobody():
    one = balancer(1)
    assert one.set_health(BackendId(9), False, 0.0, "refused") == News([], [])
    assert one.set_draining(BackendId(9), True, "reload") == News([], [])


def test_a_backend_that_drains_gets_nothing_new_even_in_panic():
    one = balancer(1, 2, panic_percent=100)
    news = one.set_draining(BackendId(0), True, "operator")
    assert said(news.log) == [("backend drains", "10.0.0.1:1")]
    assert one.set_draining(BackendId(0), True, "operator").log == []
    one.set_health(BackendId(1), False, 0.0, "refused")
    assert set(visits(one, 10)) == {2}
    one.set_health(BackendId(1), True, 0.0, "200")
    news = one.set_draining(BackendId(0), False, "operator")
    assert said(news.log) == [("backend drains no more", "10.0.0.1:1")]
    assert set(visits(one, 10)) == {1, 2}


# -- panic -----------------------------------------------------------------------


@EACH
def test_in_panic_all_are_used(name):
    one = balancer(1, 2, 3, 4, policy=name, panic_percent=50)
    log = []
    for at in range(2):
        log += one.set_health(BackendId(at), False, 0.0, "refused").log
    assert set(visits(one, 100)) == {3, 4}
    log += one.set_health(BackendId(2), False, 0.0, "refused").log
    assert log[-1] == Log(
        Level.WARNING,
        "panic: all backends are used",
        {"upstream": "web", "reason": "1 of 4 backends are well"},
    )
    assert set(visits(one, 200)) == {1, 2, 3, 4}
    (_, over) = one.set_health(BackendId(0), True, 0.0, "200").log
    assert (over.level, over.message) == (Level.INFO, "panic is over")
    assert set(visits(one, 100)) == {1, 4}


# -- backup ----------------------------------------------------------------------


@EACH
def test_a_backup_is_used_only_when_no_other_is_usable(name):
    one = balancer(1, 2, backend(3, backup=True), policy=name)
    assert set(visits(one, 100)) == {1, 2}
    one.set_health(BackendId(0), False, 0.0, "refused")
    assert set(visits(one, 20)) == {2}
    one.set_health(BackendId(1), False, 0.0, "refused")
    assert set(visits(one, 20)) == {3}
    one.set_health(BackendId(0), True, 0.0, "200")
    assert set(visits(one, 20)) == {1}
    assert take(one, tried=(0,)).target.port == 3


def test_a_backup_comes_before_one_that_rests():
    one = balancer(1, backend(2, backup=True))
    one.release(take(one), Outcome.CONNECT_FAILED, 0.0)
    assert take(one).target.port == 2
    assert take(one, tried=(1,)).target.port == 1


# -- full ------------------------------------------------------------------------


@EACH
def test_a_full_backend_gets_nothing_until_it_has_room(name):
    one = balancer(
        backend(1, max_connections=2), backend(2, max_connections=1), policy=name
    )
    held = [take(one) for _ in range(3)]
    assert sorted(lease.target.port for lease in held) == [1, 1, 2]
    assert one.lease("web", (), 0.0) is None
    for lease in held:
        one.release(lease, Outcome.OK, 0.0)
        assert take(one).target == lease.target


def test_full_ones_are_told_from_useless_ones():
    one = balancer(backend(1, max_connections=1), 2, max_queue=5)
    one.set_health(BackendId(1), False, 0.0, "refused")
    take(one)
    assert one.wait("web", [BackendId(0)], 0.0) is None
    assert one.wait("web", (), 0.0) is not None
    assert one.wait("nowhere", (), 0.0) is None


def waiting(size: int, timeout: float = 5.0) -> tuple[Balancer, Lease]:
    one = balancer(backend(1, max_connections=1), max_queue=size, queue_timeout=timeout)
    return one, take(one)


def test_who_waited_longest_is_next():
    one, lease = waiting(2)
    first, second = one.wait("web", (), 0.0), one.wait("web", (), 1.0)
    assert first is not None
    assert second is not None
    assert one.wait("web", (), 1.0) is None
    assert (first.until, second.until) == (5.0, 6.0)
    assert one.release(lease, Outcome.OK, 2.0).called == [first]
    assert one.lease("web", (), 2.0) is None, "nobody goes before those who wait"
    assert one.lease("web", (), 2.0, ticket=second) is None
    lease = one.lease("web", (), 2.0, ticket=first)
    assert lease is not None
    assert one.release(lease, Outcome.OK, 2.0).called == [second]
    assert one.lease("web", (), 2.0, ticket=second) is not None


def test_who_gives_up_lets_the_next_one_go():
    one, lease = waiting(3)
    a, b, c = (one.wait("web", (), 0.0) for _ in range(3))
    assert a is not None
    assert b is not None
    assert one.give_up(b).called == []
    assert one.release(lease, Outcome.OK, 0.0).called == [a]
    assert one.give_up(a).called == [c]
    assert one.give_up(a) == News([], [])


def test_a_ticket_is_good_for_so_long():
    one, lease = waiting(1)
    ticket = one.wait("web", (), 0.0)
    assert one.release(lease, Outcome.OK, 1.0).called == [ticket]
    assert one.lease("web", (), 4.9) is None
    assert one.lease("web", (), 5.0, ticket=ticket) is not None, "nobody is before it"
    assert one.lease("web", (), 5.0) is None
    assert one.wait("web", (), 5.0) is not None


def test_a_backend_that_comes_back_has_room():
    one = balancer(backend(1, max_connections=1), 2, max_queue=5)
    one.set_health(BackendId(1), False, 0.0, "refused")
    take(one)
    tickets = [one.wait("web", (), 0.0) for _ in range(2)]
    assert one.set_health(BackendId(1), True, 0.0, "200").called == tickets


def test_the_queue_of_an_upstream_that_is_gone_is_gone():
    one, _ = waiting(1)
    ticket = one.wait("web", (), 0.0)
    assert ticket is not None
    one.update({}, 1.0)
    assert one.give_up(ticket) == News([], [])
    assert one.lease("web", (), 1.0, ticket=ticket) is None


# -- ejection --------------------------------------------------------------------


@EACH
def test_a_backend_that_fails_in_a_row_is_ejected_and_returns(name):
    one = balancer(1, 2, policy=name, outlier_detection=OUTLIERS)
    assert fail(one, 1, 2) == []
    (line,) = fail(one, 1, 1, now=1.0)
    assert line == Log(
        Level.WARNING,
        "backend ejected",
        {
            "upstream": "web",
            "backend": "10.0.0.1:1",
            "reason": "3 failures in a row",
            "seconds": 10.0,
        },
    )
    assert set(visits(one, 50, now=10.9)) == {2}
    lease = one.lease("web", [BackendId(1)], 11.0)
    assert lease is not None
    (line,) = one.release(lease, Outcome.OK, 11.0).log
    assert (line.message, line.fields["reason"]) == (
        "backend returns",
        "its ejection is over",
    )


def test_a_success_between_failures_forgives_them():
    one = balancer(1, 2, outlier_detection=OUTLIERS)
    fail(one, 1, 2)
    one.release(take(one, tried=(1,)), Outcome.OK, 0.0)
    assert fail(one, 1, 2) == []
    one.release(take(one, tried=(1,)), Outcome.ABANDONED, 0.0)
    assert len(fail(one, 1, 1)) == 1


@pytest.mark.parametrize(
    ("status", "ejects"),
    [(200, False), (404, False), (500, True), (501, False), (503, True), (505, False)],
)
def test_a_response_may_say_that_it_is_a_failure(status, ejects):
    one = balancer(1, 2, outlier_detection=OUTLIERS)
    log = []
    for _ in range(3):
        lease = take(one, tried=(1,))
        one.responded(lease, status, 0.0)
        one.responded(lease, 200, 0.0)
        log += one.release(lease, Outcome.OK, 0.0).log
    assert bool(log) is ejects


def test_the_next_ejection_is_longer_up_to_a_bound_and_calm_forgives():
    rule = OutlierDetection(consecutive_failures=1, base_ejection=100.0)
    one = balancer(1, 2, outlier_detection=rule)
    now, lengths = 0.0, []
    for calm in (0.0, 0.0, 0.0, 0.0, 250.0, 1000.0):
        (line,) = [it for it in fail(one, 1, 1, now + calm) if "ejected" in it.message]
        lengths.append(line.fields["seconds"])
        now += calm + lengths[-1]
    assert lengths == [100.0, 200.0, 300.0, 300.0, 300.0, 100.0]


def test_only_so_many_are_ejected_at_a_time():
    one = balancer(1, 2, 3, 4, outlier_detection=OUTLIERS)
    log = fail(one, 1, 3) + fail(one, 2, 3) + fail(one, 3, 9) + fail(one, 4, 9)
    assert said(log) == [
        ("backend ejected", "10.0.0.1:1"),
        ("backend ejected", "10.0.0.1:2"),
    ]
    assert set(visits(one, 20)) == {3, 4}


def test_the_only_backend_is_never_ejected():
    one = balancer(1, outlier_detection=OUTLIERS)
    assert fail(one, 1, 50) == []


def test_failures_that_come_late_change_nothing():
    one = balancer(1, 2, outlier_detection=OUTLIERS)
    late = [take(one, tried=(1,)) for _ in range(3)]
    assert len(fail(one, 1, 3)) == 1
    assert [one.release(it, Outcome.FAILED, 1.0).log for it in late] == [[], [], []]


# -- slow start --------------------------------------------------------------------


@EACH
def test_at_the_start_of_all_nobody_starts_slowly(name):
    got = visits(balancer(1, 2, policy=name, slow_start=10.0), 400)
    assert min(got.values()) > 120


@pytest.mark.parametrize("name", [it for it in NAMES if it not in WEIGHS_RAMPS])
def test_who_comes_back_gets_its_share_little_by_little(name):
    one = balancer(1, 2, policy=name, slow_start=10.0)
    one.set_health(BackendId(0), False, 0.0, "refused")
    one.set_health(BackendId(0), True, 100.0, "200")
    shares = [visits(one, 1000, now=100.0 + at)[1] for at in (0.0, 5.0, 9.0, 10.0)]
    assert 20 < shares[0] < 90
    assert 190 < shares[1] < 310
    assert 370 < shares[2] < 540
    assert 400 < shares[3] < 600


@pytest.mark.parametrize("name", sorted(WEIGHS_RAMPS))
def test_a_slow_start_counts_as_load_where_loads_are_compared(name):
    one = balancer(1, 2, policy=name, slow_start=10.0)
    for at in range(2):
        lease = take(one, tried=(at,))
        one.responded(lease, 200, 0.1)
        one.release(lease, Outcome.OK, 0.1)
    one.set_health(BackendId(0), False, 0.0, "refused")
    one.set_health(BackendId(0), True, 100.0, "200")
    held = Counter(take(one, now=101.0).target.port for _ in range(110))
    assert 4 <= held[1] <= 16
    held += Counter(take(one, now=110.0).target.port for _ in range(110))
    assert 90 <= held[1] <= 130


def test_a_key_that_has_come_to_a_slow_starter_stays():
    one = balancer(1, 2, 3, policy="ketama", slow_start=10.0)
    one.set_health(BackendId(0), False, 0.0, "refused")
    one.set_health(BackendId(0), True, 0.0, "200")
    there: set[int] = set()
    for tenth in range(11):
        now = {
            number
            for number in range(300)
            if (lease := one.lease("web", (), float(tenth), b"key-%d" % number))
            and lease.target.port == 1
        }
        assert there <= now
        there = now
    assert len(there) > 60


def test_slow_starters_are_better_than_nobody_and_than_backups():
    one = balancer(1, 2, backend(3, backup=True), slow_start=10.0)
    for at in range(2):
        one.set_health(BackendId(at), False, 0.0, "refused")
        one.set_health(BackendId(at), True, 0.0, "200")
    assert set(visits(one, 50)) == {1, 2}


def test_a_slow_start_begins_anew_after_an_ejection():
    one = balancer(1, 2, slow_start=10.0, outlier_detection=OUTLIERS)
    fail(one, 1, 3)
    assert visits(one, 100, now=10.0)[1] < 30
    one.set_health(BackendId(0), False, 11.0, "refused")
    assert visits(one, 10, now=11.0)[1] == 0


def test_a_slow_start_that_is_interrupted_begins_anew():
    one = balancer(1, 2, slow_start=10.0)
    for now in (0.0, 9.0):
        one.set_health(BackendId(0), False, now, "refused")
        one.set_health(BackendId(0), True, now, "200")
    assert visits(one, 100, now=9.0)[1] < 30
    one.set_draining(BackendId(0), True, "operator")
    one.set_health(BackendId(0), False, 10.0, "refused")
    one.set_health(BackendId(0), True, 10.0, "200")
    assert visits(one, 10, now=11.0)[1] == 0


def test_many_slow_starters_do_not_make_a_request_wait():
    one = balancer(*range(1, 31), slow_start=10.0)
    for at in range(30):
        one.set_health(BackendId(at), False, 0.0, "refused")
        one.set_health(BackendId(at), True, 0.0, "200")
    assert visits(one, 300).total() == 300


# -- changes of the configuration ----------------------------------------------------


def test_what_is_known_of_those_that_stay_stays():
    one = balancer(1, 2, 3, outlier_detection=OUTLIERS)
    one.set_health(BackendId(1), False, 0.0, "refused")
    held = take(one)
    new = {"web": upstream(3, 2, 4, outlier_detection=OUTLIERS)}
    news = one.update(new, 1.0)
    assert said(news.log) == [
        ("backend added", "10.0.0.1:4"),
        ("backend removed", "10.0.0.1:1"),
    ]
    assert set(visits(one, 20, now=1.0)) == {3, 4}
    assert held.target.port == 1
    assert one.release(held, Outcome.FAILED, 1.0) == News([], [])
    assert [it.id for it in one.stats().backends] == [2, 1, 3]
    assert one.stats().active == 0


def test_turns_go_on_where_they_were():
    one = balancer(1, 2, 3)
    assert [take(one).target.port for _ in range(4)] == [1, 2, 3, 1]
    one.update({"web": upstream(1, 2, 3, backend(4, weight=2))}, 1.0)
    assert take(one, now=1.0).target.port != 1


@EACH
def test_everything_about_a_backend_may_change(name):
    one = balancer(1, 2, policy="round_robin")
    held = [take(one) for _ in range(2)]
    more = backend(1, weight=3, max_connections=1), backend(2, drain=True)
    one.update({"web": upstream(*more, backend(3, backup=True), policy=name)}, 1.0)
    assert set(visits(one, 10, now=1.0)) == {3}
    for lease in held:
        one.release(lease, Outcome.OK, 1.0)
    assert set(visits(one, 10, now=1.0)) == {1}
    one.update({"web": upstream(1, 2, policy=name)}, 2.0)
    assert set(visits(one, 60, now=2.0)) == {1, 2}


def test_a_bound_that_was_lowered_holds_for_what_comes():
    one = balancer(1, 2)
    held = [take(one, tried=(1,)) for _ in range(3)]
    one.update({"web": upstream(backend(1, max_connections=2), 2)}, 0.0)
    for lease, expected in zip(held, ({2}, {2}, {1, 2}), strict=True):
        assert set(visits(one, 8)) == expected
        one.release(lease, Outcome.OK, 0.0)
    assert set(visits(one, 8)) == {1, 2}


def test_who_rests_may_fail_again_or_go_meanwhile():
    one = balancer(1, 2)
    first, second = take(one, tried=(1,)), take(one, tried=(1,))
    one.release(first, Outcome.CONNECT_FAILED, 0.0)
    one.release(second, Outcome.CONNECT_FAILED, 0.5)
    assert set(visits(one, 8, now=1.2)) == {2}
    assert set(visits(one, 8, now=1.5)) == {1, 2}
    one.release(take(one, 2.0, tried=(1,)), Outcome.CONNECT_FAILED, 2.0)
    one.update({"web": upstream(2)}, 2.5)
    assert set(visits(one, 8, now=9.0)) == {2}


def test_nothing_changes_when_nothing_changed():
    one = balancer(1, 2)
    assert one.update({"web": upstream(1, 2)}, 1.0) == News([], [])


def test_an_upstream_may_come_and_go():
    one = balancer(1)
    other = Upstream(name="other", backends=(backend(9),))
    one.update({"other": other}, 0.0)
    assert one.lease("web", (), 0.0) is None
    lease = one.lease("other", (), 0.0)
    assert lease is not None
    assert lease.backend == 1


def test_idle_connections_go_with_their_backend():
    one = balancer(1, 2, 3)
    leases = [take(one) for _ in range(3)]
    conns = [one.mint() for _ in leases]
    for lease, conn in zip(leases, conns, strict=True):
        assert one.park(lease, conn, 99.0)
    one.update({"web": upstream(2, 3)}, 1.0)
    assert one.expire(1.0) == conns[:1]
    one.update({"web": upstream(2, 3, tls=ClientTls())}, 1.0)
    assert one.expire(1.0) == conns[1:]
    one.update({"web": upstream(2, tls=ClientTls())}, 1.0)
    assert [one.park(it, one.mint(), 9.0) for it in leases] == [False, False, False]
    one.update({}, 1.0)
    assert one.stats().backends == ()


def test_one_address_may_stand_twice():
    one = balancer(1, 1)
    one.update({"web": upstream(1, 1, 1)}, 0.0)
    assert [it.id for it in one.stats().backends] == [0, 1, 2]


def test_those_that_are_added_start_slowly():
    one = balancer(1, slow_start=10.0)
    one.update({"web": upstream(1, 2, slow_start=10.0)}, 0.0)
    assert visits(one, 200)[2] < 50
    one.update({"web": upstream(1, 2)}, 0.0)
    assert visits(one, 200)[2] == 100


# -- keys ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(KEYED))
def test_a_key_has_its_backend_and_who_has_none_is_spread(name):
    one = balancer(1, 2, 3, policy=name)
    assert one.hash_on("web") == upstream().hash_on
    assert len({one.lease("web", (), 0.0, b"k").backend for _ in range(20)}) == 1
    assert len({take(one).target.port for _ in range(60)}) == 3


def test_nobody_needs_a_key_where_it_is_not_looked_at():
    one = balancer(1)
    assert one.hash_on("web") is None
    assert one.hash_on("nowhere") is None


# -- never the unhealthy ---------------------------------------------------------------


@EACH
@given(
    ill=st.sets(st.integers(0, 4)),
    tried=st.sets(st.integers(0, 4), max_size=3),
    backups=st.sets(st.integers(0, 4)),
)
def test_never_an_unhealthy_one_while_a_healthy_one_exists(name, ill, tried, backups):
    one = balancer(*(backend(at, backup=at in backups) for at in range(5)), policy=name)
    for at in ill:
        one.set_health(BackendId(at), False, 0.0, "refused")
    well = set(range(5)) - ill - tried
    for number in range(5):
        key = b"%d" % number
        lease = one.lease("web", [BackendId(at) for at in tried], 0.0, key)
        if lease is None:
            assert not well
            continue
        assert lease.target.port in (well - backups or well)
