"""The asyncio runtime; uvloop is the same with another event loop.

To serve inside a program's own loop:

    await lbproto_runtimes.aio.serve(gateway, listeners, logs)
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from lbproto_runtimes.env import WallClockEnv
from lbproto_runtimes.loop import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from lbproto.machine.env import Env
    from lbproto.proxy.gateway import Gateway
    from lbproto_runtimes.api import Serving
    from lbproto_runtimes.contexts import Contexts
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.moved import Moved

__all__ = ["AsyncioRuntime", "Server", "UvloopRuntime", "serve"]


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
    try:
        await server.wait()
    except asyncio.CancelledError:
        server.stop()
        raise


class _FromAnyThread:
    """A server, for threads beside its loop."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()

    def drain(self, grace: float, timeout: float) -> None:
        self._call(self._server.drain, grace, timeout)

    def stop(self) -> None:
        self._call(self._server.stop)

    def hold(self, keys: Collection[str], held: Callable[[], object]) -> None:
        self._call(self._server.hold, keys, held)

    def accept(self, keys: Collection[str]) -> None:
        self._call(self._server.accept, keys)

    def collect(
        self,
        keys: Collection[str],
        most: int,
        found: Callable[[Sequence[Moved], int], object],
    ) -> None:
        self._call(self._server.collect, keys, most, found)

    def take(self, moved: Sequence[Moved]) -> None:
        self._call(self._server.take, moved)

    def _call(self, do: Callable[..., None], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: it is over
            self._loop.call_soon_threadsafe(do, *args)


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
            ready(_FromAnyThread(server))

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
