"""Clause 10: dialling, and the connections that nobody uses for a while."""

from __future__ import annotations

import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lbproto.machine.effects import (
    Adopt,
    Close,
    Connect,
    Effect,
    Park,
    Send,
    Target,
)
from lbproto.machine.events import (
    Connected,
    ConnectError,
    ConnectFailed,
    Data,
    Eof,
    Event,
    Opened,
)
from lbproto_runtimes.contract.check import clause
from lbproto_runtimes.contract.peers import Peer, hears
from lbproto_runtimes.contract.probe import PATIENCE, Probe, React

if TYPE_CHECKING:
    from lbproto_runtimes.contract.check import Check
    from lbproto_runtimes.contract.stage import Stage

__all__ = ["CHECKS", "dials"]


def dials(stage: Stage, target: Target, preface: bytes = b"") -> React:
    """Dial once for each `Data` of the client."""

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Data) and event.conn == probe.conn:
            return [Connect(stage.world.mint(), target, preface)]
        return []

    return react


def speaks_first(peer: Peer) -> None:
    """Greet, and wait for the end."""
    peer.send(b"SSH-2.0-I speak first\r\n")
    peer.rest()


def closed_port(stage: Stage) -> Target:
    """Return an address where nobody listens."""
    backend = stage.backend(hears)
    backend.close()
    return backend.target


@clause(10)
def check_each_connect_is_answered_once(stage: Stage) -> None:
    """With `Connected`, when somebody is there."""
    stage.serve(dials(stage, stage.backend(hears).target))
    with stage.dial() as client:
        probe = stage.probe(client)
        for turn in range(1, 6):
            client.send(b"dial")
            probe.wait_for(Connected, count=turn)
        asked = [effect.conn for effect in probe.all(Connect)]
        assert [event.conn for event in probe.all(Connected)] == asked
        assert not probe.all(ConnectFailed)
        assert all(event.tls is None for event in probe.all(Connected))


@clause(10)
def check_each_refused_connect_is_answered_once(stage: Stage) -> None:
    """With the reason, when nobody is."""
    stage.serve(dials(stage, closed_port(stage)))
    with stage.dial() as client:
        probe = stage.probe(client)
        for turn in range(1, 6):
            client.send(b"dial")
            probe.wait_for(ConnectFailed, count=turn)
        asked = [effect.conn for effect in probe.all(Connect)]
        assert [event.conn for event in probe.all(ConnectFailed)] == asked
        why = {event.why: None for event in probe.all(ConnectFailed)}
        assert list(why) == [ConnectError.REFUSED], why


@clause(10)
def check_connected_comes_before_any_data(stage: Stage) -> None:
    """Also of a backend that speaks first."""
    stage.serve(dials(stage, stage.backend(speaks_first).target))
    for _ in range(30):
        with stage.dial() as client:
            client.send(b"dial")
            probe = stage.probe(client)
            probe.wait_for(Data, count=2)
        names = probe.names()[:4]
        assert names == ["Opened", "Data", "Connected", "Data"], names


@clause(10)
def check_a_host_name_is_resolved(stage: Stage) -> None:
    """A name may have an address where nobody listens, and another one."""
    port = stage.backend(hears).target.port
    stage.serve(dials(stage, Target("localhost", port)))
    with stage.dial() as client:
        client.send(b"dial")
        stage.probe(client).wait_for(Connected)


@clause(10)
def check_what_is_no_host_name_is_an_answer_too(stage: Stage) -> None:
    """A label of 64 letters is too long for any resolver."""
    stage.serve(dials(stage, Target("a" * 64, 80)))
    with stage.dial() as client:
        client.send(b"dial")
        failed = stage.probe(client).wait_for(ConnectFailed)
        assert failed.why is ConnectError.DNS, failed


@clause(10)
def check_a_unix_domain_backend(stage: Stage) -> None:
    """Dialled by its path; when nobody listens there, refused."""
    with tempfile.TemporaryDirectory(prefix="lb-") as folder:
        path = str(Path(folder, "sock"))
        backend = stage.backend(speaks_first, path)
        stage.serve(dials(stage, backend.target))
        with stage.dial() as client:
            probe = stage.probe(client)
            client.send(b"dial")
            probe.wait_for(Connected)
            probe.wait_for(Data, count=2)
            backend.close()
            client.send(b"dial")
            assert probe.wait_for(ConnectFailed).why is ConnectError.REFUSED


@clause(10)
def check_a_connect_that_is_closed_first_is_not_answered(stage: Stage) -> None:
    """Neither then nor later."""
    target = stage.backend(hears).target

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Data):
            conn = stage.world.mint()
            dialled: list[Effect] = [Connect(conn, target)]
            return dialled if event.data == b"keep" else [*dialled, Close(conn)]
        return []

    stage.serve(react)
    with stage.dial() as client:
        probe = stage.probe(client)
        for turn in range(1, 11):
            client.send(b"drop")
            probe.wait_for(Data, count=turn)
        client.send(b"keep")
        kept = probe.wait_for(Connected).conn
        assert kept == probe.all(Connect)[-1].conn
        assert not probe.all(ConnectFailed)


@clause(10)
def check_a_preface_goes_out_first(stage: Stage) -> None:
    """Before what is sent as soon as the connection is there."""
    told: list[bytes] = []

    def script(peer: Peer) -> None:
        told.append(peer.exactly(14))
        peer.send(b"thanks")
        peer.rest()

    dial = dials(stage, stage.backend(script).target, b"preface ")

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Connected):
            return [Send(event.conn, b"behind")]
        return dial(probe, event)

    stage.serve(react)
    with stage.dial() as client:
        client.send(b"dial")
        probe = stage.probe(client)
        assert probe.wait_for(Data, count=2).data == b"thanks"
    assert told == [b"preface behind"], told


# -- idle connections ---------------------------------------------------------


@clause(10)
def check_a_parked_connection_belongs_to_housekeeping(stage: Stage) -> None:
    """What comes on it is told there, and not to who parked it."""
    speak = threading.Event()

    def script(peer: Peer) -> None:
        assert speak.wait(PATIENCE)
        peer.send(b"unasked")
        peer.rest()

    dial = dials(stage, stage.backend(script).target)

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Connected):
            return [Park(event.conn)]
        if probe.keeps_house and isinstance(event, Data):
            return [Close(event.conn)]
        return dial(probe, event)

    stage.serve(react)
    with stage.dial() as client:
        client.send(b"dial")
        probe = stage.probe(client)
        probe.wait_for(Park)
        speak.set()
        assert stage.world.housekeeping.wait_for(Data).data == b"unasked"
        assert len(probe.all(Data)) == 1  # its client's


@clause(10)
def check_an_adopted_connection_is_ones_own_again(stage: Stage) -> None:
    """Whoever parked it."""

    def script(peer: Peer) -> None:
        peer.exactly(5)
        peer.send(b"world")
        peer.rest()

    dial = dials(stage, stage.backend(script).target)
    idle: list[Connected] = []

    def react(probe: Probe, event: Event) -> list[Effect]:
        match event:
            case Connected(conn):
                idle.append(event)
                return [Park(conn)]
            case Data(_, b"parked"):
                return []
            case Data(_, b"adopt"):
                conn = idle[0].conn
                return [Adopt(conn), Send(conn, b"hello")]
            case _:
                return dial(probe, event)

    stage.serve(react)
    with stage.dial() as first, stage.dial() as second:
        first.send(b"dial")
        stage.probe(first).wait_for(Park)
        first.send(b"parked")  # when this is heard, that is done
        stage.probe(first).wait_for(Data, count=2)
        probe = stage.probe(second)
        second.send(b"adopt")
        answer = probe.wait_for(Data, count=2)
        assert answer == Data(idle[0].conn, b"world"), answer
        assert not probe.all(ConnectFailed)


@clause(10)
def check_adopting_a_dead_connection_fails_as_stale(stage: Stage) -> None:
    """Its end may be seen before or at that moment."""
    end, ended = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        assert end.wait(PATIENCE)
        peer.sock.shutdown(socket.SHUT_RDWR)
        ended.set()

    dial = dials(stage, stage.backend(script).target)

    def react(probe: Probe, event: Event) -> list[Effect]:
        match event:
            case Connected(conn):
                return [Park(conn)]
            case Eof(conn) if probe.keeps_house:
                return [Close(conn)]
            case Data(_, b"adopt"):
                return [Adopt(probe.all(Connected)[0].conn)]
            case _:
                return dial(probe, event)

    stage.serve(react)
    with stage.dial() as client:
        client.send(b"dial")
        probe = stage.probe(client)
        probe.wait_for(Park)
        end.set()
        assert ended.wait(PATIENCE)
        client.send(b"adopt")
        failed = probe.wait_for(ConnectFailed)
        assert failed.why is ConnectError.STALE, failed
        assert failed.conn == probe.all(Adopt)[0].conn
    assert Opened not in map(type, stage.world.housekeeping.history)


CHECKS: Final[tuple[Check, ...]] = (
    check_each_connect_is_answered_once,
    check_each_refused_connect_is_answered_once,
    check_connected_comes_before_any_data,
    check_a_host_name_is_resolved,
    check_what_is_no_host_name_is_an_answer_too,
    check_a_unix_domain_backend,
    check_a_connect_that_is_closed_first_is_not_answered,
    check_a_preface_goes_out_first,
    check_a_parked_connection_belongs_to_housekeeping,
    check_an_adopted_connection_is_ones_own_again,
    check_adopting_a_dead_connection_fails_as_stale,
)
