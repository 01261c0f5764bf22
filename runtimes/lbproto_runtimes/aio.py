"""The asyncio runtime; uvloop is the same with another event loop.

The loop waits for one descriptor, that of the hub's epoll, and for one timer. To serve
inside a program's own loop:

    await lbproto_runtimes.aio.serve(gateway, listeners, logs)
"""

from __future__ import annotations

import asyncio
import select
import threading
import time
from typing import TYPE_CHECKING, Final

from lbproto_runtimes.awaiting import Awaiting
from lbproto_runtimes.env import WallClockEnv
from lbproto_runtimes.server import FromAnyThread, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lbproto.machine.env import Env
    from lbproto.proxy.gateway import Gateway
    from lbproto_runtimes.api import Serving
    from lbproto_runtimes.contexts import Contexts
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs

__all__ = ["AsyncioRuntime", "LoopHost", "Server", "UvloopRuntime", "serve"]

LAST_WORDS: Final = 5.0
"""Seconds in which applications may end what they do after the last response."""

TICK: Final = 0.001
"""Seconds; a timer of uvloop may be as much early, and would have to be set again."""


class LoopHost:
    """Runs the hub of a server on the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._server: Server | None = None
        self._done = asyncio.Event()
        self.awaiting: Awaiting | None = Awaiting(self._loop)
        """Who awaits what applications return."""

    def run(self, server: Server) -> None:
        """Have a server's turns from now on, whenever there is something to do."""
        self._server = server
        server.finished = self._done.set
        self._loop.add_reader(server.hub.fileno(), server.hub.turn)

    async def wait(self) -> None:
        """Return when everything has ended; if it is cancelled, all stops at once."""
        assert self._server is not None, "one is run before that"
        try:
            await self._done.wait()
        except asyncio.CancelledError:
            self._server.stop()
            raise
        finally:
            assert self.awaiting is not None, "made at the beginning"
            await self.awaiting.end(0.0 if self._server.stopped else LAST_WORDS)
            self.end()

    def end(self) -> None:
        """Close what is left."""
        assert self._server is not None, "one is run before that"
        self._loop.remove_reader(self._server.hub.fileno())
        self._server.end()
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
        seconds = max(0.0, at - time.monotonic()) + TICK
        self._timer = self._loop.call_later(seconds, self._rung)

    def _rung(self) -> None:
        self._timer = None
        if self._server is not None:
            self._server.hub.ring()

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
    host = LoopHost()
    server = Server(gateway, listeners, logs, contexts, host)
    host.run(server)
    server.start()
    if ready is not None:
        ready(server)
    await host.wait()


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
