"""The master's decisions."""

from __future__ import annotations

import math

from lbproto.machine.effects import Log
from lbproto.processes.channel import Kind, Message
from lbproto.processes.facts import (
    Deed,
    Down,
    Exit,
    Exited,
    Fact,
    Interrupted,
    Kill,
    Left,
    Ready,
    Renewed,
    Reopened,
    Resumed,
    Start,
    Started,
    Tell,
    Terminated,
    Terms,
    Tick,
    Up,
    WorkerId,
    Yielded,
)
from lbproto.processes.supervisor import FIRST_PAUSE, LONGEST_PAUSE, MERCY, Supervisor

ONE, TWO, THREE, FOUR = (WorkerId(n) for n in (1, 2, 3, 4))
TERMS = Terms(workers=2, grace=1.0, timeout=10.0)
DRAIN = Message(Kind.DRAIN, {"grace": 1.0, "timeout": 10.0})
RETIRE = Message(Kind.DRAIN, {"grace": 10.0, "timeout": 0.0})
STOP = Message(Kind.STOP, {})


class Play:
    """A supervisor under a clock that is moved by hand."""

    def __init__(self, terms: Terms = TERMS) -> None:
        self.mind = Supervisor(terms)
        self.now = 0.0
        self.logged: list[str] = []

    def tell(self, *facts: Fact) -> list[Deed]:
        deeds: list[Deed] = []
        for fact in facts:
            deeds += self.mind.handle(fact, self.now)
        self.logged += [one.message for one in deeds if isinstance(one, Log)]
        return [one for one in deeds if not isinstance(one, Log)]

    def wait(self) -> list[Deed]:
        """Let time pass until something is due."""
        self.now = self.mind.deadline
        assert self.now < math.inf
        return self.tell(Tick())

    def up(self) -> Play:
        self.tell(Started(), Ready(ONE), Ready(TWO))
        self.now = 100.0
        return self


def died(worker: WorkerId) -> Exited:
    return Exited(worker, "SIGKILL", clean=False)


def ended(worker: WorkerId) -> Exited:
    return Exited(worker, "status 0", clean=True)


def test_it_is_up_when_all_workers_are() -> None:
    play = Play()
    assert play.tell(Started()) == [Start(ONE, 1), Start(TWO, 1)]
    assert play.tell(Ready(TWO)) == []
    assert play.tell(Ready(ONE)) == [Up(1)]
    assert play.tell(Ready(ONE)) == []
    assert play.tell(Ready(WorkerId(99))) == []
    assert play.mind.deadline == math.inf


def test_a_worker_that_dies_is_replaced_at_once() -> None:
    play = Play().up()
    assert play.tell(died(ONE)) == [Start(THREE, 1)]
    assert play.tell(Ready(THREE)) == []
    assert play.tell(died(ONE)) == []
    assert play.logged == ["worker died"]


def test_one_that_ends_without_being_asked_is_replaced_too() -> None:
    play = Play().up()
    assert play.tell(ended(ONE)) == [Start(THREE, 1)]


def test_who_dies_young_makes_others_wait_longer_and_longer() -> None:
    play = Play(Terms(1, 0.0, 1.0))
    play.tell(Started(), Ready(ONE))
    pauses, worker = [], 1
    for _ in range(8):
        before = play.now
        assert play.tell(died(WorkerId(worker))) == []
        worker += 1
        assert play.wait() == [Start(WorkerId(worker), 1)]
        pauses.append(play.now - before)
    assert [round(pause, 6) for pause in pauses[:3]] == [
        FIRST_PAUSE,
        2 * FIRST_PAUSE,
        4 * FIRST_PAUSE,
    ]
    assert round(pauses[-1], 6) == LONGEST_PAUSE
    play.now += 5.0
    assert play.tell(died(WorkerId(worker))) == [Start(WorkerId(worker + 1), 1)]


def test_several_young_deaths_are_made_good_together() -> None:
    play = Play()
    play.tell(Started(), Ready(ONE), Ready(TWO), died(ONE), died(TWO))
    assert play.wait() == [Start(THREE, 1), Start(FOUR, 1)]


def test_a_graceful_stop_drains_all_and_waits_for_the_last() -> None:
    play = Play().up()
    assert play.tell(Terminated()) == [Tell(ONE, DRAIN), Tell(TWO, DRAIN)]
    assert play.tell(ended(ONE)) == []
    assert play.logged == ["stopping gracefully"]
    assert play.tell(ended(TWO)) == [Exit(0)]
    assert play.logged == ["stopping gracefully", "stopped"]


def test_a_second_time_it_is_fast_and_a_third_time_nothing() -> None:
    play = Play().up()
    play.tell(Terminated())
    assert play.tell(Terminated()) == [Tell(ONE, STOP), Tell(TWO, STOP)]
    assert play.tell(Terminated(), Interrupted()) == []
    assert play.tell(ended(ONE), ended(TWO)) == [Exit(0)]


def test_a_fast_stop_kills_whoever_does_not_listen() -> None:
    play = Play().up()
    assert play.tell(Interrupted()) == [Tell(ONE, STOP), Tell(TWO, STOP)]
    assert play.tell(ended(ONE)) == []
    assert play.wait() == [Kill(TWO)]
    assert play.now == 100.0 + MERCY
    assert play.mind.deadline == math.inf
    assert play.tell(died(TWO)) == [Exit(0)]


def test_a_worker_that_drains_for_too_long_is_killed() -> None:
    play = Play().up()
    play.tell(Terminated())
    assert play.wait() == [Kill(ONE), Kill(TWO)]
    assert play.now == 100.0 + 1.0 + 10.0 + MERCY


def test_it_may_end_between_two_workers() -> None:
    play = Play(Terms(1, 0.0, 1.0))
    play.tell(Started(), Ready(ONE), died(ONE))
    assert play.tell(Terminated()) == [Exit(0)]
    assert play.mind.deadline == math.inf
    play = Play(Terms(1, 0.0, 1.0))
    play.tell(Started(), Ready(ONE), died(ONE))
    assert play.tell(Interrupted()) == [Exit(0)]


def test_if_the_first_workers_do_not_start_all_is_over() -> None:
    play = Play()
    play.tell(Started(), Ready(ONE))
    assert play.tell(died(TWO)) == [Tell(ONE, STOP)]
    assert play.tell(ended(ONE)) == [Exit(4)]
    play = Play(Terms(1, 0.0, 1.0))
    assert play.tell(Started(), died(ONE)) == [Start(ONE, 1), Exit(4)]


def test_logs_are_reopened_by_all() -> None:
    reopen = Message(Kind.REOPEN, {})
    assert Play().up().tell(Reopened()) == [Tell(ONE, reopen), Tell(TWO, reopen)]


def test_a_new_generation_takes_over_when_it_is_whole() -> None:
    play = Play().up()
    terms = Terms(workers=2, grace=0.0, timeout=3.0)
    assert play.tell(Renewed(terms)) == [Start(THREE, 2), Start(FOUR, 2)]
    assert play.tell(Ready(THREE)) == []
    assert play.tell(Ready(FOUR)) == [Up(2), Tell(ONE, RETIRE), Tell(TWO, RETIRE)]
    assert play.tell(ended(ONE), ended(TWO)) == []
    play.now += 5.0
    assert play.tell(died(THREE)) == [Start(WorkerId(5), 2)]


def test_a_new_generation_that_does_not_start_changes_nothing() -> None:
    play = Play().up()
    play.tell(Renewed(TERMS), Ready(THREE))
    assert play.tell(died(FOUR)) == [Tell(THREE, STOP), Down(2)]
    assert "the new configuration does not start; the old one goes on" in play.logged
    assert play.tell(ended(THREE)) == []
    assert play.tell(died(ONE)) == [Start(WorkerId(5), 1)]


def test_the_old_ones_are_replaced_while_the_new_ones_start() -> None:
    play = Play().up()
    play.tell(Renewed(TERMS))
    assert play.tell(died(ONE)) == [Start(WorkerId(5), 1)]
    play.tell(Ready(WorkerId(5)))
    old = [Tell(TWO, RETIRE), Tell(WorkerId(5), RETIRE)]
    assert play.tell(Ready(THREE), Ready(FOUR)) == [Up(2), *old]


def test_a_newer_generation_overtakes_one_that_is_not_whole() -> None:
    play = Play().up()
    play.tell(Renewed(TERMS), Ready(THREE))
    deeds = play.tell(Renewed(Terms(1, 0.0, 1.0)))
    gone = [Tell(THREE, STOP), Tell(FOUR, STOP), Down(2)]
    assert deeds == [*gone, Start(WorkerId(5), 3)]
    assert play.tell(Ready(FOUR)) == []
    done = [Up(3), Tell(ONE, RETIRE), Tell(TWO, RETIRE)]
    assert play.tell(Ready(WorkerId(5))) == done


def test_nothing_is_renewed_while_it_ends() -> None:
    play = Play().up()
    play.tell(Terminated())
    assert play.tell(Renewed(TERMS)) == []


def test_who_retires_is_told_to_end_as_the_operator_says() -> None:
    play = Play().up()
    play.tell(Renewed(TERMS), Ready(THREE), Ready(FOUR))
    everybody = [ONE, TWO, THREE, FOUR]
    assert play.tell(Terminated()) == [Tell(one, DRAIN) for one in everybody]


def test_after_an_upgrade_workers_retire_and_are_not_replaced() -> None:
    play = Play().up()
    assert play.tell(Yielded(left=False)) == [Tell(ONE, RETIRE), Tell(TWO, RETIRE)]
    assert play.mind.ready == []
    assert not play.mind.starting
    assert play.tell(died(ONE), ended(TWO)) == []
    assert play.tell(Left()) == [Exit(0)]
    assert play.logged[-1] == "left"


def test_listeners_that_nobody_took_get_workers_of_their_own() -> None:
    play = Play().up()
    assert play.tell(Yielded(left=True)) == [
        Tell(ONE, RETIRE),
        Tell(TWO, RETIRE),
        Start(THREE, 1),
        Start(FOUR, 1),
    ]
    assert play.tell(Ready(THREE), Ready(FOUR), ended(ONE), ended(TWO)) == []
    assert play.tell(Left()) == [Tell(THREE, RETIRE), Tell(FOUR, RETIRE)]


def test_the_service_may_come_back() -> None:
    play = Play().up()
    play.tell(Yielded(left=False), ended(ONE))
    assert play.tell(Resumed()) == [Start(THREE, 1), Start(FOUR, 1)]
    assert play.mind.starting
    assert play.tell(Ready(THREE), Ready(FOUR)) == []
    assert play.mind.ready == [THREE, FOUR]
    assert play.tell(ended(TWO), Resumed()) == []
    assert play.tell(died(THREE)) == []  # it was young
    assert play.mind.starting
    assert play.wait() == [Start(WorkerId(5), 1)]


def test_a_generation_that_was_not_ready_before_an_upgrade_is_given_up() -> None:
    play = Play().up()
    play.tell(Renewed(TERMS))
    assert play.tell(Yielded(left=False)) == [
        Tell(THREE, STOP),
        Tell(FOUR, STOP),
        Down(2),
        Tell(ONE, RETIRE),
        Tell(TWO, RETIRE),
    ]


def test_who_leaves_may_be_told_to_be_quick_and_then_quicker() -> None:
    play = Play().up()
    assert play.tell(Left()) == [Tell(ONE, RETIRE), Tell(TWO, RETIRE)]
    assert play.tell(Left(), Resumed()) == []
    assert play.tell(Terminated()) == [Tell(ONE, DRAIN), Tell(TWO, DRAIN)]
    assert play.mind.deadline == 100.0 + TERMS.timeout + MERCY  # not later than before
    assert play.tell(Terminated()) == [Tell(ONE, STOP), Tell(TWO, STOP)]
    assert play.tell(ended(ONE), ended(TWO)) == [Exit(0)]
