"""Idle connections."""

from __future__ import annotations

import math

import pytest

from lbproto.machine.errors import LocalProtocolError
from lbproto.machine.values import ConnId
from lbproto.selection.backend import BackendId
from lbproto.selection.pool import IdlePool

A, B = (BackendId(0), b""), (BackendId(1), b"")


def conn(number: int) -> ConnId:
    return ConnId(number)


def test_an_empty_pool_has_nothing():
    pool = IdlePool(4)
    assert pool.checkout(A) is None
    assert not pool.forget(conn(1))
    assert pool.expire(math.inf) == []
    assert pool.deadline == math.inf
    assert len(pool) == 0


def test_the_connection_parked_last_is_taken_first():
    pool = IdlePool(4)
    for number in (1, 2, 3):
        assert pool.park(A, conn(number), 10.0)
    assert [pool.checkout(A) for _ in range(4)] == [3, 2, 1, None]


def test_a_connection_is_for_its_own_backend():
    pool = IdlePool(4)
    pool.park(A, conn(1), 10.0)
    assert pool.checkout(B) is None
    assert pool.checkout(A) == 1


def test_a_full_pool_gives_up_the_one_parked_longest_ago():
    pool = IdlePool(2)
    pool.park(A, conn(1), 30.0)
    pool.park(B, conn(2), 10.0)
    assert pool.park(B, conn(3), 20.0)
    assert pool.deadline == -math.inf, "there is one to close at once"
    assert pool.park(A, conn(4), 20.0)
    assert len(pool) == 2
    assert pool.expire(0.0) == [1, 2]
    assert pool.deadline == 20.0
    assert pool.checkout(A) == 4
    assert pool.checkout(B) == 3


def test_parking_again_counts_from_then():
    pool = IdlePool(2)
    pool.park(A, conn(1), 10.0)
    pool.park(A, conn(2), 10.0)
    pool.forget(conn(1))
    pool.park(A, conn(1), 10.0)
    assert pool.park(A, conn(3), 10.0)
    assert pool.expire(0.0) == [2]


def test_one_that_made_room_and_ended_is_not_closed_again():
    pool = IdlePool(1)
    pool.park(A, conn(1), 10.0)
    pool.park(A, conn(2), 10.0)
    assert pool.checkout(A) == 2, "never the one that was given up"
    assert pool.forget(conn(1))
    assert not pool.forget(conn(1))
    assert pool.expire(math.inf) == []


def test_a_connection_is_for_those_with_its_preface():
    pool = IdlePool(4)
    pool.park((BackendId(0), b"PROXY ..."), conn(1), 10.0)
    assert pool.checkout(A) is None
    assert pool.checkout((BackendId(0), b"PROXY ...")) == 1


def test_a_pool_of_size_0_keeps_nothing():
    pool = IdlePool(0)
    assert not pool.park(A, conn(1), 10.0)
    assert len(pool) == 0
    assert pool.deadline == math.inf


def test_parking_twice_is_a_bug():
    pool = IdlePool(2)
    pool.park(A, conn(1), 10.0)
    with pytest.raises(LocalProtocolError, match="parked already"):
        pool.park(B, conn(1), 10.0)


def test_a_forgotten_connection_is_gone():
    pool = IdlePool(2)
    pool.park(A, conn(1), 10.0)
    assert pool.forget(conn(1))
    assert not pool.forget(conn(1))
    assert pool.checkout(A) is None
    assert pool.expire(math.inf) == []


def test_expiries_need_not_come_in_order():
    pool = IdlePool(4)
    pool.park(A, conn(1), 30.0)
    pool.park(A, conn(2), 10.0)
    pool.park(B, conn(3), 20.0)
    assert pool.deadline == 10.0
    assert pool.expire(9.9) == []
    assert pool.expire(10.0) == [2]
    assert pool.deadline == 20.0
    assert pool.expire(40.0) == [3, 1]
    assert pool.deadline == math.inf


def test_the_deadline_forgets_connections_that_left():
    pool = IdlePool(4)
    pool.park(A, conn(1), 10.0)
    pool.park(A, conn(2), 20.0)
    pool.forget(conn(1))
    assert pool.deadline == 20.0


def test_an_earlier_stay_does_not_end_a_later_one():
    pool = IdlePool(4)
    pool.park(A, conn(1), 10.0)
    assert pool.checkout(A) == 1
    pool.park(A, conn(1), 50.0)
    assert pool.expire(20.0) == []
    assert pool.deadline == 50.0
    assert pool.expire(50.0) == [1]


def test_stale_expiries_do_not_pile_up():
    pool = IdlePool(4)
    pool.park(B, conn(1), 1e9)
    for turn in range(10_000):
        pool.park(A, conn(2), 100.0 + turn)
        assert pool.checkout(A) == 2
    assert [lane.last.conn for lane in pool._lanes if lane.last is not None] == [1]
    assert pool.deadline == 1e9
