"""Smooth weighted round robin."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lbproto.selection.backend import BackendState
from lbproto.selection.round_robin import RoundRobin
from tests.unit.selection.states import backends, letters


def picks(states: list[BackendState], count: int) -> str:
    policy = RoundRobin(states)
    return letters(policy.pick(b"", 0.0) for _ in range(count))


def test_equal_weights_take_turns_in_order():
    assert picks(backends(1, 1, 1), 6) == "abcabc"


def test_a_heavy_backend_gets_its_share_without_bursts():
    assert picks(backends(5, 1, 1), 14) == "aabacaa" * 2


def test_a_backend_that_is_out_takes_no_part_in_the_turns():
    states = backends(5, 1, 1)
    policy = RoundRobin(states)
    policy.leave(states[0])
    assert letters(policy.pick(b"", 0.0) for _ in range(4)) == "bcbc"
    policy.enter(states[0])
    assert letters(policy.pick(b"", 0.0) for _ in range(7)) == "aabacaa"


def test_nobody_is_chosen_when_nobody_is_in():
    states = backends(5, 1)
    policy = RoundRobin(states)
    for state in states:
        policy.leave(state)
    assert policy.pick(b"", 0.0) is None
    assert list(policy.walk(b"", 0.0)) == []
    policy.enter(states[1])
    assert policy.pick(b"", 0.0) is states[1]


def as_nginx(claims: dict[int, int], weights: list[int], out: set[int]) -> int | None:
    """One turn of `ngx_http_upstream_get_peer`, in its own words."""
    total, best = 0, None
    for at, weight in enumerate(weights):
        if at in out:
            continue
        claims[at] += weight
        total += weight
        if best is None or claims[at] > claims[best]:
            best = at
    if best is not None:
        claims[best] -= total
    return best


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=8),
    st.lists(st.sets(st.integers(0, 7)), max_size=12),
    st.integers(1, 9),
)
def test_the_order_is_that_of_nginx_whoever_comes_and_goes(weights, spells, turns):
    states = backends(*weights)
    policy = RoundRobin(states)
    claims = dict.fromkeys(range(len(weights)), 0)
    gone: set[int] = set()
    for out in spells:
        for state in states:
            if state.id in out and state.id not in gone:
                policy.leave(state)
            elif state.id in gone and state.id not in out:
                policy.enter(state)
        gone = out
        for _ in range(turns):
            picked = policy.pick(b"", 0.0)
            expected = as_nginx(claims, weights, out)
            assert (None if picked is None else picked.id) == expected


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30))
def test_weights_are_honoured_exactly_in_every_cycle(weights):
    policy = RoundRobin(backends(*weights))
    for _ in range(2):
        turns = [policy.pick(b"", 0.0) for _ in range(sum(weights))]
        got = Counter(one.id for one in turns if one is not None)
        assert got == dict(enumerate(weights))
