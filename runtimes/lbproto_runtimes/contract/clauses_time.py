"""Clauses 2 and 8: the clock of a runtime, and when it wakes a machine."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from lbproto.machine.effects import Effect
from lbproto.machine.events import Data, Event, Opened, Wake
from lbproto_runtimes.contract.check import clause
from lbproto_runtimes.contract.probe import Probe

if TYPE_CHECKING:
    from lbproto_runtimes.contract.check import Check
    from lbproto_runtimes.contract.stage import Stage

__all__ = ["CHECKS"]

LATENESS: Final = 0.05
"""Seconds that an idle runtime may be late."""


@clause(2)
def check_the_clock_counts_seconds(stage: Stage) -> None:
    """A deadline of 0.3 does not come at once."""
    seconds: list[float] = []

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Opened):
            seconds.append(time.monotonic())
            probe.deadline = probe.now + 0.3
        elif isinstance(event, Wake):
            seconds.append(time.monotonic())
            probe.deadline = math.inf
        return []

    stage.serve(react)
    with stage.dial() as client:
        stage.probe(client).wait_for(Wake)
    # Less than 0.3, since a loop may look at its clock once in a turn.
    assert seconds[1] - seconds[0] > 0.1, f"{seconds[1] - seconds[0]:.3f} s"


@clause(8)
def check_wake_is_not_early_and_not_always_late(stage: Stage) -> None:
    """No wake is early; of many at least one is in time, on a machine that is busy."""
    set_at: list[float] = []
    late: list[float] = []

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Wake):
            late.append(probe.now - set_at[-1])
        if len(set_at) < 10:
            set_at.append(probe.now + 0.01)
            probe.deadline = set_at[-1]
        else:
            probe.deadline = math.inf
        return []

    stage.serve(react)
    with stage.dial() as client:
        probe = stage.probe(client)
        probe.wait_for(Wake, count=10)
    assert min(late) >= 0.0, f"{-min(late):.6f} s early"
    assert min(late) <= LATENESS, f"always late, by {min(late):.3f} s and more"
    assert len(probe.all(Wake)) == 10


@clause(8)
def check_a_deadline_that_moves_away_is_not_kept(stage: Stage) -> None:
    """Another machine's, armed later, comes; this one's does not."""

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Opened):
            probe.deadline = probe.now + 0.2
        elif isinstance(event, Data | Wake):
            probe.deadline = math.inf
        return []

    stage.serve(react)
    with stage.dial() as moving:
        moved = stage.probe(moving)
        moving.send(b"later")
        moved.wait_for(Data)
        with stage.dial() as staying:
            stage.probe(staying).wait_for(Wake)
        names = moved.names()
        assert "Wake" not in names[names.index("Data") :], names


@clause(8)
def check_a_deadline_that_comes_nearer_is_kept(stage: Stage) -> None:
    """What is armed already is not waited for."""

    def react(probe: Probe, event: Event) -> list[Effect]:
        match event:
            case Opened():
                probe.deadline = probe.now + 3600.0
            case Data():
                probe.deadline = probe.now + 0.02
            case _:
                probe.deadline = math.inf
        return []

    stage.serve(react)
    with stage.dial() as client:
        probe = stage.probe(client)
        client.send(b"sooner")
        probe.wait_for(Wake)


@clause(8)
def check_a_machine_that_does_not_advance_is_stopped(stage: Stage) -> None:
    """A deadline that stays in the past is a bug, and must not take all the time."""

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Data):
            probe.deadline = probe.now
        return []

    stage.serve(react)
    with stage.dial() as client:
        probe = stage.probe(client)
        client.send(b"x")
        assert client.was_reset()
    assert stage.world.take_error()
    assert len(probe.all(Wake)) == 1


CHECKS: Final[tuple[Check, ...]] = (
    check_the_clock_counts_seconds,
    check_wake_is_not_early_and_not_always_late,
    check_a_deadline_that_moves_away_is_not_kept,
    check_a_deadline_that_comes_nearer_is_kept,
    check_a_machine_that_does_not_advance_is_stopped,
)
