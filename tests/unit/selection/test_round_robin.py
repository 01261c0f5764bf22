"""Smooth weighted round robin."""

from __future__ import annotations

from lbproto.machine.effects import Target
from lbproto.selection.backend import BackendId, BackendState
from lbproto.selection.round_robin import RoundRobin


def backends(*weights: int) -> list[BackendState]:
    return [
        BackendState(BackendId(at), "web", Target("10.0.0.1", at), weight)
        for at, weight in enumerate(weights)
    ]


def picks(states: list[BackendState], count: int, skip: str = "") -> str:
    """Return the names of the chosen: a is the first backend."""
    policy = RoundRobin(states)
    names = "abcdefgh"
    chosen = ""
    for _ in range(count):
        one = policy.pick(lambda state: names[state.id] not in skip)
        assert one is not None
        chosen += names[one.id]
    return chosen


def test_equal_weights_take_turns_in_order():
    assert picks(backends(1, 1, 1), 6) == "abcabc"


def test_a_heavy_backend_gets_its_share_without_bursts():
    states = backends(5, 1, 1)
    assert picks(states, 14) == "aabacaa" * 2
    assert [state.current for state in states] == [0, 0, 0]


def test_the_smooth_weights_are_those_of_nginx():
    states = backends(5, 1, 1)
    policy = RoundRobin(states)
    seen = []
    for _ in range(7):
        policy.pick(lambda state: True)
        seen.append(tuple(state.current for state in states))
    assert seen == [
        (-2, 1, 1),
        (-4, 2, 2),
        (1, -4, 3),
        (-1, -3, 4),
        (4, -2, -2),
        (2, -1, -1),
        (0, 0, 0),
    ]


def test_a_skipped_backend_takes_no_part_in_the_turn():
    states = backends(5, 1, 1)
    assert picks(states, 4, skip="a") == "bcbc"
    assert [state.current for state in states] == [0, 0, 0]
    assert picks(states, 7) == "aabacaa"


def test_nobody_is_chosen_when_nobody_is_eligible():
    states = backends(5, 1)
    assert RoundRobin(states).pick(lambda state: False) is None
    assert RoundRobin([]).pick(lambda state: True) is None
    assert [state.current for state in states] == [0, 0]
