"""What each signal means to a server, whatever runs it."""

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING

from lbproto.machine.effects import Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from lbproto.proxy.gateway import Gateway
    from lbproto_runtimes.api import Serving
    from lbproto_runtimes.logs import Logs

__all__ = ["Signals"]


class Signals:
    """What each signal means to a server."""

    def __init__(self, server: Serving, gateway: Gateway, logs: Logs) -> None:
        self._server = server
        self._config = gateway.config
        self._logs = logs
        self._terminating = False

    def actions(self) -> dict[int, Callable[[], None]]:
        """Return what to do on each signal, by its number."""
        return {
            signal.SIGTERM: self.terminate,
            signal.SIGINT: self.interrupt,
            signal.SIGUSR1: self._logs.reopen,
            signal.SIGHUP: partial(self.refuse, "reload"),
            signal.SIGQUIT: partial(self.refuse, "upgrade"),
        }

    def terminate(self) -> None:
        """Stop gracefully; a second time, at once."""
        if self._terminating:
            self.interrupt()
            return
        self._terminating = True
        self._logs.log(Level.INFO, "stopping gracefully", {"signal": "SIGTERM"})
        config = self._config
        self._server.drain(
            config.grace_period_seconds, config.graceful_shutdown_timeout_seconds
        )

    def interrupt(self) -> None:
        """Stop at once."""
        self._logs.log(Level.INFO, "stopping at once", {})
        self._server.stop()

    def refuse(self, what: str) -> None:
        """Go on serving after a signal whose work is not built yet."""
        self._logs.log(Level.WARNING, f"{what} is not supported yet", {})
