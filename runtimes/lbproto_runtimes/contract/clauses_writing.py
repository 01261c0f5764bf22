"""Clauses 7, 9 and 12: what is written, how long, and orders that make no sense."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from lbproto.machine.effects import (
    Close,
    Effect,
    HalfClose,
    Park,
    Send,
    SetReading,
    StartTls,
)
from lbproto.machine.events import (
    Data,
    Event,
    Opened,
    WriteBlocked,
    WriteUnblocked,
)
from lbproto.machine.tls import ServerTls
from lbproto.machine.values import ConnId
from lbproto_runtimes.contract.check import Check, clause
from lbproto_runtimes.contract.probe import Probe, on

if TYPE_CHECKING:
    from lbproto_runtimes.contract.stage import Stage

__all__ = ["CHECKS"]

MUCH: Final = bytes(8 * 1024 * 1024)
"""More than the buffers of any two sockets hold."""

NOBODY: Final = ConnId(999_999_999)


@clause(7)
def check_close_flushes(stage: Stage) -> None:
    """The client gets all, then the end."""
    stage.serve(on(Data, lambda conn: Send(conn, MUCH), Close))
    with stage.dial() as client:
        client.send(b"go")
        assert client.rest() == MUCH


@clause(7)
def check_close_gives_up_on_a_peer_that_does_not_read(stage: Stage) -> None:
    """After its patience the connection is reset."""
    stage.serve(on(Data, lambda c: Send(c, MUCH * 2), lambda c: Close(c, patience=0.2)))
    with stage.dial() as client:
        client.send(b"go")
        client.wait_broken()
        assert client.was_reset()
        assert client.received < 2 * len(MUCH)


@clause(7)
def check_abort_drops_what_is_queued(stage: Stage) -> None:
    """And the machine, who knows, is not told."""
    stage.serve(on(Data, lambda c: Send(c, MUCH * 2), lambda c: Close(c, abort=True)))
    with stage.dial() as client:
        probe = stage.probe(client)
        client.send(b"go")
        client.wait_broken()  # to read would let more of it out
        assert client.was_reset()
        assert client.received < 2 * len(MUCH)
    assert "Lost" not in probe.names(), probe.names()


@clause(7)
def check_abort_drops_only_what_has_no_room(stage: Stage) -> None:
    """A response that is cut begins all the same."""
    stage.serve(on(Data, lambda c: Send(c, b"begun"), lambda c: Close(c, abort=True)))
    with stage.dial() as client:
        client.send(b"go")
        assert client.exactly(5) == b"begun"
        assert client.was_reset()


@clause(9)
def check_blocked_and_unblocked_alternate(stage: Stage) -> None:
    """As often as a buffer is filled and emptied."""
    stage.serve(on(Data, lambda conn: Send(conn, MUCH)))
    with stage.dial() as client:
        probe = stage.probe(client)
        for turn in range(1, 5):
            client.send(b"go")
            probe.wait_for(WriteBlocked, count=turn)
            assert client.exactly(len(MUCH)) == MUCH
            probe.wait_for(WriteUnblocked, count=turn)
    seen = [name for name in probe.names() if name.startswith("Write")]
    assert seen == ["WriteBlocked", "WriteUnblocked"] * 4, seen


# -- clause 12 ----------------------------------------------------------------


def names_nobody(what: str, order: Callable[[ConnId], Effect]) -> Check:
    """Make a check of an effect on a connection that does not exist."""
    effect = order(NOBODY)

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Data):
            return [effect] if event.data == b"wrong" else [Send(probe.conn, b"well")]
        return []

    def play(stage: Stage) -> None:
        """The connections of that machine are reset, one line is logged, no more."""
        stage.serve(react)
        with stage.dial() as well, stage.dial() as wrong:
            for client in (well, wrong):
                stage.probe(client).wait_for(Opened)
            wrong.send(b"wrong")
            assert wrong.was_reset()
            assert stage.world.take_error()
            well.send(b"x")
            assert well.exactly(4) == b"well"

    return Check(12, f"{what}_of_an_unknown_connection_is_an_error", False, play)


@clause(12)
def check_an_effect_behind_an_end_is_no_error(stage: Stage) -> None:
    """A machine cannot know that its client was gone a moment ago."""
    stage.serve(
        on(
            Data,
            *(lambda conn: Send(conn, MUCH), lambda conn: Send(conn, b".")),
            *(HalfClose, Close),
        )
    )
    for _ in range(20):
        client = stage.dial()
        client.send(b"go")
        client.reset()
    with stage.dial() as client:
        client.send(b"go")
        assert client.rest() == MUCH + b"."


CHECKS: Final[tuple[Check, ...]] = (
    check_close_flushes,
    check_close_gives_up_on_a_peer_that_does_not_read,
    check_abort_drops_what_is_queued,
    check_abort_drops_only_what_has_no_room,
    check_blocked_and_unblocked_alternate,
    names_nobody("send", lambda conn: Send(conn, b"x")),
    names_nobody("half_close", HalfClose),
    names_nobody("close", Close),
    names_nobody("set_reading", lambda conn: SetReading(conn, False)),
    names_nobody("park", Park),
    names_nobody("start_tls", lambda conn: StartTls(conn, ServerTls(certificates=()))),
    check_an_effect_behind_an_end_is_no_error,
)
