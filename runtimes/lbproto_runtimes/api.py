"""What every runtime offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from lbproto.machine.env import Env
    from lbproto.proxy.gateway import Gateway
    from lbproto_runtimes.contexts import Contexts
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.moved import Moved

__all__ = ["Runtime", "Serving"]


class Serving(Protocol):
    """A server at work; any thread may tell it these.

    The first two end it. The others are what an upgrade takes: clients are left to
    another process, or come from one. A listener is named by its `key`.
    """

    def drain(self, grace: float, timeout: float) -> None:
        """Stop accepting, let what is in flight end; seconds, as in `Drain`.

        The last word counts, if it is told so again.
        """
        ...

    def stop(self) -> None:
        """Stop at once."""
        ...

    def hold(self, keys: Collection[str], held: Callable[[], object]) -> None:
        """Accept nobody on these listeners for the moment; they stay open.

        `held` is called, from any thread, when all who were accepted there are served.
        """
        ...

    def accept(self, keys: Collection[str]) -> None:
        """Accept on these listeners again."""
        ...

    def collect(
        self,
        keys: Collection[str],
        most: int,
        found: Callable[[Sequence[Moved], int], object],
    ) -> None:
        """Give up at most so many clients of these listeners that are idle.

        That is: between requests, without TLS, nothing read of them and nothing
        queued for them. `found` is called once, from any thread, with them and with
        the number of clients that are left.
        """
        ...

    def take(self, moved: Sequence[Moved]) -> None:
        """Serve clients that somebody gave up; those of other listeners are closed."""
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
