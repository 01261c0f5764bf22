"""What every runtime offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lbproto.proxy.gateway import Gateway
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs

__all__ = ["Runtime"]


class Runtime(Protocol):
    """Turns what happens on sockets into events, and effects into deeds."""

    @property
    def name(self) -> str:
        """The name by which it is chosen."""
        ...

    def run(self, gateway: Gateway, listeners: Sequence[Listener], logs: Logs) -> int:
        """Serve until a signal ends it; return the exit status.

        SIGTERM stops gracefully, SIGINT at once. The listening sockets stay the
        caller's to close.
        """
        ...
