"""The clauses again, on connections to backends that speak TLS."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from lbproto.machine.effects import Close, Connect, Effect, HalfClose, Send, Target
from lbproto.machine.events import (
    Connected,
    ConnectError,
    ConnectFailed,
    Data,
    Eof,
    Event,
    Lost,
)
from lbproto.machine.tls import ClientTls
from lbproto_runtimes.contract.check import clause
from lbproto_runtimes.contract.clauses_backends import dials
from lbproto_runtimes.contract.peers import Peer, hears
from lbproto_runtimes.contract.probe import Probe, React
from lbproto_runtimes.contract.tls_peers import speaks_tls

if TYPE_CHECKING:
    from lbproto_runtimes.contract.check import Check
    from lbproto_runtimes.contract.peers import Backend
    from lbproto_runtimes.contract.stage import Stage

__all__ = ["CHECKS"]

TRUSTING: Final = ClientTls(verify=False)


def spoken_to(backend: Backend, tls: ClientTls = TRUSTING) -> Target:
    """Return a backend's address, with TLS."""
    return replace(backend.target, tls=tls)


def relays(stage: Stage, target: Target, preface: bytes = b"") -> React:
    """Dial when the client speaks; what it says next goes to the backend."""
    dial = dials(stage, target, preface)

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Data) and event.conn == probe.conn and probe.all(Connect):
            return [Send(probe.all(Connect)[0].conn, event.data)]
        return dial(probe, event)

    return react


@clause(10, tls=True)
def check_connected_comes_behind_the_handshake(stage: Stage) -> None:
    """And bytes go both ways, plain on our side."""

    def script(peer: Peer) -> None:
        assert peer.exactly(9) == b"plain out"
        peer.send(b"plain back")
        peer.rest()

    stage.serve(relays(stage, spoken_to(stage.tls_backend(script))))
    with stage.dial() as client:
        probe = stage.probe(client)
        client.send(b"dial")
        tls = probe.wait_for(Connected).tls
        assert tls is not None
        assert tls.version.startswith("TLSv1."), tls
        client.send(b"plain out")
        assert probe.wait_for(Data, count=3).data == b"plain back"


@clause(10, tls=True)
def check_a_preface_goes_out_before_tls(stage: Stage) -> None:
    """Plain, so that a proxy on the way can read it."""
    told: list[bytes] = []
    tls = speaks_tls(stage.certificate, hears)

    def script(peer: Peer) -> None:
        told.append(peer.sock.recv(8))
        tls(peer)

    stage.serve(relays(stage, spoken_to(stage.backend(script)), b"preface "))
    with stage.dial() as client:
        client.send(b"dial")
        assert stage.probe(client).wait_for(Connected).tls is not None
    assert told == [b"preface "], told


@clause(10, tls=True)
def check_a_backend_that_is_not_trusted_is_not_connected(stage: Stage) -> None:
    """The answer is `ConnectFailed`, with TLS as the reason."""
    target = spoken_to(stage.tls_backend(hears), ClientTls(sni="a.test"))
    stage.serve(dials(stage, target))
    with stage.dial() as client:
        client.send(b"dial")
        probe = stage.probe(client)
        failed = probe.wait_for(ConnectFailed)
        assert failed.why is ConnectError.TLS, failed
        assert failed.detail, "without a reason"
    assert "Connected" not in probe.names(), probe.names()


@clause(10, tls=True)
def check_a_backend_that_speaks_no_tls_is_not_connected(stage: Stage) -> None:
    """Whether it speaks something else, or ends, in the midst of the handshake."""

    def script(peer: Peer) -> None:
        peer.sock.recv(1)
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n" * turn)
        peer.sock.close()

    stage.serve(dials(stage, spoken_to(stage.backend(script))))
    with stage.dial() as client:
        probe = stage.probe(client)
        for turn in (1, 0):
            client.send(b"dial")
            failed = probe.wait_for(ConnectFailed, count=2 - turn)
            assert failed.why is ConnectError.TLS, failed


@clause(10, tls=True)
def check_an_authority_that_cannot_be_read_is_an_answer_too(stage: Stage) -> None:
    """A file may have gone since the start."""
    tls = ClientTls(sni="a.test", ca_file="/nowhere/at/all.pem")
    stage.serve(dials(stage, spoken_to(stage.tls_backend(hears), tls)))
    with stage.dial() as client:
        client.send(b"dial")
        failed = stage.probe(client).wait_for(ConnectFailed)
        assert failed.why is ConnectError.TLS, failed


@clause(10, tls=True)
def check_a_tls_connect_that_is_closed_first_is_not_answered(stage: Stage) -> None:
    """Though the backend does all of the handshake."""
    target = spoken_to(stage.tls_backend(hears))

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Data):
            conn = stage.world.mint()
            dialled: list[Effect] = [Connect(conn, target)]
            return dialled if event.data == b"keep" else [*dialled, Close(conn)]
        return []

    stage.serve(react)
    with stage.dial() as client:
        probe = stage.probe(client)
        client.send(b"drop")
        probe.wait_for(Data)
        client.send(b"keep")
        assert probe.wait_for(Connected).conn == probe.all(Connect)[1].conn
        assert not probe.all(ConnectFailed)


@clause(6, tls=True)
def check_half_closes_with_a_tls_backend(stage: Stage) -> None:
    """The backend ends first and reads on; then the machine ends, too."""
    told: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.send(b"all I have")
        peer.end()
        told.append(peer.rest())  # raises if close_notify is missing
        over.send(b"x")

    dial = dials(stage, spoken_to(stage.tls_backend(script)))

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Eof) and event.conn != probe.conn:
            return [Send(event.conn, b"still read"), HalfClose(event.conn)]
        return dial(probe, event) if not probe.all(Connect) else []

    stage.serve(react)
    with stage.dial() as over:
        over.send(b"dial")
        probe = stage.probe(over)
        probe.wait_for(Eof)
        probe.wait_for(Data, count=3)  # the script is over
    assert told == [b"still read"], told
    backends = [event.data for event in probe.all(Data) if event.conn != probe.conn]
    assert b"".join(backends) == b"all I have", backends


@clause(6, tls=True)
def check_a_tls_backend_that_is_cut_is_lost(stage: Stage) -> None:
    """What is short must not look complete."""

    def script(peer: Peer) -> None:
        peer.send(b"half of i")
        peer.cut()
        peer.sock.recv(1)

    stage.serve(dials(stage, spoken_to(stage.tls_backend(script))))
    with stage.dial() as client:
        client.send(b"dial")
        probe = stage.probe(client)
        lost = probe.wait_for(Lost)
        assert lost.conn == probe.all(Connect)[0].conn
    assert "Eof" not in probe.names()[:5], probe.names()


CHECKS: Final[tuple[Check, ...]] = (
    check_connected_comes_behind_the_handshake,
    check_a_preface_goes_out_before_tls,
    check_a_backend_that_is_not_trusted_is_not_connected,
    check_a_backend_that_speaks_no_tls_is_not_connected,
    check_an_authority_that_cannot_be_read_is_an_answer_too,
    check_a_tls_connect_that_is_closed_first_is_not_answered,
    check_half_closes_with_a_tls_backend,
    check_a_tls_backend_that_is_cut_is_lost,
)
