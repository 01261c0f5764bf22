"""What holds of every machine, whatever a check does: read from its history.

Clauses that say "never" and "at most" are judged here, for each machine of each
check, so that a check need only bring about what could break them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lbproto.machine.effects import (
    Adopt,
    Close,
    Connect,
    Effect,
    Park,
    StartTls,
)
from lbproto.machine.events import (
    Connected,
    ConnectError,
    ConnectFailed,
    Data,
    Eof,
    Event,
    Lost,
    Secured,
    Settled,
    WriteBlocked,
    WriteUnblocked,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lbproto.machine.values import ConnId
    from lbproto_runtimes.contract.probe import Probe

__all__ = ["LARGEST", "broken_rules"]

LARGEST: Final = 256 * 1024
"""Bytes of one `Data`."""


def broken_rules(probe: Probe) -> list[str]:
    """Return what a runtime did to this machine that it must not do."""
    found = [f"clauses 1, 2, 8: {what}" for what in probe.broken]
    if len(probe.threads) > 1:
        found.append(f"clause 1: fed by {len(probe.threads)} threads")
    lives: dict[ConnId, list[Event | Effect]] = {}
    for one in probe.history:
        conn: ConnId | None = getattr(one, "conn", None)
        if conn is not None:
            lives.setdefault(conn, []).append(one)
    for conn, life in lives.items():
        found += [f"{what} (connection {conn})" for what in _of_connection(life)]
    return found


def _of_connection(life: list[Event | Effect]) -> Iterator[str]:
    yield from _endings(life)
    yield from _answers(life)
    yield from _writability(life)
    tickets = [one.ticket for one in life if isinstance(one, Settled)]
    for ticket in sorted({one for one in tickets if tickets.count(one) > 1}):
        yield f"clause 14: ticket {ticket} was settled more than once"
    for one in life:
        if not isinstance(one, Data):
            continue
        if type(one.data) is not bytes:
            yield f"clause 11: Data with {type(one.data).__name__}"
        if not 0 < len(one.data) <= LARGEST:
            yield f"clause 11: Data with {len(one.data)} bytes"


def _endings(life: list[Event | Effect]) -> Iterator[str]:
    if sum(isinstance(one, Eof) for one in life) > 1:
        yield "clause 6: Eof came twice"
    gone: Event | Effect | None = None
    ended = False
    for one in life:
        if isinstance(one, Adopt | Connect):
            gone, ended = None, False
        if isinstance(gone, Lost) and isinstance(one, Event):
            yield f"clause 6: {type(one).__name__} came after Lost"
        if ended and isinstance(one, Data):
            yield "clause 6: Data came after Eof"
        # What was queued when the machine said so may still come: a buffer that ran
        # full, a write that failed.
        if isinstance(gone, Close) and isinstance(one, Data | Eof):
            yield f"clause 6: {type(one).__name__} came after Close"
        if isinstance(one, Close | Lost):
            gone = one
        ended = ended or isinstance(one, Eof)


def _answers(life: list[Event | Effect]) -> Iterator[str]:
    """Judge what `Connect` and `StartTls` were answered with."""
    answers = 0
    handshaking = False
    for one in life:
        match one:
            case Connected():
                answers += 1
            case ConnectFailed(_, why) if why is not ConnectError.STALE:
                answers += 1
            case StartTls():
                handshaking = True
            case Secured() if not handshaking:
                yield "clause 10: Secured came unasked"
            case Secured() | Lost() | Close():
                handshaking = False
            case Data() if handshaking:
                yield "clause 10: Data came before Secured"
            case _:
                pass
    asked = sum(isinstance(one, Connect) for one in life)
    if answers > asked:
        yield f"clause 10: {asked} Connect, {answers} answers"


def _writability(life: list[Event | Effect]) -> Iterator[str]:
    blocked = False
    for one in life:
        match one:
            case WriteBlocked() if blocked:
                yield "clause 9: WriteBlocked came twice in a row"
            case WriteUnblocked() if not blocked:
                yield "clause 9: WriteUnblocked came without WriteBlocked"
            case _:
                pass
        if isinstance(one, WriteBlocked | WriteUnblocked):
            blocked = isinstance(one, WriteBlocked)
        elif isinstance(one, Park):
            blocked = False  # somebody else's from now on
