"""Signals of a process that waits in poll(2).

A signal between the last look and the wait would not end it, so their numbers go
through a pipe, which Python's own handler writes (`signal.set_wakeup_fd`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lbproto_runtimes.watch import Watch

__all__ = ["HANDLED", "signals"]

HANDLED: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
)
"""The master's to answer; terminals and init systems send some to every process."""


@contextlib.contextmanager
def signals(watch: Watch, came: Callable[[int], None]) -> Iterator[list[int]]:
    """Have `came` called with each number; only a main thread gets any.

    What is yielded are descriptors that no child may keep, beside what is watched.
    """
    if threading.current_thread() is not threading.main_thread():
        yield []
        return
    woken, waker = os.pipe()
    os.set_blocking(waker, False)

    def read(mask: int) -> None:
        for number in os.read(woken, 4096):
            came(number)

    watch.add(woken, read)
    before = {number: signal.signal(number, _noted) for number in HANDLED}
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    try:
        yield [waker]
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        watch.remove(woken)
        os.close(woken)
        os.close(waker)


def _noted(signum: int, frame: object) -> None:
    """The number is in the pipe."""
