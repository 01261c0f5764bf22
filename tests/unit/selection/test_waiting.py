"""The queue for a backend that is full."""

from __future__ import annotations

import math

from lbproto.selection.waiting import Ticket, WaitQueue


def joined(queue: WaitQueue, now: float) -> Ticket:
    ticket = queue.join(now)
    assert ticket is not None
    return ticket


def test_the_queue_has_a_bound_that_may_change():
    queue = WaitQueue("web", 2, 1.0)
    a, _ = joined(queue, 0.0), joined(queue, 0.0)
    assert queue.join(0.0) is None
    assert queue.leave(a)
    assert not queue.leave(a)
    joined(queue, 0.0)
    queue.resize(1, 1.0)
    assert len(queue) == 2
    assert queue.join(0.0) is None


def test_the_first_are_called_first_and_no_more_than_there_are_places():
    queue = WaitQueue("web", 9, 1.0)
    a, b, c = (joined(queue, 0.0) for _ in range(3))
    assert queue.call(0) == []
    assert queue.call(2) == [a, b]
    assert queue.call(2) == []
    assert [queue.is_called(ticket) for ticket in (a, b, c)] == [True, True, False]
    assert queue.leave(a)
    assert queue.call(2) == [c]
    assert queue.call(math.inf) == []


def test_time_runs_out_for_called_and_uncalled_alike():
    queue = WaitQueue("web", 9, 1.0)
    assert queue.deadline == math.inf
    a, b, c, d = (joined(queue, at) for at in (0.0, 0.1, 0.2, 0.3))
    queue.call(2)
    queue.leave(c)
    assert queue.deadline == 1.0
    assert queue.expire(0.9) == []
    assert queue.expire(1.1) == [a, b]
    assert queue.deadline == d.until == 1.3
    assert len(queue) == 1
