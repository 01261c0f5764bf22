"""The asyncio runtime; uvloop is the same with another event loop.

The loop waits for one descriptor, that of the hub's epoll, and for one timer. To serve
inside a program's own loop:

    await lbproto_runtimes.aio.serve(gateway, listeners, logs)
"""

from __future__ import annotations

import asyncio
import math
import select
import threading
from typing import TYPE_CHECKING, Final

from lbproto_runtimes import server
from lbproto_runtimes.awaiting import Awaiting
from lbproto_runtimes.env import WallClockEnv
from lbproto_runtimes.server import FromAnyThread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lbproto.machine.env import Env
    from lbproto.proxy.gateway import Gateway
    from lbproto_runtimes.api import Serving
    from lbproto_runtimes.contexts import Contexts
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs

__all__ = ["AsyncioRuntime", "Server", "UvloopRuntime", "serve"]

LAST_WORDS: Final = 5.0
"""Seconds in which applications may end what they do after the last response."""

TICK: Final = 0.001
"""Seconds; a timer of uvloop may be as much early, and would have to be set again."""


class Server(server.Server):
    """A gateway on the running event loop."""

    def __init__(
        self,
        gateway: Gateway,
        listeners: Sequence[Listener],
        logs: Logs,
        contexts: Contexts | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._done = asyncio.Event()
        self.awaiting: Awaiting | None = Awaiting(self._loop)
        """Who awaits what applications return."""
        super().__init__(gateway, listeners, logs, contexts, host=self)
        self.finished = self._done.set
        self._loop.add_reader(self.hub.fileno(), self.hub.turn)

    async def wait(self) -> None:
        """Return when everything has ended."""
        try:
            await self._done.wait()
        except asyncio.CancelledError:
            self.stop()
            raise
        finally:
            assert self.awaiting is not None, "made with the server"
            await self.awaiting.end(0.0 if self.stopped else LAST_WORDS)
            self.end()

    def end(self) -> None:
        """Close what is left."""
        self._loop.remove_reader(self.hub.fileno())
        super().end()
        if self._timer is not None:
            self._timer.cancel()

    # -- what the hub asks for -----------------------------------------------

    def epoll(self) -> select.epoll:
        """Make one."""
        return select.epoll()

    def ring_at(self, at: float) -> None:
        """Have a turn at this time; replaces what was said before."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at < math.inf:
            seconds = max(0.0, at - self.hub.clock()) + TICK
            self._timer = self._loop.call_later(seconds, self._rung)

    def _rung(self) -> None:
        self._timer = None
        self.hub.ring()

    def aside(self, work: Callable[[], None]) -> None:
        """Run this in a thread of the system, since it blocks."""
        threading.Thread(target=work, daemon=True).start()


async def serve(
    gateway: Gateway,
    listeners: Sequence[Listener],
    logs: Logs,
    ready: Callable[[Server], None] | None = None,
    contexts: Contexts | None = None,
) -> None:
    """Serve on the running loop until `drain` or `stop` is called on the server.

    `ready` gets the server once it accepts. Cancelling stops at once.
    """
    server = Server(gateway, listeners, logs, contexts)
    server.start()
    if ready is not None:
        ready(server)
    await server.wait()


class AsyncioRuntime:
    """`--runtime asyncio`."""

    name = "asyncio"

    def env(self) -> Env:
        """One thread feeds all machines; the lock is for who tells of health."""
        return WallClockEnv()

    def serve(
        self,
        gateway: Gateway,
        listeners: Sequence[Listener],
        logs: Logs,
        ready: Callable[[Serving], None],
        contexts: Contexts | None = None,
    ) -> None:
        """Serve on a new loop in this thread; see `Runtime`."""

        def tell(server: Server) -> None:
            ready(FromAnyThread(server))

        with asyncio.Runner(loop_factory=self._new_loop()) as runner:
            runner.run(serve(gateway, listeners, logs, tell, contexts))

    def _new_loop(self) -> Callable[[], asyncio.AbstractEventLoop]:
        return asyncio.new_event_loop


class UvloopRuntime(AsyncioRuntime):
    """`--runtime uvloop`: asyncio's protocol on libuv's loop."""

    name = "uvloop"

    def _new_loop(self) -> Callable[[], asyncio.AbstractEventLoop]:
        import uvloop

        return uvloop.new_event_loop
