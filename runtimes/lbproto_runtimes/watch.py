"""Waiting for descriptors without an event loop, as a process does that forks.

A `Watch` is poll(2) and who wants to know. Whoever is called may add and remove
others, himself too.
"""

from __future__ import annotations

import math
import select
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Watch"]

LONGEST: Final = 3600.0
"""Seconds; poll(2) counts milliseconds in 32 bits."""


class Watch:
    """The descriptors of one thread."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._calls: dict[int, Callable[[int], None]] = {}

    def add(
        self, fd: int, call: Callable[[int], None], mask: int = select.POLLIN
    ) -> None:
        """Call with what is ready, whenever something of the mask is; or an error."""
        self._calls[fd] = call
        self._poll.register(fd, mask)

    def remove(self, fd: int) -> None:
        """Call no more; before the descriptor is closed."""
        if self._calls.pop(fd, None) is not None:
            self._poll.unregister(fd)

    @property
    def descriptors(self) -> list[int]:
        """What is watched; a child that is forked closes its copies."""
        return list(self._calls)

    def turn(self, until: float) -> None:
        """Wait until something is ready, or for the time of the monotonic clock."""
        patience = max(0.0, min(until - time.monotonic(), LONGEST))
        ready = self._poll.poll(math.ceil(patience * 1000))
        # Looked up before anybody is called: a number that is closed and given out
        # anew in this turn is another descriptor, of which nothing is known yet.
        for fd, mask, call in [(fd, mask, self._calls.get(fd)) for fd, mask in ready]:
            if call is not None and self._calls.get(fd) is call:
                call(mask)
