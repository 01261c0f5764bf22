"""A runtime in a thread of the test."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import lbproto_runtimes
from tests.runtimes.wire import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lbproto.proxy.gateway import Gateway
    from lbproto_runtimes.api import Serving
    from lbproto_runtimes.contexts import Contexts
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs


class Embedded:
    """Serves from `__init__` to `stop`."""

    def __init__(
        self,
        runtime: str,
        gateway: Gateway,
        listeners: Sequence[Listener],
        logs: Logs,
        contexts: Contexts | None = None,
    ) -> None:
        self.listeners = listeners
        self.serving: Serving | None = None
        self.error: BaseException | None = None
        self._runtime = lbproto_runtimes.load(runtime)
        self._up = threading.Event()
        self._thread = threading.Thread(
            target=self._serve, args=(gateway, logs, contexts)
        )
        self._thread.start()
        assert self._up.wait(PATIENCE)
        self._raise()

    @property
    def address(self) -> str:
        return str(self.listeners[0].target)

    def stop(self) -> None:
        """Stop at once, and wait for the end."""
        assert self.serving is not None
        self.serving.stop()
        self.wait()

    def wait(self) -> None:
        """Wait for the end."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        self._raise()

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error

    def _serve(self, gateway: Gateway, logs: Logs, contexts: Contexts | None) -> None:
        try:
            self._runtime.serve(
                gateway, self.listeners, logs, self._ready, contexts=contexts
            )
        except BaseException as error:
            self.error = error
        finally:
            self._up.set()

    def _ready(self, serving: Serving) -> None:
        self.serving = serving
        self._up.set()
