"""What applications want to be awaited: tasks on an event loop.

A runtime without a loop has nowhere to await, and says so at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lbproto.machine.errors import LbError
from lbproto.machine.events import Settled

if TYPE_CHECKING:
    from lbproto.machine.effects import Await
    from lbproto_runtimes.perform import Driver

__all__ = ["Awaiting", "NoEventLoop", "refuse"]


class NoEventLoop(LbError):
    """A phase is a coroutine, and there is no event loop to run it."""


class Awaiting:
    """Tasks, by who waits for them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: dict[tuple[Driver, int], asyncio.Task[None]] = {}

    def begin(self, effect: Await, owner: Driver) -> None:
        """Await what an application has returned; feed the owner with the answer."""
        key = owner, effect.ticket
        self._tasks[key] = self._loop.create_task(self._run(effect, owner))

    async def _run(self, effect: Await, owner: Driver) -> None:
        key = owner, effect.ticket
        result: object = None
        error: Exception | None = None
        try:
            result = await effect.awaitable
        except asyncio.CancelledError:
            if key not in self._tasks:
                raise  # by us
            error = RuntimeError("the coroutine was cancelled")
        except Exception as raised:
            error = raised
        if self._tasks.pop(key, None) is not None:
            owner.feed(Settled(effect.conn, effect.ticket, result, error))

    def cancel(self, ticket: int, owner: Driver) -> None:
        """Cancel a task, if it is not done."""
        task = self._tasks.pop((owner, ticket), None)
        if task is not None:
            task.cancel()

    async def end(self, patience: float) -> None:
        """Let what still runs end within some seconds, then cancel it."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=patience)
        for owner, ticket in list(self._tasks):
            self.cancel(ticket, owner)


def refuse(effect: Await, owner: Driver) -> None:
    """Answer that nothing can be awaited here."""
    close = getattr(effect.awaitable, "close", None)
    if close is not None:
        close()  # a coroutine that never runs would be warned of
    message = "no event loop awaits a coroutine here (asyncio and uvloop have one)"
    error = NoEventLoop(message)
    owner.feed(Settled(effect.conn, effect.ticket, None, error))
