"""Deadlines of many drivers on one timer, which is played here."""

from __future__ import annotations

import math

from lbproto_runtimes.alarms import SLACK, Alarm, Alarms, Call


class Driver:
    def __init__(self, alarms: Alarms, *deadlines: float) -> None:
        self.alarm = Alarm(math.inf)
        self.ticks = 0
        self._alarms = alarms
        self._deadlines = list(deadlines)
        self.arm()

    def arm(self) -> None:
        if self._deadlines:
            # Compiled, an alarm cannot be another class of Python's.
            self.alarm.armed_at = math.inf
            self.alarm = Call(self._deadlines.pop(0), self.tick)
            self._alarms.arm(self.alarm, self.alarm.armed_at)

    def tick(self) -> None:
        self.ticks += 1
        self.arm()


def test_the_first_is_next() -> None:
    alarms = Alarms()
    assert alarms.next == math.inf
    drivers = [Driver(alarms, at) for at in (5.0, 3.0, 4.0)]
    assert alarms.next == 3.0
    alarms.ring(3.0)
    assert [driver.ticks for driver in drivers] == [0, 1, 0]
    assert alarms.next == 4.0
    alarms.ring(10.0)
    assert [driver.ticks for driver in drivers] == [1, 1, 1]
    assert alarms.next == math.inf


def test_a_tick_may_arm_again() -> None:
    alarms = Alarms()
    driver = Driver(alarms, 1.0, 2.0, 9.0)
    alarms.ring(1.0)
    assert driver.ticks == 1
    alarms.ring(2.5)
    assert driver.ticks == 2
    assert alarms.next == 9.0


def test_what_was_armed_before_counts_no_more() -> None:
    alarms = Alarms()
    driver = Driver(alarms, 5.0, 2.0)
    driver.arm()
    alarms.ring(2.0)
    assert alarms.next == math.inf  # also in the heap
    alarms.ring(6.0)
    assert driver.ticks == 1


def test_one_that_is_gone_is_not_called_and_not_kept() -> None:
    alarms = Alarms()
    for _ in range(10 * SLACK):
        Driver(alarms, 75.0).alarm.armed_at = math.inf
    last = Driver(alarms, 76.0)
    assert len(alarms._entries) <= 2 * SLACK
    alarms.ring(80.0)
    assert last.ticks == 1


def test_a_call_is_made_once() -> None:
    alarms = Alarms()
    said: list[str] = []
    alarms.arm(Call(1.0, lambda: said.append("now")), 1.0)
    alarms.ring(0.5)
    assert said == []
    alarms.ring(1.0)
    alarms.ring(2.0)
    assert said == ["now"]


def test_nobody_is_called_once_all_is_cleared() -> None:
    alarms = Alarms()
    driver = Driver(alarms, 1.0)
    alarms.clear()
    alarms.ring(2.0)
    assert driver.ticks == 0
