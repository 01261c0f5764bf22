"""What every runtime offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lbproto.machine.env import Env
    from lbproto.proxy.gateway import Gateway
    from lbproto_runtimes.contexts import Contexts
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs

__all__ = ["Runtime", "Serving"]


class Serving(Protocol):
    """A server at work. Any thread may tell it to end, in one of two ways."""

    def drain(self, grace: float, timeout: float) -> None:
        """Stop accepting, let what is in flight end; seconds, as in `Drain`."""
        ...

    def stop(self) -> None:
        """Stop at once."""
        ...


class Runtime(Protocol):
    """Turns what happens on sockets into events, and effects into deeds."""

    @property
    def name(self) -> str:
        """The name by which it is chosen."""
        ...

    def env(self) -> Env:
        """Make the world of a `Gateway` that this runtime will drive."""
        ...

    def serve(
        self,
        gateway: Gateway,
        listeners: Sequence[Listener],
        logs: Logs,
        ready: Callable[[Serving], None],
        contexts: Contexts | None = None,
    ) -> None:
        """Serve in the calling thread until what `ready` was given is told to end.

        `ready` is called once clients are accepted. The listening sockets are
        closed at the end, or when draining begins.
        """
        ...
