"""The clauses again, on a client's connection that speaks TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lbproto.machine.effects import Close, Effect, HalfClose, Send, StartTls
from lbproto.machine.events import (
    Data,
    Eof,
    Event,
    Lost,
    Opened,
    Secured,
    Wake,
    WriteBlocked,
    WriteUnblocked,
)
from lbproto_runtimes.contract.check import clause
from lbproto_runtimes.contract.clauses_reading import pauses_once
from lbproto_runtimes.contract.probe import Probe, React, nothing, on

if TYPE_CHECKING:
    from lbproto_runtimes.contract.check import Check
    from lbproto_runtimes.contract.stage import Stage

__all__ = ["CHECKS"]

MIB: Final = 1024 * 1024
MUCH: Final = bytes(8 * MIB)


def over_tls(stage: Stage, then: React) -> React:
    """Secure each client at once; `then` answers the rest."""

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Opened):
            return [StartTls(probe.conn, stage.server_tls)]
        return then(probe, event)

    return react


@clause(10, tls=True)
def check_tls_carries_bytes_both_ways(stage: Stage) -> None:
    """The machine hears what was meant, and so does the client."""
    stage.serve(over_tls(stage, on(Data, lambda conn: Send(conn, b"plain back"))))
    with stage.dial_tls("a.test") as client:
        client.send(b"plain out")
        assert client.exactly(10) == b"plain back"
        probe = stage.probe(client)
    assert probe.names()[:3] == ["Opened", "Secured", "Data"], probe.names()
    assert probe.all(Data)[0].data == b"plain out"
    tls = probe.all(Secured)[0].tls
    assert tls.sni == "a.test", tls
    assert tls.version.startswith("TLSv1."), tls
    assert tls.peer_cert == "", tls


@clause(10, tls=True)
def check_tls_may_have_begun_already(stage: Stage) -> None:
    """The machine has read the first bytes of the handshake, and gives them back."""

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Data) and not probe.all(StartTls):
            return [StartTls(probe.conn, stage.server_tls, event.data)]
        return [Send(probe.conn, b"well")] if isinstance(event, Data) else []

    stage.serve(react)
    with stage.dial_tls() as client:
        client.send(b"x")
        assert client.exactly(4) == b"well"
        names = stage.probe(client).names()
    assert names[:4] == ["Opened", "Data", "Secured", "Data"], names


@clause(10, tls=True)
def check_a_failed_handshake_is_a_loss(stage: Stage) -> None:
    """Whatever came in place of one; the client gets an alert or an end."""
    stage.serve(over_tls(stage, nothing))
    for garbage in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", bytes(64), b"\x16\x03\x01"):
        with stage.dial() as client:
            client.send(garbage)
            client.end()
            client.was_reset()  # or not: it ends
            probe = stage.probe(client)
            assert probe.wait_for(Lost).detail
        assert probe.names() == ["Opened", "Lost"], probe.names()


@clause(6, tls=True)
def check_a_reset_in_a_handshake_is_a_loss(stage: Stage) -> None:
    """`StartTls` is answered, whatever happens."""
    stage.serve(over_tls(stage, nothing))
    client = stage.dial()
    client.send(b"\x16\x03\x01")
    probe = stage.probe(client)
    client.reset()
    probe.wait_for(Lost)
    assert probe.names() == ["Opened", "Lost"], probe.names()


@clause(6, tls=True)
def check_close_notify_is_the_end_of_one_direction(stage: Stage) -> None:
    """The client has ended, and gets all of a long answer."""
    answer = on(Eof, lambda conn: Send(conn, MUCH), Close)
    stage.serve(over_tls(stage, answer))
    with stage.dial_tls() as client:
        client.send(b"x")
        client.end()
        assert client.rest() == MUCH  # raises if close_notify is missing
        probe = stage.probe(client)
    names = [name for name in probe.names() if not name.startswith("Write")]
    assert names == ["Opened", "Secured", "Data", "Eof"], names


@clause(6, tls=True)
def check_half_close_is_close_notify(stage: Stage) -> None:
    """The client reads to the end, and is still heard."""
    stage.serve(over_tls(stage, on(Secured, lambda c: Send(c, MUCH), HalfClose)))
    with stage.dial_tls() as client:
        assert client.rest() == MUCH
        client.send(b"still heard")
        assert stage.probe(client).wait_for(Data).data == b"still heard"


@clause(6, tls=True)
def check_a_tls_stream_that_is_cut_is_lost(stage: Stage) -> None:
    """A FIN without close_notify could be anybody's (RFC 9112 9.8)."""
    stage.serve(over_tls(stage, nothing))
    with stage.dial_tls() as client:
        client.send(b"half of i")
        probe = stage.probe(client)
        probe.wait_for(Data)
        client.cut()
        probe.wait_for(Lost)
    assert probe.names() == ["Opened", "Secured", "Data", "Lost"], probe.names()


@clause(6, tls=True)
def check_garbage_in_a_tls_stream_is_a_loss(stage: Stage) -> None:
    """Bytes that are no TLS any more."""
    stage.serve(over_tls(stage, nothing))
    with stage.dial_tls() as client:
        client.send(b"x")
        probe = stage.probe(client)
        probe.wait_for(Data)
        client.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        probe.wait_for(Lost)
    assert probe.names() == ["Opened", "Secured", "Data", "Lost"], probe.names()


@clause(5, tls=True)
def check_after_a_pause_at_most_one_read_follows_in_tls(stage: Stage) -> None:
    """Records that were read already count as that one read."""
    stage.serve(over_tls(stage, pauses_once))
    with stage.dial_tls() as client:
        client.send(MUCH)
        client.end()
        probe = stage.probe(client)
        probe.wait_for(Wake)
        probe.wait_for(Eof)
    names = probe.names()
    heard = names[: names.index("Wake")].count("Data")
    assert heard <= 2, f"{heard - 1} Data after the pause"
    assert sum(len(event.data) for event in probe.all(Data)) == len(MUCH)


@clause(11, tls=True)
def check_data_over_tls_is_never_empty_and_never_large(stage: Stage) -> None:
    """The judgement at the end looks at the sizes; all must arrive as it was."""
    stage.serve(over_tls(stage, nothing))
    pattern = bytes(range(251)) * (16 * MIB // 251)
    with stage.dial_tls() as client:
        client.send(pattern)
        client.end()
        probe = stage.probe(client)
        probe.wait_for(Eof)
    assert b"".join(event.data for event in probe.all(Data)) == pattern


@clause(9, tls=True)
def check_blocked_and_unblocked_alternate_in_tls(stage: Stage) -> None:
    """As often as a buffer is filled and emptied."""
    stage.serve(over_tls(stage, on(Data, lambda conn: Send(conn, MUCH))))
    with stage.dial_tls() as client:
        probe = stage.probe(client)
        for turn in range(1, 4):
            client.send(b"go")
            probe.wait_for(WriteBlocked, count=turn)
            assert client.exactly(len(MUCH)) == MUCH
            probe.wait_for(WriteUnblocked, count=turn)


@clause(7, tls=True)
def check_close_gives_up_on_a_peer_that_does_not_read_tls(stage: Stage) -> None:
    """After its patience the connection is reset."""
    close = on(Data, lambda c: Send(c, MUCH * 2), lambda c: Close(c, patience=0.2))
    stage.serve(over_tls(stage, close))
    with stage.dial_tls() as client:
        client.send(b"go")
        client.wait_broken()


@clause(7, tls=True)
def check_abort_resets_in_the_midst_of_a_handshake(stage: Stage) -> None:
    """A deadline of the machine may end one at any moment."""

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Data):
            securing = StartTls(probe.conn, stage.server_tls, event.data)
            return [securing, Close(probe.conn, abort=True)]
        return []

    stage.serve(react)
    with stage.dial() as client:
        probe = stage.probe(client)
        client.send(b"\x16\x03\x01")
        assert client.was_reset()
    assert probe.names() == ["Opened", "Data"], probe.names()


CHECKS: Final[tuple[Check, ...]] = (
    check_tls_carries_bytes_both_ways,
    check_tls_may_have_begun_already,
    check_a_failed_handshake_is_a_loss,
    check_a_reset_in_a_handshake_is_a_loss,
    check_close_notify_is_the_end_of_one_direction,
    check_half_close_is_close_notify,
    check_a_tls_stream_that_is_cut_is_lost,
    check_garbage_in_a_tls_stream_is_a_loss,
    check_after_a_pause_at_most_one_read_follows_in_tls,
    check_data_over_tls_is_never_empty_and_never_large,
    check_blocked_and_unblocked_alternate_in_tls,
    check_close_gives_up_on_a_peer_that_does_not_read_tls,
    check_abort_resets_in_the_midst_of_a_handshake,
)
