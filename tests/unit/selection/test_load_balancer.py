"""A load balancer in a program's hands."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

import pytest

from lbproto import (
    P2C,
    AddressError,
    Backend,
    BackendState,
    FnvHash,
    HealthCheck,
    HttpHealthCheck,
    HttpPeer,
    Ketama,
    LbError,
    LeastConnections,
    LoadBalancer,
    Maglev,
    NoPeer,
    PeakEwma,
    Policy,
    Random,
    RoundRobin,
    ServiceDiscovery,
    Target,
    TcpHealthCheck,
)
from lbproto.machine.tls import ClientTls
from lbproto.selection.backend import BackendId
from lbproto.selection.chance import Draws
from lbproto.selection.checks import description
from lbproto.selection.load_balancer import PolicyClass

A, B, C = "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"
EVERY = [
    RoundRobin,
    Random,
    LeastConnections,
    P2C,
    PeakEwma,
    FnvHash,
    Ketama,
    Maglev,
    partial(Ketama, percent=125),
]


def address(backend: Backend | None) -> str:
    return "-" if backend is None else str(backend.target)


def picks(upstreams: LoadBalancer, count: int) -> list[str]:
    return [address(upstreams.select(b"", 256)) for _ in range(count)]


def chosen(upstreams: LoadBalancer, count: int = 300) -> Counter[str]:
    """By so many different keys."""
    keys = [b"%d" % number for number in range(count)]
    return Counter(address(upstreams.select(key, 256)) for key in keys)


# -- addresses ------------------------------------------------------------------


def test_addresses_are_read_in_every_form() -> None:
    upstreams = LoadBalancer.try_from_iter(
        [
            A,
            "[::1]:80",
            "unix:/run/app",
            "App.example:443",
            (B, 3),
            Backend(target=Target("10.0.0.9", 80), weight=2),
            Target("10.0.0.8", 80),
        ]
    )
    assert [(str(one.target), one.weight) for one in upstreams.backends] == [
        (A, 1),
        ("[::1]:80", 1),
        ("unix:/run/app", 1),
        ("app.example:443", 1),
        (B, 3),
        ("10.0.0.9:80", 2),
        ("10.0.0.8:80", 1),
    ]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("10.0.0.1", '"10.0.0.1"'),
        ("::1:80", '"::1:80"'),
        ("http://a:80", '"http://a:80"'),
        (("10.0.0.1:80", 0), "the weight 0 for"),
        (("10.0.0.1:80", True), "the weight true for"),
        (("10.0.0.1", 2), '"10.0.0.1"'),
        (Backend(target=Target("10.0.0.1", 80), weight=-1), "the weight -1 for"),
        (5, "got 5"),
        (("10.0.0.1", 80, 1), "a tuple"),
    ],
)
def test_what_is_no_address_is_named(wrong: object, named: str) -> None:
    with pytest.raises(AddressError) as caught:
        LoadBalancer.try_from_iter([A, wrong])  # type: ignore[list-item]
    assert named in str(caught.value)
    assert isinstance(caught.value, LbError)
    assert isinstance(caught.value, ValueError)


def test_an_address_that_comes_twice_is_one_backend() -> None:
    upstreams = LoadBalancer.try_from_iter([A, (A, 5), B])
    assert picks(upstreams, 4) == [A, B, A, B]


# -- choosing -------------------------------------------------------------------


def test_round_robin_takes_turns_by_weight() -> None:
    upstreams = LoadBalancer.try_from_iter([(A, 5), B, C], RoundRobin)
    assert picks(upstreams, 7) == [A, A, B, A, C, A, A]


@pytest.mark.parametrize("policy", EVERY)
def test_every_policy_passes_over_who_is_not_ready(policy: PolicyClass) -> None:
    upstreams = LoadBalancer.try_from_iter([A, B, C], policy)
    assert len(chosen(upstreams)) > 1 or policy is LeastConnections
    assert upstreams.set_health(B, False)
    assert not upstreams.set_health(B, False)
    assert set(chosen(upstreams)) <= {A, C}
    upstreams.set_enable(Target("10.0.0.3", 80), False)
    assert set(chosen(upstreams)) == {A}
    upstreams.set_health(A, False)
    assert upstreams.select(b"", 256) is None
    upstreams.set_health(B, True)
    assert set(chosen(upstreams)) == {B}


@pytest.mark.parametrize("policy", EVERY)
def test_every_policy_has_nobody_to_choose_when_there_is_nobody(
    policy: PolicyClass,
) -> None:
    upstreams = LoadBalancer.try_from_iter([], policy)
    assert upstreams.select(b"key", 256) is None
    assert upstreams.select_with(b"key", 256, lambda backend, ready: True) is None


def test_what_is_selected_is_a_peer() -> None:
    upstreams = LoadBalancer.try_from_iter(["1.1.1.1:443"], RoundRobin)
    peer = HttpPeer(upstreams.select(b"", 256), tls=True, sni="one.one.one.one")
    assert str(peer) == "1.1.1.1:443"
    upstreams.set_health("1.1.1.1:443", False)
    with pytest.raises(NoPeer):
        HttpPeer(upstreams.select(b"", 256), tls=True, sni="one.one.one.one")


def test_a_key_goes_to_the_first_on_its_ring_within_the_steps() -> None:
    upstreams = LoadBalancer.try_from_iter([A, B, C], Ketama)
    first = upstreams.select(b"key", 256)
    assert upstreams.select(b"key", 1) == first
    assert upstreams.select(b"key", 0) is None
    assert first is not None
    upstreams.set_health(first, False)
    assert upstreams.select(b"key", 1) is None
    assert upstreams.select(b"key", 100) not in (None, first)


def test_a_program_may_take_one_that_is_not_ready() -> None:
    upstreams = LoadBalancer.try_from_iter([A, B])
    upstreams.set_health(A, False)
    upstreams.set_health(B, False)
    assert upstreams.select(b"", 256) is None

    def anybody(backend: Backend, ready: bool) -> bool:
        return not ready

    found = [address(upstreams.select_with(b"", 256, anybody)) for _ in range(4)]
    assert sorted(found) == [A, A, B, B]
    assert upstreams.select(b"", 256) is None
    upstreams.set_health(B, True)
    assert picks(upstreams, 2) == [B, B]
    assert address(upstreams.select_with(b"", 256, anybody)) == A


def test_a_program_may_refuse_one_that_is_ready() -> None:
    upstreams = LoadBalancer.try_from_iter([A, B, C])
    seen: list[tuple[str, bool]] = []

    def only_b(backend: Backend, ready: bool) -> bool:
        seen.append((address(backend), ready))
        return address(backend) == B

    assert address(upstreams.select_with(b"", 256, only_b)) == B
    assert seen == [(A, True), (B, True)]
    assert upstreams.select_with(b"", 256, lambda backend, ready: False) is None


# -- chance and time --------------------------------------------------------------


@pytest.mark.parametrize("policy", [Random, P2C, PeakEwma])
def test_chance_repeats_itself_unless_it_is_given(policy: PolicyClass) -> None:
    one = LoadBalancer.try_from_iter([A, B, C], policy)
    other = LoadBalancer.try_from_iter([A, B, C], policy)
    assert picks(one, 50) == picks(other, 50)
    other.use(threading.Lock(), Draws(7))
    assert picks(one, 50) != picks(other, 50)
    other.use(threading.Lock(), lambda: 0.0)
    assert set(picks(other, 50)) == {A}


def test_draws_are_even() -> None:
    draws = Draws(3)
    numbers = [draws() for _ in range(10_000)]
    assert all(0 <= number < 1 for number in numbers)
    assert 0.48 < sum(numbers) / len(numbers) < 0.52


def test_the_policy_hears_what_became_of_a_choice() -> None:
    upstreams = LoadBalancer.try_from_iter([A, B], LeastConnections)
    upstreams.leased(A)
    assert picks(upstreams, 3) == [B, B, B]
    upstreams.leased(B)
    upstreams.leased(B)
    assert picks(upstreams, 1) == [A]
    for gone in (A, B, B, B, C):
        upstreams.released(gone)
    upstreams.leased(C)
    upstreams.leased(A)
    assert picks(upstreams, 1) == [B]


def test_a_slow_backend_is_forgiven_with_the_time_that_is_told() -> None:
    upstreams = LoadBalancer.try_from_iter([A, B], PeakEwma)
    upstreams.observe(A, 30.0, 100.0, failed=True)
    upstreams.observe(B, 0.1, 100.0, failed=False)
    upstreams.observe(C, 0.1, 100.0, failed=False)
    assert set(picks(upstreams, 100)) == {B}
    upstreams.observe(B, 0.1, 300.0, failed=False)
    upstreams.observe(B, 0.1, 200.0, failed=False)
    assert set(picks(upstreams, 100)) == {A}


# -- a policy of one's own ----------------------------------------------------------


class Last(Policy):
    """The last of those that are in."""

    def __init__(self, backends: Sequence[BackendState]) -> None:
        self._backends = list(backends)

    def pick(self, key: bytes, now: float) -> BackendState | None:
        return next(self.walk(key, now), None)

    def walk(self, key: bytes, now: float) -> Iterator[BackendState]:
        return reversed(self._backends)

    def enter(self, backend: BackendState) -> None:
        self._backends.append(backend)

    def leave(self, backend: BackendState) -> None:
        self._backends.remove(backend)


def test_a_policy_may_be_the_programs_own() -> None:
    upstreams = LoadBalancer.try_from_iter([A, B, C], Last)
    assert picks(upstreams, 2) == [C, C]
    upstreams.set_health(C, False)
    assert picks(upstreams, 1) == [B]
    upstreams.set_health(C, True)
    assert picks(upstreams, 1) == [C]


def test_what_a_policy_of_ones_own_need_not_know_it_ignores() -> None:
    upstreams = LoadBalancer.try_from_iter([A, B], Last)
    upstreams.leased(B)
    upstreams.observe(B, 0.1, 1.0, failed=True)
    upstreams.released(B)
    (policy := Last([])).ramped(BackendState(BackendId(1), "web", Target("a", 80)))
    assert policy.pick(b"", 0.0) is None
    assert picks(upstreams, 1) == [B]


# -- other backends -----------------------------------------------------------------


def test_backends_that_stay_keep_what_is_known_of_them() -> None:
    upstreams = LoadBalancer.try_from_iter([A, B])
    upstreams.set_health(A, False)
    upstreams.leased(B)
    assert upstreams.update([C, (B, 2), A])
    assert not upstreams.update([C, (B, 2), A])
    assert [upstreams.ready(it) for it in (A, B, C, "10.0.0.4:80")] == [
        False,
        True,
        True,
        False,
    ]
    assert Counter(picks(upstreams, 6)) == {B: 4, C: 2}
    upstreams.update([C, A])
    assert picks(upstreams, 2) == [C, C]
    assert not upstreams.set_health(B, True)
    upstreams.update([])
    assert upstreams.select(b"", 256) is None
    assert upstreams.update([A])
    assert picks(upstreams, 1) == [A]


def test_a_backend_that_drains_gets_nothing_new() -> None:
    upstreams = LoadBalancer.try_from_iter([A, B])
    away = Backend(target=Target("10.0.0.1", 80), drain=True)
    upstreams.update([away, B])
    assert picks(upstreams, 2) == [B, B]
    upstreams.update([A, B])
    assert set(picks(upstreams, 2)) == {A, B}


def test_backends_stay_when_the_new_ones_are_wrong() -> None:
    upstreams = LoadBalancer.try_from_iter([A, B])
    with pytest.raises(AddressError):
        upstreams.update([C, "nonsense"])
    assert picks(upstreams, 2) == [A, B]


class Lists:
    def __init__(self, *found: list[str]) -> None:
        self.found = list(found)

    def discover(self) -> list[str]:
        return self.found.pop(0)


class Awaited(Lists):
    async def discover(self) -> list[str]:  # type: ignore[override]
        await asyncio.sleep(0)
        return self.found.pop(0)


def test_backends_may_be_discovered() -> None:
    discovery: ServiceDiscovery = Lists([A], [A], [B])
    upstreams = LoadBalancer.from_backends(discovery, RoundRobin)
    assert upstreams.select(b"", 256) is None
    assert [upstreams.update() for _ in range(3)] == [True, False, True]
    assert picks(upstreams, 1) == [B]


def test_a_discovery_may_be_a_coroutine() -> None:
    upstreams = LoadBalancer.from_backends(Awaited([A], [B]))

    async def run() -> None:
        for wanted in (A, B):
            asked = upstreams.update()
            assert not isinstance(asked, bool)
            assert await asked
            assert picks(upstreams, 1) == [wanted]

    asyncio.run(run())


def test_the_static_one_has_always_the_same_to_say() -> None:
    upstreams = LoadBalancer.try_from_iter([A, B])
    assert upstreams.update() is False
    upstreams.update([C])
    assert upstreams.update() is True
    assert picks(upstreams, 2) == [A, B]


# -- checks -------------------------------------------------------------------------


def test_nothing_is_checked_unless_it_is_asked_for() -> None:
    upstreams = LoadBalancer.try_from_iter([A])
    assert (upstreams.health_check_frequency, upstreams.update_frequency) == (
        None,
        None,
    )
    assert upstreams.parallel_health_check is False
    described = upstreams.upstream("web")
    assert (described.name, described.backends) == ("web", upstreams.backends)
    assert described.health_check is None
    assert described.tls is None


def test_a_check_of_tcp_is_described_as_in_a_configuration() -> None:
    upstreams = LoadBalancer.try_from_iter([A])
    check = TcpHealthCheck()
    check.consecutive_failure = 3
    upstreams.set_health_check(check)
    assert upstreams.upstream("web").health_check == HealthCheck(
        interval=float("inf"), unhealthy_after=3
    )
    upstreams.health_check_frequency = 2.5
    upstreams.set_health_check(TcpHealthCheck.new_tls("a.example"))
    described = upstreams.upstream("web")
    assert described.health_check == HealthCheck(interval=2.5)
    assert described.tls == ClientTls(sni="a.example")


@pytest.mark.parametrize(
    ("check", "tls"),
    [
        (HttpHealthCheck("a.example"), None),
        (HttpHealthCheck("a.example:8443", True), ClientTls(sni="a.example")),
        (HttpHealthCheck("[::1]:8443", True), ClientTls(sni="::1")),
        (
            HttpHealthCheck("a", True, peer_tls=ClientTls(verify=False)),
            ClientTls(verify=False),
        ),
    ],
)
def test_a_check_of_http_may_speak_tls(
    check: HttpHealthCheck, tls: ClientTls | None
) -> None:
    found = description(check, 1.0)
    assert found is not None
    assert (found[0].type, found[1]) == ("http", tls)


def test_a_check_of_http_says_what_it_asks_and_expects() -> None:
    check = HttpHealthCheck(
        "a.example",
        method="HEAD",
        path="/ok?deep=1",
        expect_status=(200, 204),
        expect_body=b"fine",
        reuse_connection=True,
        port_override=81,
        consecutive_success=2,
        consecutive_failure=4,
        timeout=0.5,
    )
    assert check.describe(3.0) == HealthCheck(
        type="http",
        interval=3.0,
        timeout=0.5,
        healthy_after=2,
        unhealthy_after=4,
        port=81,
        method=b"HEAD",
        path=b"/ok?deep=1",
        host=b"a.example",
        expect_status=(200, 204),
        expect_body=b"fine",
        reuse=True,
    )


@pytest.mark.parametrize(
    "check",
    [
        HttpHealthCheck("a\r\nX: 1"),
        HttpHealthCheck(""),
        HttpHealthCheck("é.example"),
        HttpHealthCheck("a", path="healthz"),
        HttpHealthCheck("a", path="/a b"),
        HttpHealthCheck("a", method="GET /"),
    ],
)
def test_a_check_that_cannot_be_written_is_refused(check: HttpHealthCheck) -> None:
    upstreams = LoadBalancer.try_from_iter([A])
    with pytest.raises(ValueError, match=r"is no (host|path|method) of a request"):
        upstreams.set_health_check(check)
    assert upstreams.health_check is None


def test_a_check_may_be_a_configurations_or_the_programs_own() -> None:
    class Own:
        def check(self, backend: Backend) -> bool:
            return True

    upstreams = LoadBalancer.try_from_iter([A])
    upstreams.set_health_check(HealthCheck(interval=9.0))
    assert upstreams.upstream("web").health_check == HealthCheck(interval=9.0)
    upstreams.set_health_check(Own())
    assert upstreams.upstream("web").health_check is None


# -- threads ------------------------------------------------------------------------


def test_threads_that_share_it_each_get_their_turns() -> None:
    upstreams = LoadBalancer.try_from_iter([A, B, C])
    upstreams.use(threading.RLock(), Draws())
    found: list[list[str]] = [[], [], []]

    def work(mine: list[str]) -> None:
        for turn in range(2000):
            mine += picks(upstreams, 1)
            if turn % 100 == 0:
                upstreams.set_health(A, turn % 200 == 0)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    upstreams.set_health(A, True)
    assert sum(map(len, found)) == 6000
    assert "-" not in {one for mine in found for one in mine}
    assert Counter(picks(upstreams, 300)) == {A: 100, B: 100, C: 100}
