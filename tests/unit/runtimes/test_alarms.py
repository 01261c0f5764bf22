"""Deadlines of many drivers on one timer of a loop, which is played here."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lbproto_runtimes.alarms import SLACK, Alarms


class Handle:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None], Handle]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, call: Callable[[], None]) -> Handle:
        self.timers.append((at, call, Handle()))
        return self.timers[-1][2]

    @property
    def pending(self) -> list[float]:
        return [at for at, _, handle in self.timers if not handle.cancelled]

    def move(self, now: float) -> None:
        self.now = now
        due = [one for one in self.timers if one[0] <= now and not one[2].cancelled]
        self.timers = [one for one in self.timers if one not in due]
        for _, call, _ in due:
            call()


class Driver:
    def __init__(self, alarms: Any, *deadlines: float) -> None:
        self.armed_at = math.inf
        self.ticks: list[float] = []
        self._alarms = alarms
        self._deadlines = list(deadlines)
        self.arm()

    def arm(self) -> None:
        if self._deadlines:
            self.armed_at = self._deadlines.pop(0)
            self._alarms.arm(self, self.armed_at)

    def tick(self) -> None:
        self.ticks.append(self._alarms._loop.now)
        self.armed_at = math.inf
        self.arm()


def world() -> tuple[Loop, Any]:
    loop: Any = Loop()
    return loop, Alarms(loop)


def test_the_loop_has_one_timer_for_the_first() -> None:
    loop, alarms = world()
    drivers = [Driver(alarms, at) for at in (5.0, 3.0, 4.0)]
    assert loop.pending == [3.0]
    loop.move(3.0)
    assert loop.pending == [4.0]
    loop.move(10.0)
    assert loop.pending == []
    assert [driver.ticks for driver in drivers] == [[10.0], [3.0], [10.0]]


def test_a_tick_may_arm_again() -> None:
    loop, alarms = world()
    driver = Driver(alarms, 1.0, 2.0, 9.0)
    loop.move(1.0)
    loop.move(2.5)
    assert driver.ticks == [1.0, 2.5]
    assert loop.pending == [9.0]


def test_what_was_armed_before_counts_no_more() -> None:
    loop, alarms = world()
    driver = Driver(alarms, 5.0, 2.0)
    driver.arm()
    loop.move(2.0)
    loop.move(6.0)
    assert driver.ticks == [2.0]


def test_one_that_is_gone_is_not_called_and_not_kept() -> None:
    loop, alarms = world()
    for _ in range(10 * SLACK):
        Driver(alarms, 75.0).armed_at = math.inf
    last = Driver(alarms, 76.0)
    assert len(alarms._entries) <= 2 * SLACK
    loop.move(80.0)
    assert last.ticks == [80.0]


def test_stopping_calls_nobody() -> None:
    loop, alarms = world()
    driver = Driver(alarms, 1.0)
    alarms.stop()
    loop.move(2.0)
    assert driver.ticks == []
    alarms.stop()
    Alarms(loop).stop()
