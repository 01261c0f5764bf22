"""Questions to all workers."""

from __future__ import annotations

from lbproto.processes.channel import Kind
from lbproto.processes.facts import WorkerId
from lbproto_runtimes.rounds import Rounds

ONE, TWO = WorkerId(1), WorkerId(2)


def test_a_round_is_over_when_the_last_has_answered_or_ended() -> None:
    rounds, done = Rounds(), []
    rounds.ask(Kind.HELD, [ONE, TWO], lambda: done.append("held"))
    rounds.ask(Kind.COLLECTED, [ONE], lambda: done.append("collected"))
    rounds.answered(ONE, Kind.HELD)
    rounds.answered(ONE, Kind.HELD)
    assert done == []
    rounds.exited(TWO)
    assert done == ["held"]
    rounds.answered(TWO, Kind.HELD)
    rounds.answered(ONE, Kind.COLLECTED)
    assert done == ["held", "collected"]


def test_without_anybody_it_is_over_at_once() -> None:
    rounds, done = Rounds(), []
    rounds.ask(Kind.HELD, [], lambda: done.append("held"))
    assert done == ["held"]


def test_a_new_question_replaces_the_old() -> None:
    rounds, done = Rounds(), []
    rounds.ask(Kind.HELD, [ONE], lambda: done.append("old"))
    rounds.ask(Kind.HELD, [TWO], lambda: done.append("new"))
    rounds.answered(ONE, Kind.HELD)
    assert done == []
    rounds.answered(TWO, Kind.HELD)
    assert done == ["new"]
