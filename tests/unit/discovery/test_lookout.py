"""When backends are looked for, and what a look changes."""

from __future__ import annotations

import math

from lbproto.config import Backend
from lbproto.discovery.lookout import Lookout
from lbproto.machine.effects import Level, Log, Target


def backends(*ports: int, weight: int = 1) -> tuple[Backend, ...]:
    return tuple(
        Backend(target=Target("10.0.0.1", port), weight=weight) for port in ports
    )


def lines(effects: object) -> list[tuple[Level, str, dict[str, object]]]:
    assert isinstance(effects, list)
    assert all(isinstance(effect, Log) for effect in effects)
    return [(line.level, line.message, dict(line.fields)) for line in effects]


def test_the_first_look_is_due_at_once() -> None:
    assert Lookout("web", (), 30.0).deadline == -math.inf


def test_what_is_found_replaces_what_was_known_with_one_line() -> None:
    one = Lookout("web", backends(1, 2), 30.0)
    effects = one.found(backends(2, 3), 100.0)
    assert lines(effects) == [
        (
            Level.INFO,
            "backends have changed",
            {"upstream": "web", "added": "10.0.0.1:3", "gone": "10.0.0.1:1"},
        )
    ]
    assert one.backends == backends(2, 3)
    assert one.deadline == 130.0


def test_a_weight_is_a_change_and_an_order_is_none() -> None:
    known = backends(1, 2)
    one = Lookout("web", known, 30.0)
    assert one.found(backends(2, 1), 0.0) == []
    assert one.backends is known
    assert len(one.found(backends(1, 2, weight=2), 0.0)) == 1
    assert one.backends == backends(1, 2, weight=2)


def test_a_ttl_shorter_than_the_interval_is_honoured_down_to_a_second() -> None:
    one = Lookout("web", (), 30.0)
    deadlines = []
    for ttl in (300.0, 5.0, 0.0):
        one.found(backends(1), 100.0, ttl)
        deadlines.append(one.deadline)
    assert deadlines == [130.0, 105.0, 101.0]


def test_an_interval_of_less_than_a_second_is_the_users_choice() -> None:
    one = Lookout("web", (), 0.5)
    one.found(backends(1), 100.0, 0.0)
    assert one.deadline == 100.5


def test_a_look_that_fails_changes_nothing_and_is_logged_once_for_each_reason() -> None:
    known = backends(1)
    one = Lookout("web", known, 30.0)
    said = lines(one.failed("timeout", 100.0))
    message = "backends are not found, the last stay"
    assert said == [(Level.WARNING, message, {"upstream": "web", "reason": "timeout"})]
    assert one.deadline == 105.0
    assert one.failed("timeout", 105.0) == []
    assert len(one.failed("refused", 110.0)) == 1
    assert one.backends is known
    again = lines(one.found(known, 115.0))
    assert again == [(Level.INFO, "backends are found again", {"upstream": "web"})]
    assert len(one.failed("refused", 150.0)) == 1


def test_an_empty_answer_is_a_failure() -> None:
    known = backends(1)
    one = Lookout("web", known, 2.0)
    (line,) = lines(one.found((), 100.0, 600.0))
    assert line[2]["reason"] == "no backends"
    assert one.backends is known
    assert one.deadline == 102.0
