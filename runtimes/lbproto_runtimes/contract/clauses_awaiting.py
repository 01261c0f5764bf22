"""Clause 14: what applications want to be awaited."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from lbproto.machine.effects import Await, Cancel, Close, Effect, Send
from lbproto.machine.events import Data, Event, Lost, Settled
from lbproto_runtimes.awaiting import NoEventLoop
from lbproto_runtimes.contract.check import clause
from lbproto_runtimes.contract.probe import Probe

if TYPE_CHECKING:
    from lbproto_runtimes.contract.check import Check
    from lbproto_runtimes.contract.stage import Stage

__all__ = ["CHECKS"]


async def _turn() -> str:
    await asyncio.sleep(0)
    return "settled"


async def _fail() -> str:
    await asyncio.sleep(0)
    raise ZeroDivisionError("raised")


@clause(14)
def check_what_is_awaited_is_settled_once(stage: Stage) -> None:
    """With what it returns, or because there is no loop to await it on."""

    def react(probe: Probe, event: Event) -> list[Effect]:
        match event:
            case Data():
                return [Await(probe.conn, 7, _turn())]
            case Settled():
                return [Send(probe.conn, b"seen")]
        return []

    stage.serve(react)
    with stage.dial() as client:
        probe = stage.probe(client)
        client.send(b"go")
        assert client.exactly(4) == b"seen"
        (settled,) = probe.all(Settled)
        assert (settled.conn, settled.ticket) == (probe.conn, 7)
        if settled.error is None:
            assert settled.result == "settled", settled
        else:
            assert isinstance(settled.error, NoEventLoop), settled


@clause(14)
def check_what_it_raises_is_passed_on(stage: Stage) -> None:
    """An exception is an answer, and no trouble of anybody else's."""

    def react(probe: Probe, event: Event) -> list[Effect]:
        return [Await(probe.conn, 1, _fail())] if isinstance(event, Data) else []

    stage.serve(react)
    with stage.dial() as client:
        probe = stage.probe(client)
        client.send(b"go")
        settled = probe.wait_for(Settled)
        assert isinstance(settled.error, ZeroDivisionError | NoEventLoop), settled
        assert settled.result is None


@clause(14)
def check_nobody_waits_meanwhile(stage: Stage) -> None:
    """While a machine awaits, it and others hear what happens."""
    gate: list[bool] = []

    async def until_open() -> None:
        while not gate:  # noqa: ASYNC110 - another thread opens it
            await asyncio.sleep(0)

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Data):
            if event.data == b"wait":
                return [Await(probe.conn, 1, until_open())]
            return [Send(probe.conn, event.data)]
        return []

    stage.serve(react)
    with stage.dial() as waiting, stage.dial() as other:
        probe = stage.probe(waiting)
        waiting.send(b"wait")
        waiting_heard = probe.wait_for(Data)
        assert waiting_heard.data == b"wait"
        other.send(b"other")
        assert other.exactly(5) == b"other"
        waiting.send(b"mine")
        assert waiting.exactly(4) == b"mine"
        gate.append(True)
        probe.wait_for(Settled)


@clause(14)
def check_what_is_cancelled_is_not_settled(stage: Stage) -> None:
    """Its coroutine ends; there is no answer, even if the client has left."""
    words: list[str] = []

    def note(word: str) -> None:
        with stage.world.changed:
            words.append(word)
            stage.world.changed.notify_all()

    async def for_ever() -> None:
        note("began")
        try:
            await asyncio.sleep(3600)
        finally:
            note("ended")

    def react(probe: Probe, event: Event) -> list[Effect]:
        match event:
            case Data(_, b"wait"):
                return [Await(probe.conn, 1, for_ever())]
            case Data(_, b"cancel"):
                return [Cancel(probe.conn, 1), Cancel(probe.conn, 9)]
            case Data() | Lost():
                return [Close(probe.conn)]
        return []

    stage.serve(react)
    with stage.dial() as client:
        probe = stage.probe(client)
        client.send(b"wait")
        probe.wait_for(Data)
        stage.world.wait(lambda: words or probe.all(Settled))
        client.send(b"cancel")
        probe.wait_for(Data, count=2)
        client.send(b"close")
        client.rest()
    for settled in probe.all(Settled):
        assert isinstance(settled.error, NoEventLoop), settled
    stage.world.wait(lambda: "ended" in words or probe.all(Settled))


CHECKS: Final[tuple[Check, ...]] = (
    check_what_is_awaited_is_settled_once,
    check_what_it_raises_is_passed_on,
    check_nobody_waits_meanwhile,
    check_what_is_cancelled_is_not_settled,
)
