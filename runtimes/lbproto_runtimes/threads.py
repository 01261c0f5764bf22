"""The threads runtime: a thread of the system for each client.

Nothing is shared but the balancer, which has its lock. A thread that waits costs
its stack and a slot in the poll of one descriptor, the bell: a pipe that is made
readable to wake them all, and replaced by the next one.
"""

from __future__ import annotations

import _thread
import contextlib
import math
import os
import select
import threading
from typing import TYPE_CHECKING, Final

from lbproto_runtimes.env import WallClockEnv
from lbproto_runtimes.polled import PolledServer
from lbproto_runtimes.polls import READ

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lbproto.machine.env import Env
    from lbproto.proxy.gateway import Gateway
    from lbproto_runtimes.api import Serving
    from lbproto_runtimes.contexts import Contexts
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.polls import Lock

__all__ = ["ThreadsRuntime"]

STACK: Final = 512 * 1024
"""Bytes of address space for a thread's stack; only what is used is memory."""

LONGEST: Final = 3600.0
"""Seconds; poll(2) counts milliseconds in 32 bits."""


class Bell:
    """Wakes whoever waits for it, each as often as it rings."""

    def __init__(self) -> None:
        self._pipes = [os.pipe()]

    def current(self) -> int:
        """Return what to wait for."""
        return self._pipes[-1][0]

    def ring(self) -> None:
        """Wake everybody: the pipe stays readable, and the next one is silent."""
        self._pipes.append(os.pipe())
        os.write(self._pipes[-2][1], b"!")

    def close(self) -> None:
        for pair in self._pipes:
            for descriptor in pair:
                os.close(descriptor)


class ThreadPoll:
    """Waits for the sockets of one thread, and for the bell."""

    __slots__ = ("_bell", "_heard", "_poll")

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._poll = select.poll()
        self._heard = bell.current()
        self._poll.register(self._heard, READ)

    def watch(self, descriptor: int, mask: int) -> None:
        if mask:
            self._poll.register(descriptor, mask)
        else:
            self._poll.unregister(descriptor)

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        # Rounded up: a deadline is never early.
        limit = math.ceil(min(seconds, LONGEST) * 1000)
        found = self._poll.poll(limit)
        for at, (descriptor, _) in enumerate(found):
            if descriptor == self._heard:
                del found[at]
                self._poll.unregister(self._heard)
                self._heard = self._bell.current()
                self._poll.register(self._heard, READ)
                break
        return found

    def close(self) -> None:
        """Nothing is held."""


class EpollPoll:
    """Waits for sockets that others may add, remove and wake."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._lock = threading.RLock()  # a signal's handler may come in between
        self._closed = False
        self._masks: dict[int, int] = {}
        self._woken, self.waker = os.pipe()
        for descriptor in (self._woken, self.waker):
            os.set_blocking(descriptor, False)
        self._epoll.register(self._woken, READ)

    def watch(self, descriptor: int, mask: int) -> None:
        known = descriptor in self._masks
        if not mask:
            self._masks.pop(descriptor, None)
            if known:
                self._epoll.unregister(descriptor)
            return
        self._masks[descriptor] = mask
        if known:
            self._epoll.modify(descriptor, mask)
        else:
            self._epoll.register(descriptor, mask)

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        limit = None if seconds == math.inf else math.ceil(seconds * 1000) / 1000
        found = self._epoll.poll(limit)
        woken = [pair for pair in found if pair[0] == self._woken]
        if woken:
            with contextlib.suppress(BlockingIOError):
                os.read(self._woken, 4096)
            found.remove(woken[0])
        return found

    def wake(self) -> None:
        with self._lock:  # closed, its number may be another's
            if not self._closed:
                with contextlib.suppress(BlockingIOError):  # full: it is awake
                    os.write(self.waker, b"!")

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._epoll.close()
            os.close(self._woken)
            os.close(self.waker)


class Threads:
    """The platform of threads."""

    def __init__(self) -> None:
        self._bell = Bell()

    def poll(self) -> ThreadPoll:
        return ThreadPoll(self._bell)

    def shared_poll(self) -> EpollPoll:
        return EpollPoll()

    def ring(self) -> None:
        self._bell.ring()

    def lock(self) -> Lock:
        return threading.Condition(threading.RLock())

    def start(self, work: Callable[[], None]) -> None:
        # Not `threading.Thread`: it costs some KiB, and waits for the other side.
        before = threading.stack_size(STACK)
        try:
            _thread.start_new_thread(work, ())
        finally:
            threading.stack_size(before)

    def aside(self, work: Callable[[], None]) -> None:
        self.start(work)

    def close(self) -> None:
        self._bell.close()


class ThreadsRuntime:
    """`--runtime threads`."""

    name = "threads"

    def env(self) -> Env:
        """Many threads feed machines: a lock guards what they share."""
        return WallClockEnv(threading.Lock())

    def serve(
        self,
        gateway: Gateway,
        listeners: Sequence[Listener],
        logs: Logs,
        ready: Callable[[Serving], None],
        contexts: Contexts | None = None,
    ) -> None:
        """Accept clients in this thread; see `Runtime`."""
        PolledServer(Threads(), gateway, listeners, logs, contexts).serve(ready)
