"""The threads runtime: plain threads of the system, and no event loop.

Machines never block, so one thread serves all clients over a hub, and others wait for
names. The phases of an application may block; where there is one, each client has a
thread. Nothing is shared but the balancer then, which has its lock. A thread that waits
costs its stack and a slot in the poll of one descriptor, the bell's, which becomes
readable to wake them all.
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
from lbproto_runtimes.server import FromAnyThread, Server, has_application

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


class Chime:
    """A pipe that is readable once it was rung."""

    __slots__ = ("descriptor", "listeners", "waker")

    def __init__(self) -> None:
        self.descriptor, self.waker = os.pipe()
        self.listeners = 0


class Bell:
    """Wakes whoever waits for it, each as often as it rings.

    A chime is used again when all have heard it. There is one to spare from the
    beginning, since the bell is rung when there is no descriptor left, too.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current = Chime()
        self._spare = [Chime()]
        self._rung: list[Chime] = []

    def listen(self) -> Chime:
        """Return what to wait for, until `leave`."""
        with self._lock:
            self._current.listeners += 1
            return self._current

    def leave(self, chime: Chime) -> None:
        """It was heard, or nobody waits for it any more."""
        with self._lock:
            chime.listeners -= 1
            if chime in self._rung and not chime.listeners:
                os.read(chime.descriptor, 1)
                self._rung.remove(chime)
                self._spare.append(chime)

    def ring(self) -> None:
        """Wake everybody: the chime stays readable, and the next one is silent."""
        with self._lock:
            chime = self._current
            if chime.listeners:
                self._current = self._spare.pop() if self._spare else Chime()
                self._rung.append(chime)
                os.write(chime.waker, b"!")

    def close(self) -> None:
        for chime in (self._current, *self._spare, *self._rung):
            os.close(chime.descriptor)
            os.close(chime.waker)


class ThreadPoll:
    """Waits for the sockets of one thread, and for the bell."""

    __slots__ = ("_bell", "_chime", "_poll")

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._poll = select.poll()
        self._chime = bell.listen()
        self._poll.register(self._chime.descriptor, READ)

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
            if descriptor == self._chime.descriptor:
                del found[at]
                self._poll.unregister(descriptor)
                self._bell.leave(self._chime)
                self._chime = self._bell.listen()
                self._poll.register(self._chime.descriptor, READ)
                break
        return found

    def close(self) -> None:
        self._bell.leave(self._chime)


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
        in_thread(work)

    def aside(self, work: Callable[[], None]) -> None:
        in_thread(work)

    def close(self) -> None:
        self._bell.close()


class _Host:
    """Runs a hub in the thread that serves."""

    awaiting = None
    """There is no loop for coroutines."""

    def epoll(self) -> select.epoll:
        return select.epoll()

    def ring_at(self, at: float) -> None:
        """Nothing: each turn asks how long it may wait."""

    def aside(self, work: Callable[[], None]) -> None:
        in_thread(work)


def in_thread(work: Callable[[], None]) -> None:
    """Run this in a thread of its own.

    Raises:
        RuntimeError: the system has no room for more.
    """
    # Not `threading.Thread`: it costs some KiB, and waits for the other side.
    before = threading.stack_size(STACK)
    try:
        _thread.start_new_thread(work, ())
    finally:
        threading.stack_size(before)


class ThreadsRuntime:
    """`--runtime threads`."""

    name = "threads"

    def __init__(self, *, attended: bool = False) -> None:
        """`attended`: each client has a thread, also where nothing would block."""
        self._attended = attended

    def env(self) -> Env:
        """Many threads may feed machines: a lock guards what they share."""
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
        if self._attended or has_application(gateway):
            PolledServer(Threads(), gateway, listeners, logs, contexts).serve(ready)
            return
        server = Server(gateway, listeners, logs, contexts, _Host())
        server.start()
        ready(FromAnyThread(server))
        while not server.over:
            server.hub.turn(min(server.hub.patience(), LONGEST))
        server.end()
