"""The world of a worker in one thread."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from lbproto_runtimes.env import WallClockEnv

if TYPE_CHECKING:
    import pytest


def test_the_date_is_an_imf_fixdate_of_now() -> None:
    before = int(time.time())
    date = WallClockEnv().http_date(5.0).decode("ascii")
    after = int(time.time())
    assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]{8} GMT", date)
    assert before <= parsedate_to_datetime(date).timestamp() <= after


def test_the_clock_is_read_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = iter([0.0, 86400.0, 172800.0])
    monkeypatch.setattr(time, "time", lambda: next(wall))
    env = WallClockEnv()
    assert env.http_date(5.0) == b"Thu, 01 Jan 1970 00:00:00 GMT"
    assert env.http_date(5.9) == b"Thu, 01 Jan 1970 00:00:00 GMT"
    assert env.http_date(6.0) == b"Fri, 02 Jan 1970 00:00:00 GMT"
    assert env.http_date(4.0) == b"Sat, 03 Jan 1970 00:00:00 GMT"


def test_the_guard_can_be_held_again_and_again() -> None:
    env = WallClockEnv()
    with env.guard, env.guard:
        pass
    with env.guard:
        pass


def test_chance_is_even_and_in_range() -> None:
    env = WallClockEnv()
    drawn = [env.random() for _ in range(2000)]
    assert all(0.0 <= number < 1.0 for number in drawn)
    assert 0.4 < sum(drawn) / len(drawn) < 0.6
    assert len(set(drawn)) > 1990
