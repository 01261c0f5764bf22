"""Clause 15: bytes that may pass from one connection to another without the machine.

A runtime need not do it. One that feeds `Data` all the same is answered with `Send`
here, so every check holds for both.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from lbproto.machine.effects import (
    Close,
    Connect,
    Effect,
    HalfClose,
    Relay,
    Send,
    SetReading,
)
from lbproto.machine.events import (
    Connected,
    Data,
    Eof,
    Event,
    Lost,
    Relayed,
    Wake,
    WriteBlocked,
    WriteUnblocked,
)
from lbproto_runtimes.contract.check import clause

if TYPE_CHECKING:
    from lbproto.machine.effects import Target
    from lbproto.machine.values import ConnId
    from lbproto_runtimes.contract.check import Check
    from lbproto_runtimes.contract.peers import Peer
    from lbproto_runtimes.contract.probe import Probe, React
    from lbproto_runtimes.contract.stage import Stage

__all__ = ["CHECKS"]

MUCH: Final = bytes(range(251)) * (8 * 1024 * 1024 // 251)
"""More than the buffers of any two sockets hold."""

SILENCE: Final = 0.2
"""Seconds until a machine is woken."""


def ties(stage: Stage, target: Target) -> React:
    """Dial for a client, and tie both connections together from then on."""

    def react(probe: Probe, event: Event) -> list[Effect]:
        client, backend = probe.conn, backend_of(probe)
        match event:
            case Data(conn, _) if backend is None and conn == client:
                return [Connect(stage.world.mint(), target)]
            case Connected(conn):
                return [
                    Send(client, b"ready"),
                    Relay(client, conn),
                    Relay(conn, client),
                ]
            case _ if backend is None:
                return []
            case Data(conn, data):
                return [Send(backend if conn == client else client, data)]
            case WriteBlocked(conn) | WriteUnblocked(conn):
                other = backend if conn == client else client
                return [SetReading(other, isinstance(event, WriteUnblocked))]
            case Eof(conn):
                if len(probe.all(Eof)) == 2:
                    return [Close(backend), Close(client)]
                return [HalfClose(backend if conn == client else client)]
            case Lost(conn):
                return [Close(backend if conn == client else client, abort=True)]
            case _:
                return []

    return react


def backend_of(probe: Probe) -> ConnId | None:
    """Return which connection to a backend a machine has, if it has one."""
    return next((one.conn for one in probe.all(Connected)), None)


def octets(probe: Probe, conn: ConnId | None, until: type[Event]) -> int:
    """Count the bytes that a machine knew of before the first event of a kind."""
    count = 0
    for one in probe.history:
        if isinstance(one, until):
            return count
        if isinstance(one, Relayed) and one.conn == conn:
            count += one.octets
        if isinstance(one, Data) and one.conn == conn:
            count += len(one.data)
    return count


def echoes(peer: Peer) -> None:
    """Say again what is heard, to the end."""
    while peer.more():
        heard, peer.ahead = peer.ahead, b""
        peer.send(heard)


def tie(stage: Stage, client: Peer) -> Probe:
    """Have a client's machine dial; return it once both are tied."""
    client.send(b"dial")
    assert client.exactly(5) == b"ready"
    return stage.probe(client)


@clause(15)
def check_what_may_be_relayed_arrives_whole(stage: Stage) -> None:
    """Both ways, and the machine knows how much it was before it hears of the end."""
    stage.serve(ties(stage, stage.backend(echoes).target))
    with stage.dial() as client:
        probe = tie(stage, client)
        for _ in range(50):
            client.send(b"ping")
            assert client.exactly(4) == b"ping"
        client.end()
        assert client.rest() == b""
        probe.wait_for(Eof, count=2)
        for conn, before in ((probe.conn, 4), (backend_of(probe), 0)):
            assert octets(probe, conn, Eof) == before + 200
        assert all(one.octets > 0 for one in probe.all(Relayed))


@clause(15)
def check_a_sink_that_does_not_read_is_waited_for(stage: Stage) -> None:
    """Nothing is lost or turned around, and back-pressure is told as ever."""

    def reads_late(peer: Peer) -> None:
        stage.world.wait(
            lambda: any(one.all(WriteBlocked) for one in stage.world.probes)
        )
        peer.send(b"?")
        assert peer.rest() == MUCH

    stage.serve(ties(stage, stage.backend(reads_late).target))
    with stage.dial() as client:
        probe = tie(stage, client)
        client.send(MUCH)
        client.end()
        assert client.rest() == b"?"
        probe.wait_for(Eof, count=2)
        assert octets(probe, probe.conn, Eof) == len(b"dial") + len(MUCH)


@clause(15)
def check_a_machine_that_is_woken_knows_what_was_relayed(stage: Stage) -> None:
    """And when the last of it came, which is not when it is told."""
    tied = ties(stage, stage.backend(echoes).target)

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Connected):
            probe.deadline = probe.now + SILENCE
        if isinstance(event, Wake):
            probe.deadline = math.inf
        return tied(probe, event)

    stage.serve(react)
    with stage.dial() as client:
        probe = tie(stage, client)
        client.send(b"ping")
        assert client.exactly(4) == b"ping"
        probe.wait_for(Wake)
        assert octets(probe, probe.conn, Wake) == len(b"dialping")
        events = [one for one in probe.history if isinstance(one, Event)]
        times = {type(one): at for one, at in zip(events, probe.times, strict=True)}
        for one in probe.all(Relayed):
            assert times[Connected] <= one.last < times[Wake], one


@clause(15)
def check_a_loss_is_told_behind_what_was_relayed(stage: Stage) -> None:
    """The other end is cut, and what had come before has arrived."""
    stage.serve(ties(stage, stage.backend(echoes).target))
    client = stage.dial()
    probe = tie(stage, client)
    client.send(b"ping")
    assert client.exactly(4) == b"ping"
    client.reset()
    probe.wait_for(Lost)
    assert octets(probe, probe.conn, Lost) == len(b"dialping")


CHECKS: Final[tuple[Check, ...]] = (
    check_what_may_be_relayed_arrives_whole,
    check_a_sink_that_does_not_read_is_waited_for,
    check_a_machine_that_is_woken_knows_what_was_relayed,
    check_a_loss_is_told_behind_what_was_relayed,
)
