"""Clauses 5, 6 and 11: what is read, when reading stops, and how it ends."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from lbproto.machine.effects import Close, Effect, HalfClose, Send, SetReading
from lbproto.machine.events import Data, Eof, Event, Lost, Opened, Wake
from lbproto_runtimes.contract.check import clause
from lbproto_runtimes.contract.probe import Probe, nothing, on

if TYPE_CHECKING:
    from lbproto_runtimes.contract.check import Check
    from lbproto_runtimes.contract.stage import Stage

__all__ = ["CHECKS", "pauses_once"]

MIB: Final = 1024 * 1024
MUCH: Final = bytes(8 * MIB)


def pauses_once(probe: Probe, event: Event) -> list[Effect]:
    """Stop reading at the first `Data`, and go on a while later."""
    if isinstance(event, Data) and len(probe.all(Data)) == 1:
        probe.deadline = probe.now + 0.3
        return [SetReading(probe.conn, False)]
    if isinstance(event, Wake):
        probe.deadline = math.inf
        return [SetReading(probe.conn, True)]
    return []


@clause(5)
def check_after_a_pause_at_most_one_read_follows(stage: Stage) -> None:
    """And nothing of what comes meanwhile is lost."""
    stage.serve(pauses_once)
    with stage.dial() as client:
        client.send(MUCH)
        client.end()
        probe = stage.probe(client)
        probe.wait_for(Wake)
        probe.wait_for(Eof)
    names = probe.names()
    heard = names[: names.index("Wake")].count("Data")
    assert heard <= 2, f"{heard - 1} Data after the pause"
    assert sum(len(event.data) for event in probe.all(Data)) == len(MUCH)


@clause(5)
def check_reading_stops_before_it_has_begun(stage: Stage) -> None:
    """A pause and its end in one batch, before anything was read, are nothing."""
    stage.serve(
        on(Opened, lambda c: SetReading(c, False), lambda c: SetReading(c, True))
    )
    with stage.dial() as client:
        client.send(b"hello")
        assert stage.probe(client).wait_for(Data).data == b"hello"


@clause(6)
def check_the_end_comes_once_and_the_loss_last(stage: Stage) -> None:
    """A client ends, and is gone some time later."""

    def react(probe: Probe, event: Event) -> list[Effect]:
        # Who has ended is not listened to any more: only a write finds the reset.
        writing = isinstance(event, Eof | Wake)
        probe.deadline = probe.now + 0.02 if writing else math.inf
        return [Send(probe.conn, b"x")] if writing else []

    stage.serve(react)
    client = stage.dial()
    client.send(b"x")
    client.end()
    probe = stage.probe(client)
    assert client.exactly(1) == b"x"
    client.reset()
    probe.wait_for(Lost)
    names = [name for name in probe.names() if name != "Wake"]
    assert names == ["Opened", "Data", "Eof", "Lost"], names


@clause(6)
def check_a_reset_is_a_loss_without_an_end(stage: Stage) -> None:
    """RST is no FIN."""
    stage.serve(nothing)
    client = stage.dial()
    client.send(b"x")
    probe = stage.probe(client)
    probe.wait_for(Data)
    client.reset()
    probe.wait_for(Lost)
    assert probe.names() == ["Opened", "Data", "Lost"], probe.names()


@clause(6)
def check_a_client_that_has_ended_is_still_answered(stage: Stage) -> None:
    """FIN ends one direction."""
    stage.serve(on(Eof, lambda conn: Send(conn, b"late answer"), Close))
    with stage.dial() as client:
        client.send(b"x")
        client.end()
        assert client.rest() == b"late answer"


@clause(6)
def check_half_close_ends_one_direction_behind_what_is_queued(stage: Stage) -> None:
    """The client reads all, then the end, and is still heard."""
    stage.serve(on(Opened, lambda conn: Send(conn, MUCH), HalfClose))
    with stage.dial() as client:
        probe = stage.probe(client)
        assert client.rest() == MUCH
        client.send(b"still heard")
        assert probe.wait_for(Data).data == b"still heard"


@clause(6)
def check_nothing_comes_after_close(stage: Stage) -> None:
    """The client goes on speaking, and is no longer listened to."""
    stage.serve(on(Data, lambda conn: Send(conn, MUCH), Close))
    with stage.dial() as client:
        probe = stage.probe(client)
        client.send(b"go")
        probe.wait_for(Close)
        client.send(b"more")
        client.end()
        client.was_reset()  # or not: it ends
    with stage.dial() as other:  # the runtime has seen the other one's end since
        other.end()
        stage.probe(other).wait_for(Eof)
    names = [name for name in probe.names() if not name.startswith("Write")]
    assert names == ["Opened", "Data"], names


@clause(11)
def check_data_is_never_empty_and_never_large(stage: Stage) -> None:
    """The judgement at the end looks at the sizes; all must arrive as it was."""
    stage.serve(nothing)
    pattern = bytes(range(251)) * (16 * MIB // 251)
    with stage.dial() as client:
        client.send(pattern)
        client.end()
        probe = stage.probe(client)
        probe.wait_for(Eof)
    assert b"".join(event.data for event in probe.all(Data)) == pattern


CHECKS: Final[tuple[Check, ...]] = (
    check_after_a_pause_at_most_one_read_follows,
    check_reading_stops_before_it_has_begun,
    check_the_end_comes_once_and_the_loss_last,
    check_a_reset_is_a_loss_without_an_end,
    check_a_client_that_has_ended_is_still_answered,
    check_half_close_ends_one_direction_behind_what_is_queued,
    check_nothing_comes_after_close,
    check_data_is_never_empty_and_never_large,
)
