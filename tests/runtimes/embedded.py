"""A server on an event loop in a thread of the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from lbproto_runtimes.aio import Server, serve
from tests.runtimes.wire import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lbproto.proxy.gateway import Gateway
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs


def new_loop(runtime: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if runtime == "asyncio":
        return asyncio.new_event_loop
    if runtime == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        return uvloop.new_event_loop  # type: ignore[no-any-return]
    pytest.skip(f"{runtime} has no event loop to embed in")


class Embedded:
    """Serves from `__init__` to `stop`."""

    def __init__(
        self, runtime: str, gateway: Gateway, listeners: Sequence[Listener], logs: Logs
    ) -> None:
        self.listeners = listeners
        self._loop = new_loop(runtime)
        self._stop: Callable[[], object] | None = None
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(gateway, logs))
        self._thread.start()
        assert self._up.wait(PATIENCE)

    @property
    def address(self) -> str:
        return str(self.listeners[0].target)

    def stop(self) -> None:
        assert self._stop is not None
        self._stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _run(self, gateway: Gateway, logs: Logs) -> None:
        with asyncio.Runner(loop_factory=self._loop) as runner:
            runner.run(serve(gateway, self.listeners, logs, self._ready))
        for listener in self.listeners:
            listener.socket.close()

    def _ready(self, server: Server) -> None:
        loop = asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(server.stop)
        self._up.set()
