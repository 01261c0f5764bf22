"""What all policies have in common."""

from __future__ import annotations

from itertools import islice
from typing import get_args

import pytest

from lbproto.config import PolicyName
from lbproto.selection.policies import KEYED, WEIGHS_RAMPS, make_policy
from lbproto.selection.policy import select, unique
from tests.unit.selection.states import backends, chance

NAMES = get_args(PolicyName)
EACH = pytest.mark.parametrize("name", NAMES)


def test_every_name_of_a_set_is_a_policy():
    assert set(NAMES) >= KEYED | WEIGHS_RAMPS
    assert len(NAMES) == 8


@EACH
def test_a_policy_takes_all_news_of_its_backends(name):
    states = backends(1, 2, 3)
    policy = make_policy(name, states, chance())
    for state in states:
        state.active = 1
        policy.leased(state)
        policy.observe(state, 0.1, 0.0, failed=False)
        state.ramp = 0.5
        policy.ramped(state)
        state.active = 0
        policy.released(state)
    assert policy.pick(b"x", 0.0) in states


@EACH
def test_going_on_finds_every_backend_that_is_in(name):
    states = backends(1, 2, 3)
    policy = make_policy(name, states, chance())
    assert len(list(unique(policy.walk(b"x", 0.0), 256))) == 3
    policy.leave(states[1])
    states[1].barred = 1
    found = {select(policy, b"%d" % key, 256, 0.0) for key in range(50)}
    if name != "least_connections":  # whose order is the same until a lease is given
        assert found == {states[0], states[2]}
    assert states[1] not in found


@EACH
def test_the_first_of_a_walk_is_the_pick(name):
    states = backends(1, 2, 3)
    one, same = (make_policy(name, backends(1, 2, 3), chance()) for _ in range(2))
    for key in (b"a", b"b", b"c"):
        picked = one.pick(key, 0.0)
        (first,) = islice(same.walk(key, 0.0), 1)
        assert picked is not None
        assert picked.id == first.id
    assert len(states) == 3


@EACH
def test_weights_may_be_as_large_as_they_can(name):
    weights = (1, 200) if name == "ketama" else (1, 65535)
    states = backends(*weights)
    policy = make_policy(name, states, chance())
    picked = [policy.pick(b"key-%d" % key, 0.0) for key in range(100)]
    if name != "least_connections":
        assert picked.count(states[1]) > 90
