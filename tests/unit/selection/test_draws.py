"""The policies that draw lots: random, two choices, peak EWMA."""

from __future__ import annotations

import pytest

from lbproto.selection.draw import Lots
from lbproto.selection.p2c import P2C
from lbproto.selection.peak_ewma import DECAY, PENALTY, WORST, PeakEwma
from lbproto.selection.weighted_random import Random
from tests.unit.selection.states import backends, chance, letters, shares

DRAWING = pytest.mark.parametrize("policy", [Random, P2C, PeakEwma])


def test_every_number_draws_somebody_each_as_often_as_its_weight():
    lots = Lots(backends(1, 2, 1))
    assert letters(lots.one(at / 8) for at in range(8)) == "aabbbbcc"


@pytest.mark.parametrize("weights", [(1, 2, 3), (1, 1), (2, 2, 2, 2), (7, 1)])
def test_two_are_different_and_each_as_likely_as_its_weight(weights):
    lots = Lots(backends(*weights))
    total = sum(weights)
    seen = dict.fromkeys(range(len(weights)), 0)
    for first in range(total):
        for second in range(60):
            one, other = lots.two(first / total, second / 60)
            assert one is not other
            seen[one.id] += 1
    assert [count / 60 for count in seen.values()] == list(weights)


def test_the_second_draw_falls_on_the_others_by_their_weights():
    lots = Lots(backends(2, 1, 3))
    others = [lots.two(0.4, at / 5)[1] for at in range(5)]
    assert letters(others) == "aaccc"
    assert letters(lots.two(0.0, at / 4)[1] for at in range(4)) == "bccc"
    assert letters(lots.two(0.9, at / 3)[1] for at in range(3)) == "aab"


@DRAWING
@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (4, 2, 1, 1)])
def test_shares_follow_the_weights_while_there_is_nothing_to_do(policy, weights):
    states = backends(*weights)
    got = shares(policy(states, chance()), 20_000)
    for state in states:
        expected = 20_000 * state.weight / sum(weights)
        assert abs(got[state.id] - expected) < 500


@DRAWING
def test_who_is_out_is_not_drawn(policy):
    states = backends(3, 1, 1)
    one = policy(states, chance())
    one.leave(states[0])
    assert set(shares(one, 200)) == {1, 2}
    one.leave(states[1])
    assert set(shares(one, 5)) == {2}
    one.leave(states[2])
    assert one.pick(b"", 0.0) is None
    assert list(one.walk(b"", 0.0)) == []
    one.enter(states[1])
    one.enter(states[0])
    assert set(shares(one, 200)) == {0, 1}


@pytest.mark.parametrize("policy", [P2C, PeakEwma])
def test_the_loaded_one_of_two_is_passed_over(policy):
    states = backends(1, 1)
    one = policy(states, chance())
    for state in states:
        one.observe(state, 0.01, 0.0, failed=False)
    states[0].active = 5
    assert set(shares(one, 50)) == {1}
    states[1].active = 6
    assert set(shares(one, 50)) == {0}


@pytest.mark.parametrize("policy", [P2C, PeakEwma])
def test_load_is_compared_by_weight_and_by_how_far_a_slow_start_is(policy):
    states = backends(4, 1)
    one = policy(states, chance())
    for state in states:
        one.observe(state, 0.01, 0.0, failed=False)
    states[0].active, states[1].active = 6, 2
    assert set(shares(one, 50)) == {0}
    states[0].ramp = 0.1
    assert set(shares(one, 50)) == {1}


def test_two_choices_spread_far_better_than_one():
    fullest = {}
    for policy in (Random, P2C):
        states = backends(*[1] * 100)
        one = policy(states, chance())
        for _ in range(1000):
            picked = one.pick(b"", 0.0)
            assert picked is not None
            picked.active += 1
        fullest[policy] = max(state.active for state in states)
    assert fullest[P2C] <= 13 < 16 <= fullest[Random]


# -- peak EWMA -----------------------------------------------------------------


def test_the_slower_of_two_is_passed_over_until_it_was_forgotten():
    states = backends(1, 1)
    one = PeakEwma(states, chance())
    one.observe(states[0], 0.5, 0.0, failed=False)
    one.observe(states[1], 0.01, 0.0, failed=False)
    assert one.pick(b"", 1.0) is states[1]
    one.observe(states[1], 0.01, 40.0, failed=False)
    assert one.pick(b"", 40.0) is states[0]  # 0.5 e^-4 < 0.01


def test_a_peak_counts_at_once_and_good_news_must_last():
    (state,) = states = backends(1)
    one = PeakEwma(states, chance())
    one.observe(state, 0.01, 0.0, failed=False)
    one.observe(state, 2.0, 0.1, failed=False)
    assert state.latency == 2.0
    one.observe(state, 0.01, 0.2, failed=False)
    assert 1.9 < state.latency < 2.0
    one.observe(state, 0.01, 10.0 * DECAY, failed=False)
    assert state.latency == pytest.approx(0.01, rel=0.02)


def test_a_backend_that_fails_fast_attracts_nothing():
    states = backends(*[1] * 5)
    one = PeakEwma(states, chance())
    got = dict.fromkeys(range(5), 0)
    for turn in range(5000):
        now = turn / 1000
        picked = one.pick(b"", now)
        assert picked is not None
        got[picked.id] += 1
        failed = picked.id == 2
        one.observe(picked, 0.0001 if failed else 0.2, now, failed=failed)
    assert got[2] == 1


def test_a_failure_counts_for_more_each_time_up_to_a_bound():
    (state,) = states = backends(1)
    one = PeakEwma(states, chance())
    seen = []
    for _ in range(9):
        one.observe(state, 0.001, 0.0, failed=True)
        seen.append(state.latency)
    assert seen[:4] == [PENALTY, 2 * PENALTY, 4 * PENALTY, 8 * PENALTY]
    assert seen[-1] == WORST
    one.observe(state, 400.0, 0.0, failed=True)
    assert state.latency == 400.0


def test_one_that_never_answered_gets_one_request_at_first():
    states = backends(1, 1)
    one = PeakEwma(states, chance())
    one.observe(states[0], 0.01, 0.0, failed=False)
    assert one.pick(b"", 0.0) is states[1]
    states[1].active = 1
    assert one.pick(b"", 0.0) is states[0]


def test_time_that_runs_backwards_changes_nothing():
    (state,) = states = backends(1)
    one = PeakEwma(states, chance())
    one.observe(state, 0.5, 10.0, failed=False)
    one.observe(state, 0.1, 9.0, failed=False)
    assert state.latency == 0.5
