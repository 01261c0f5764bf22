"""Clause 13: listeners that are held, and clients that go and come."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from lbproto.machine.effects import Close, Effect, Send
from lbproto.machine.events import Data, Drain, Event, Lost, Opened
from lbproto_runtimes.contract.check import clause
from lbproto_runtimes.contract.probe import Probe, nothing, on

if TYPE_CHECKING:
    from lbproto_runtimes.contract.check import Check
    from lbproto_runtimes.contract.stage import Stage
    from lbproto_runtimes.moved import Moved

__all__ = ["CHECKS"]

STRANGE: Final = "tcp:192.0.2.1:80"
"""A listener that the server does not have."""

echo = on(Data, lambda conn: Send(conn, b"again"))


def drop(moved: list[Moved]) -> None:
    """Close what nobody goes on with."""
    for one in moved:
        one.sock.close()


@clause(13)
def check_a_held_listener_leaves_clients_in_the_queue(stage: Stage) -> None:
    """Until it may accept again; nobody is refused."""
    stage.serve(echo)
    stage.hold(stage.key)
    with stage.dial() as client:
        client.send(b"x")
        for _ in range(3):  # as often it could have looked
            stage.hold()
        assert stage.world.probes == [], "it has accepted"
        stage.serving.accept([stage.key])
        assert client.exactly(5) == b"again"


@clause(13)
def check_other_listeners_are_not_held(stage: Stage) -> None:
    """A name that is not known harms nobody."""
    stage.serve(echo)
    stage.hold(STRANGE)
    with stage.dial() as client:
        client.send(b"x")
        assert client.exactly(5) == b"again"
    stage.serving.accept([STRANGE])


@clause(13)
def check_idle_clients_are_given_up_and_no_others(stage: Stage) -> None:
    """They are told nothing, and nothing of what they say is lost."""
    stage.serve(echo)
    with stage.dial() as idle, stage.dial() as busy:
        stage.probe(busy).idle = False
        probe = stage.probe(idle)
        assert stage.collect(10, STRANGE) == ([], 2)
        moved, left = stage.collect(10, stage.key)
        try:
            assert left == 1, f"{left} are left"
            probe.wait_for(Lost)
            assert stage.probe(busy).all(Lost) == [], "it was not given up"
            assert [(one.key, one.peer) for one in moved] == [(stage.key, probe.peer)]
            sock = moved[0].sock
            idle.send(b"while nobody serves")
            sock.settimeout(5.0)
            assert sock.recv(100) == b"while nobody serves"
            sock.sendall(b"back")
            assert idle.exactly(4) == b"back"
            assert probe.all(Data) == [], "it was read after it was given up"
        finally:
            drop(moved)
        busy.send(b"x")
        assert busy.exactly(5) == b"again"


@clause(13)
def check_no_more_clients_are_given_up_than_there_is_room_for(stage: Stage) -> None:
    """The others go on."""
    stage.serve(echo)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(stage.dial()) for _ in range(5)]
        for client in clients:
            stage.probe(client)
        moved, left = stage.collect(2, stage.key)
        gone = {one.peer.port for one in moved}
        drop(moved)
        assert (len(gone), left) == (2, 3), f"{len(gone)} are gone, {left} are left"
        for client in clients:
            if client.port not in gone:
                client.send(b"x")
                assert client.exactly(5) == b"again"


@clause(13)
def check_without_clients_there_is_an_answer(stage: Stage) -> None:
    """At once, and while the server drains too."""
    stage.serve(nothing)
    assert stage.collect(10, stage.key) == ([], 0)
    with stage.dial() as client:
        stage.probe(client).idle = False
        stage.serving.drain(60.0, 60.0)
        assert stage.collect(10, stage.key) == ([], 1)


@clause(13)
def check_a_client_that_is_taken_goes_on(stage: Stage) -> None:
    """It is announced as one that was moved, and what it said meanwhile is heard."""
    stage.serve(echo)
    with stage.dial() as client:
        before = stage.probe(client).peer
        moved, _ = stage.collect(10, stage.key)
        client.send(b"x")
        stage.serving.take(moved)
        assert client.exactly(5) == b"again"
    after = stage.world.probes[-1].all(Opened)[0]
    assert (after.peer, after.moved) == (before, True)


@clause(13)
def check_a_client_of_a_strange_listener_is_closed(stage: Stage) -> None:
    """It belongs nowhere, so its end is all that there is to tell."""
    stage.serve(nothing)
    with stage.dial() as client:
        stage.probe(client)
        [one], _ = stage.collect(10, stage.key)
        stage.serving.take([type(one)(STRANGE, one.peer, one.proxied, one.sock)])
        assert client.rest() == b""
    assert len(stage.world.probes) == 1


@clause(13)
def check_who_drains_can_be_told_again(stage: Stage) -> None:
    """The last word counts."""

    def react(probe: Probe, event: Event) -> list[Effect]:
        last = isinstance(event, Drain) and not event.grace
        return [Close(probe.conn)] if last and not probe.keeps_house else []

    stage.serve(react)
    with stage.dial() as client:
        probe = stage.probe(client)
        stage.serving.drain(60.0, 60.0)
        probe.wait_for(Drain)
        stage.serving.drain(0.0, 1.0)
        assert client.rest() == b""
    assert probe.all(Drain) == [Drain(60.0, 60.0), Drain(0.0, 1.0)]


CHECKS: Final[tuple[Check, ...]] = (
    check_a_held_listener_leaves_clients_in_the_queue,
    check_other_listeners_are_not_held,
    check_idle_clients_are_given_up_and_no_others,
    check_no_more_clients_are_given_up_than_there_is_room_for,
    check_without_clients_there_is_an_answer,
    check_a_client_that_is_taken_goes_on,
    check_a_client_of_a_strange_listener_is_closed,
    check_who_drains_can_be_told_again,
)
