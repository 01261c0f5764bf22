"""Clauses 1 to 4: who feeds a machine, when, and what becomes of its orders."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from lbproto.machine.effects import Connect, Effect, Level, Log, Send, Target
from lbproto.machine.events import (
    Connected,
    ConnectFailed,
    Data,
    Eof,
    Event,
    Opened,
    WriteBlocked,
    WriteUnblocked,
)
from lbproto_runtimes.contract.check import clause
from lbproto_runtimes.contract.peers import Peer
from lbproto_runtimes.contract.probe import PATIENCE, Probe, nothing, on

if TYPE_CHECKING:
    from lbproto_runtimes.contract.check import Check
    from lbproto_runtimes.contract.stage import Stage

__all__ = ["CHECKS"]

MUCH: Final = bytes(8 * 1024 * 1024)
"""More than the buffers of any two sockets hold."""


def echoes(peer: Peer) -> None:
    """Send back what comes."""
    while peer.more():
        peer.send(peer.ahead)
        peer.ahead = b""


@clause(1)
def check_one_thread_feeds_a_machine(stage: Stage) -> None:
    """Many clients at once, each with a connection to a backend."""
    target = stage.backend(echoes).target

    def react(probe: Probe, event: Event) -> list[Effect]:
        match event:
            case Opened():
                return [Connect(stage.world.mint(), target)]
            case Data(conn, data):
                backend = probe.all(Connect)[0].conn
                return [Send(backend if conn == probe.conn else probe.conn, data)]
            case _:
                return []

    def ask() -> None:
        with stage.dial() as client:
            stage.probe(client).wait_for(Connected)
            for turn in range(20):
                client.send(b"%04d" % turn)
                assert client.exactly(4) == b"%04d" % turn
            done.append(client)

    stage.serve(react)
    done: list[Peer] = []
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(done) == len(threads), "an answer is missing"


@clause(1)
def check_a_machine_is_not_reentered(stage: Stage) -> None:
    """What follows at once from an effect waits for the batch's end."""
    # Writes that fill the buffer, and dials that fail, may tell so inside the call.
    refused = stage.backend(lambda peer: None)
    refused.close()

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Data):
            return [
                Send(probe.conn, MUCH),
                Connect(stage.world.mint(), refused.target),
                Connect(stage.world.mint(), Target("", 0, "/nowhere/at/all")),
                Send(probe.conn, b"."),
            ]
        return []

    stage.serve(react)
    with stage.dial() as client:
        probe = stage.probe(client)
        client.send(b"go")
        probe.wait_for(WriteBlocked)
        probe.wait_for(ConnectFailed, count=2)
        client.exactly(len(MUCH) + 1)
        probe.wait_for(WriteUnblocked)


@clause(2)
def check_time_does_not_run_back(stage: Stage) -> None:
    """The judgement at the end compares the times of all events."""
    stage.serve(nothing)
    with stage.dial() as client:
        probe = stage.probe(client)
        for turn in range(1, 50):
            client.send(b"x")
            probe.wait_for(Data, count=turn)


@clause(3)
def check_opened_is_the_first_event(stage: Stage) -> None:
    """Also if the client speaks, and ends, before anybody has accepted it."""
    stage.serve(nothing)
    for _ in range(50):
        with stage.dial() as client:
            client.send(b"at once")
            client.end()
            probe = stage.probe(client)
            probe.wait_for(Eof)
        assert probe.names()[:3] == ["Opened", "Data", "Eof"], probe.names()
        peer = probe.all(Opened)[0].peer
        assert peer.address == "127.0.0.1", peer
        assert peer.local == stage.address, peer


@clause(3)
def check_effects_come_in_order_and_before_the_next_event(stage: Stage) -> None:
    """So much is sent that the buffer is full inside the first write."""
    stage.serve(
        on(
            Data,
            lambda conn: Send(conn, MUCH),
            lambda conn: Log(Level.INFO, "first", {}),
            lambda conn: Send(conn, b"tail"),
            lambda conn: Log(Level.INFO, "second", {}),
        )
    )
    with stage.dial() as client:
        probe = stage.probe(client)
        client.send(b"go")
        probe.wait_for(WriteBlocked)
        told = stage.world.timeline[:5]
        assert told == ["Opened", "Data", "first", "second", "WriteBlocked"], told
        assert client.exactly(len(MUCH)) == MUCH
        assert client.exactly(4) == b"tail"
        probe.wait_for(WriteUnblocked)


@clause(4)
def check_what_is_sent_stays_in_order(stage: Stage) -> None:
    """Over many events, with full buffers and empty ones."""
    count, size = 400, 8 * 1024
    pieces = [b"%08d" % number * (size // 8) for number in range(count)]

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Data):
            sent = len(probe.all(Send))
            return [Send(probe.conn, piece) for piece in pieces[sent : sent + 20]]
        return []

    stage.serve(react)
    with stage.dial() as client:
        probe = stage.probe(client)
        for turn in range(1, count // 20 + 1):
            client.send(b"x")
            probe.wait_for(Data, count=turn)
        assert client.exactly(count * size) == b"".join(pieces), "not in order"


CHECKS: Final[tuple[Check, ...]] = (
    check_one_thread_feeds_a_machine,
    check_a_machine_is_not_reentered,
    check_time_does_not_run_back,
    check_opened_is_the_first_event,
    check_effects_come_in_order_and_before_the_next_event,
    check_what_is_sent_stays_in_order,
)
