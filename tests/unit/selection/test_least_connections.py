"""The backend with the fewest exchanges."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lbproto.selection.backend import BackendState
from lbproto.selection.least_connections import LeastConnections
from lbproto.selection.load import load
from tests.unit.selection.states import backends, letters


def lease(policy: LeastConnections) -> BackendState | None:
    picked = policy.pick(b"", 0.0)
    if picked is not None:
        picked.active += 1
        policy.leased(picked)
    return picked


def release(policy: LeastConnections, backend: BackendState) -> None:
    backend.active -= 1
    policy.released(backend)


def test_the_least_loaded_is_chosen():
    states = backends(1, 1, 1)
    policy = LeastConnections(states)
    assert letters(lease(policy) for _ in range(4)) == "abca"
    release(policy, states[2])
    assert lease(policy) is states[2]
    release(policy, states[0])
    release(policy, states[0])
    assert letters(lease(policy) for _ in range(2)) == "ab"


def test_a_heavy_backend_carries_its_weight():
    states = backends(4, 2, 1)
    policy = LeastConnections(states)
    got = Counter(letters(lease(policy) for _ in range(21)))
    assert got == {"a": 12, "b": 6, "c": 3}


def test_equals_take_turns_by_weight_when_there_is_little_to_do():
    policy = LeastConnections(backends(5, 1, 1))
    got = []
    for _ in range(14):
        picked = lease(policy)
        assert picked is not None
        got.append(picked)
        release(policy, picked)
    assert letters(got) == "abcaaaaabcaaaa"


def test_who_comes_back_does_not_catch_up():
    states = backends(1, 1)
    policy = LeastConnections(states)
    policy.leave(states[1])
    for _ in range(10):
        release(policy, lease(policy) or states[0])
    policy.enter(states[1])
    got = []
    for _ in range(6):
        picked = lease(policy)
        assert picked is not None
        got.append(picked)
        release(policy, picked)
    assert letters(got) == "bababa"


def test_a_slow_start_counts_as_load():
    states = backends(1, 1)
    policy = LeastConnections(states)
    states[0].ramp = 0.1
    policy.ramped(states[0])
    assert letters(lease(policy) for _ in range(12)) == "bbbbbbbbbabb"
    states[0].ramp = 1.0
    policy.ramped(states[0])
    assert letters(lease(policy) for _ in range(9)) == "aaaaaaaaa"


def test_nobody_is_chosen_when_nobody_is_in():
    states = backends(1)
    policy = LeastConnections(states)
    assert letters(policy.walk(b"", 0.0)) == "a"
    policy.leave(states[0])
    assert policy.pick(b"", 0.0) is None
    assert letters(policy.walk(b"", 0.0)) == ""
    policy.released(states[0])
    assert policy.pick(b"", 0.0) is None


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=6),
    st.lists(st.integers(-6, 6), max_size=80),
)
def test_nobody_else_is_ever_less_loaded(weights, steps):
    states = backends(*weights)
    policy = LeastConnections(states)
    for step in steps:
        held = [state for state in states if state.active]
        if step < 0 and held:
            release(policy, held[step % len(held)])
            continue
        least = min(load(state) for state in states)
        picked = lease(policy)
        assert picked is not None
        assert (picked.active - 1) / picked.weight == least
        order = list(policy.walk(b"", 0.0))
        assert [load(state) for state in order] == sorted(map(load, states))


def test_a_long_life_leaves_nothing_behind():
    states = backends(1, 1, 1)
    policy = LeastConnections(states)
    for state in states[1:]:
        state.active = 10
        policy.leased(state)
    for _ in range(1000):
        for state in states[1:]:
            release(policy, state)
            state.active += 1
            policy.leased(state)
    assert len(policy._heap) < 60
    assert policy.pick(b"", 0.0) is states[0]


def test_one_may_go_and_come_as_it_was():
    states = backends(1, 1, 1)
    policy = LeastConnections(states)
    for _ in range(3):
        for state in states[1:]:
            policy.leave(state)
            policy.enter(state)
    assert letters(lease(policy) for _ in range(3)) == "abc"
