from __future__ import annotations

import math

from lbproto.machine.timers import Timer, TimerTable


def test_nothing_armed_means_no_deadline() -> None:
    table = TimerTable()
    assert table.next == math.inf
    assert table.due(1e9) is None
    assert repr(table) == "TimerTable()"


def test_the_earliest_timer_is_the_deadline() -> None:
    table = TimerTable()
    table.set(Timer.KEEPALIVE, 75.0)
    table.set(Timer.SEND, 60.0)
    assert table.next == 60.0
    assert repr(table) == "TimerTable(SEND=60.0, KEEPALIVE=75.0)"


def test_setting_again_moves_a_timer() -> None:
    table = TimerTable()
    table.set(Timer.HEAD, 10.0)
    table.set(Timer.HEAD, 20.0)
    assert table.due(15.0) is None
    assert table.due(20.0) is Timer.HEAD


def test_due_disarms_and_goes_by_importance_not_by_time() -> None:
    table = TimerTable()
    table.set(Timer.LINGER, 1.0)
    table.set(Timer.DRAIN, 2.0)
    assert table.due(3.0) is Timer.DRAIN
    assert not table.armed(Timer.DRAIN)
    assert table.armed(Timer.LINGER)
    assert table.due(3.0) is Timer.LINGER
    assert table.due(3.0) is None


def test_cleared_timers_do_not_fire() -> None:
    table = TimerTable()
    for timer in Timer:
        table.set(timer, 1.0)
    table.clear(Timer.HEAD)
    table.clear(Timer.CONNECT)
    assert not table.armed(Timer.HEAD)
    assert table.armed(Timer.RESPONSE)
    table.clear_all()
    assert table.next == math.inf
