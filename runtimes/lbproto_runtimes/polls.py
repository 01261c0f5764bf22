"""Waiting for sockets: what the polled runtimes need of a system.

A `Poll` waits for the sockets of one thread, or greenlet. A `Platform` makes
polls and what runs beside each other. Two of them make two runtimes: threads of
the system over poll(2) and epoll(7), greenlets over gevent's loop.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Final, Protocol

__all__ = ["READ", "WRITE", "Lock", "Platform", "Poll", "SharedPoll"]

READ: Final = 1
WRITE: Final = 4
"""What to wait for: POLLIN and POLLOUT, the same bits for poll(2) and epoll(7) on every
machine that Linux runs on. As numbers they are known to what is compiled."""


class Poll(Protocol):
    """Waits for several sockets at once."""

    def watch(self, descriptor: int, mask: int) -> None:
        """Wait for these from now on; 0 is nothing, as before a socket is closed."""
        ...

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """Return who is ready for what, after at most these seconds.

        An empty list may also come earlier: time has passed, or somebody rang.
        """
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class SharedPoll(Poll, Protocol):
    """A poll that others than the waiting thread may change and wake."""

    def wake(self) -> None:
        """Make `wait` return soon."""
        ...


class Lock(Protocol):
    """Held while shared state changes; its holder may take it again."""

    def __enter__(self) -> object:
        """Take it."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """Give it back."""
        ...

    def wait(self, timeout: float) -> bool:
        """Let others have it until one notifies; false if none did in time."""
        ...

    def notify_all(self) -> None:
        """Tell those who wait to look again."""
        ...


class Platform(Protocol):
    """How much runs beside each other, and waits."""

    def poll(self) -> Poll:
        """Make a poll for the caller alone."""
        ...

    def shared_poll(self) -> SharedPoll:
        """Make a poll that others may change and wake."""
        ...

    def ring(self) -> None:
        """Make every `wait` of every poll return soon, once."""
        ...

    def lock(self) -> Lock:
        """Make a lock."""
        ...

    def start(self, work: Callable[[], None]) -> None:
        """Run this beside the caller; it waits in polls only.

        Raises:
            RuntimeError: the system has no room for more.
        """
        ...

    def aside(self, work: Callable[[], None]) -> None:
        """Run this in a thread of the system, since it blocks.

        Raises:
            RuntimeError: the system has no room for more.
        """
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...
