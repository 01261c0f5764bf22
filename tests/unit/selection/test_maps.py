"""The policies that give each key its backend: hash, ketama, maglev."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproto.selection.backend import BackendState
from lbproto.selection.fnv_hash import FnvHash, fnv1a
from lbproto.selection.ketama import POINTS, Ketama
from lbproto.selection.maglev import SIZES, Maglev
from lbproto.selection.members import MAX_STEPS, Members
from lbproto.selection.policy import select, unique
from tests.children import environment
from tests.unit.selection.states import at, backends, letters, shares

MAPS = pytest.mark.parametrize("make", [FnvHash, Ketama, Maglev])
RINGS = pytest.mark.parametrize("make", [Ketama, Maglev])
KEYS = [b"key-%d" % number for number in range(2000)]

NGINX = json.loads((Path(__file__).parent / "data" / "ketama.json").read_text("utf-8"))
"""What nginx picks; `data/make_ketama.py` asked it."""


def owners(policy: FnvHash | Ketama | Maglev) -> list[BackendState | None]:
    return [policy.pick(key, 0.0) for key in KEYS]


def ports(picked: list[BackendState]) -> list[int]:
    return [one.target.port for one in picked]


# -- hash -----------------------------------------------------------------------

PINGORA = ("1.1.1.1:80", "1.0.0.1:80*10", "1.0.0.255:80")


def test_fnv_is_the_hash_of_its_authors():
    assert fnv1a(b"") == 0xCBF29CE484222325
    assert fnv1a(b"a") == 0xAF63DC4C8601EC8C
    assert fnv1a(b"foobar") == 0x85944171F73967E8


def test_the_walk_of_a_key_is_that_of_pingora():
    walk = FnvHash(at(*PINGORA)).walk(b"test", 0.0)
    assert letters(islice(walk, 11)) == "bbbacbbabca"


def test_the_picks_of_keys_are_those_of_pingora():
    policy = FnvHash(at(*PINGORA))
    keys = [b"test%d" % number for number in range(1, 8)]
    assert letters(policy.pick(key, 0.0) for key in keys) == "bbcabbb"


def test_the_order_of_the_list_does_not_matter_to_a_hash():
    names = ("unix:/b", "h:1", "[::1]:2", "10.0.0.10:1", "10.0.0.9:2", "10.0.0.9:1")
    one, other = FnvHash(at(*names)), FnvHash(at(*reversed(names)))
    for key in KEYS[:200]:
        left, right = one.pick(key, 0.0), other.pick(key, 0.0)
        assert left is not None
        assert right is not None
        assert left.target == right.target


# -- ketama ---------------------------------------------------------------------


@pytest.mark.parametrize("name", NGINX["upstreams"])
def test_the_picks_of_the_ring_are_those_of_nginx(name):
    upstream = NGINX["upstreams"][name]
    servers = [f"{address}*{weight}" for address, weight in upstream["servers"]]
    policy = Ketama(at(*servers))
    picks = [policy.pick(key.encode(), 0.0) for key in NGINX["keys"]]
    assert [one.id for one in picks if one is not None] == upstream["picks"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", [7778, 7779, 7779, 7777, 7777, 7778, 7778, 7779]),
        ("[::1]", [7777, 7778, 7777, 7778, 7778, 7777, 7779]),
    ],
)
def test_the_walk_on_the_ring_is_that_of_pingora(host, expected):
    policy = Ketama(at(*(f"{host}:{port}" for port in (7777, 7778, 7779))))
    walk = policy.walk(b"doghash", 0.0)
    assert ports(list(islice(walk, len(expected)))) == expected


def test_the_ring_has_no_end():
    policy = Ketama(backends(1, 1))
    walk = list(islice(policy.walk(b"x", 0.0), 4 * POINTS))
    assert walk[: 2 * POINTS] == walk[2 * POINTS :]


def test_a_key_behind_the_last_point_belongs_to_the_first():
    policy = Ketama(backends(1, 1))
    last = policy._hashes.pop()
    assert last  # now any key of that stretch is behind the last point
    first = policy._owners[0]
    policy._owners = [*policy._owners[:-2], first]
    for key in (b"%d" % number for number in range(2000)):
        assert policy.pick(key, 0.0) is next(policy.walk(key, 0.0))


def test_removing_a_backend_moves_its_own_keys_on_the_ring_and_no_others():
    states = backends(1, 2, 1, 1, 1)
    before = owners(Ketama(states))
    after = owners(Ketama(states[:2] + states[3:]))
    for old, new in zip(before, after, strict=True):
        assert new is old or old is states[2]


# -- maglev ---------------------------------------------------------------------


def test_the_sizes_of_the_table_are_primes():
    for size in SIZES:
        assert all(size % factor for factor in range(2, int(size**0.5) + 1))


@pytest.mark.parametrize("weights", [(1, 1, 1), (5, 1, 1), (3, 2), (100, 1), (7,)])
def test_the_places_of_the_table_follow_the_weights(weights):
    table = Counter(one.id for one in Maglev(backends(*weights))._table)
    for number, weight in enumerate(weights):
        exact = SIZES[0] * weight / sum(weights)
        assert abs(table[number] - exact) <= 2


def test_the_table_has_a_hundred_places_for_each_backend():
    names = [f"10.0.{high}.{low}:80" for high in range(7) for low in range(100)]
    assert len(Maglev(at(*names))._table) == SIZES[1]


@pytest.mark.parametrize("count", [3, 10, 100])
def test_removing_a_backend_moves_few_other_places_of_the_table(count):
    states = backends(*[1] * count)
    before, after = Maglev(states)._table, Maglev(states[:1] + states[2:])._table
    moved = [old.id for old, new in zip(before, after, strict=True) if old is not new]
    assert moved.count(1) == Counter(before)[states[1]]
    assert len(moved) - moved.count(1) < 0.01 * len(before)


def test_the_order_of_the_list_does_not_matter_to_the_table():
    states = backends(1, 2, 3)
    assert owners(Maglev(states)) == owners(Maglev(states[::-1]))


# -- all of them ----------------------------------------------------------------


@MAPS
def test_no_backends_no_pick(make):
    policy = make([])
    assert policy.pick(b"x", 0.0) is None
    assert list(policy.walk(b"x", 0.0)) == []


@MAPS
def test_who_is_out_loses_its_keys_and_gets_them_back(make):
    states = backends(1, 2, 1, 1)
    policy = make(states)
    before = owners(policy)
    policy.leave(states[1])
    for old, new in zip(before, owners(policy), strict=True):
        assert new is not states[1]
        assert new is old or old is states[1]
    policy.enter(states[1])
    assert owners(policy) == before
    for state in states:
        policy.leave(state)
    assert policy.pick(b"x", 0.0) is None


@MAPS
def test_the_last_one_of_many_is_found(make):
    states = backends(*[1] * 12)
    policy = make(states)
    for state in states[:-1]:
        policy.leave(state)
    assert set(owners(policy)) == {states[-1]}


def test_when_a_walk_leads_nowhere_the_key_chooses_among_those_that_fit():
    states = backends(1, 1, 1, 1)
    members = Members(states)
    members.leave(states[0])
    lost = [states[0]] * (MAX_STEPS + 1)
    chosen = {members.choose(key, iter(lost)) for key in KEYS[:100]}
    assert chosen == set(states[1:])


@MAPS
@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (4, 1, 1)])
def test_shares_follow_the_weights(make, weights):
    got = shares(make(backends(*weights)), len(KEYS), KEYS)
    for number, weight in enumerate(weights):
        exact = len(KEYS) * weight / sum(weights)
        assert 0.6 * exact < got[number] < 1.5 * exact


# -- bounded load -----------------------------------------------------------------


@RINGS
@given(
    weights=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    percent=st.sampled_from([101, 110, 125, 200]),
    out=st.sets(st.integers(0, 5), max_size=3),
    keys=st.lists(st.sampled_from(KEYS[:3]), max_size=60),
)
@settings(max_examples=25, deadline=None)
def test_no_backend_has_more_than_its_bounded_share(make, weights, percent, out, keys):
    states = backends(*weights)
    policy = make(states, percent)
    left = [state for state in states if state.id not in out]
    for state in states:
        if state.id in out:
            policy.leave(state)
    total = sum(state.weight for state in left)
    for count, key in enumerate(keys, 1):
        picked = policy.pick(key, 0.0)
        if not left:
            assert picked is None
            continue
        assert picked in left
        picked.active += 1
        policy.leased(picked)
        assert picked.active - 1 < percent * count * picked.weight / (100 * total)


@RINGS
def test_a_hot_key_returns_to_its_backend_when_that_has_room(make):
    states = backends(1, 1, 1)
    policy = make(states, 125)
    first = policy.pick(b"hot", 0.0)
    held = []
    for _ in range(9):
        picked = policy.pick(b"hot", 0.0)
        picked.active += 1
        policy.leased(picked)
        held.append(picked)
    assert set(held) == set(states)
    for picked in held:
        picked.active -= 1
        policy.released(picked)
    assert policy.pick(b"hot", 0.0) is first


# -- going through in order ---------------------------------------------------------


def test_each_backend_comes_once_and_every_step_counts():
    a, b, c = backends(1, 1, 1)
    assert list(unique(iter([a, a, b, a, c]), 5)) == [a, b, c]
    assert list(unique(iter([a, a, b, a, c]), 4)) == [a, b]
    assert list(unique(iter([a, b]), 256)) == [a, b]
    assert list(unique(iter([a]), 0)) == []


@MAPS
def test_select_skips_the_unhealthy_and_gives_up_after_its_steps(make):
    states = backends(1, 1, 1)
    policy = make(states)
    order = list(unique(policy.walk(b"x", 0.0), 256))
    assert sorted(one.id for one in order) == [0, 1, 2]
    order[0].barred = 1
    assert select(policy, b"x", 256, 0.0) is order[1]
    assert select(policy, b"x", 1, 0.0) is None
    assert select(policy, b"x", 1, 0.0, lambda one: True) is order[0]


# -- whoever asks -------------------------------------------------------------------

PROGRAM = """
from tests.unit.selection.states import backends, chance
from lbproto.selection.policies import make_policy
from typing import get_args
from lbproto.config import PolicyName
for name in get_args(PolicyName):
    policy = make_policy(name, backends(3, 1, 2, 1), chance())
    picked = [policy.pick(b"%d" % at, 0.0).id for at in range(200)]
    print(name, picked)
"""


def test_picks_do_not_depend_on_the_hash_seed():
    said = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            check=True,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[3],
            env=environment(PYTHONHASHSEED=seed),
        ).stdout
        for seed in ("0", "1")
    }
    assert len(said) == 1
    assert said.pop().count("\n") == 8
