"""The gevent runtime: on gevent's loop, nothing monkey-patched.

Sockets are plain; only the waiting is gevent's. Machines never block, so one watcher of
the loop, for the epoll of our hub, serves all clients from a greenlet.

The phases of an application may wait for something, as greenlets do; where there is
one, each client has a greenlet. A poll has a watcher for each descriptor then. Watchers
fire only while the greenlet waits, since nothing else lets the loop run, and each is
level-triggered.
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import gevent
from gevent.hub import get_hub
from gevent.monkey import get_original
from greenlet import getcurrent, greenlet

from lbproto_runtimes.env import WallClockEnv
from lbproto_runtimes.polled import PolledServer
from lbproto_runtimes.polls import READ, WRITE
from lbproto_runtimes.server import FromAnyThread, Server, has_application

if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Sequence

    from lbproto.machine.env import Env
    from lbproto.proxy.gateway import Gateway
    from lbproto_runtimes.api import Serving
    from lbproto_runtimes.contexts import Contexts
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.polls import Lock

__all__ = ["GeventRuntime"]

EV_READ: Final = 1
EV_WRITE: Final = 2
"""What libev calls them."""


class GreenletPoll:
    """Waits for the sockets of one greenlet; the others may change and wake it."""

    __slots__ = (
        "_due",
        "_found",
        "_hub",
        "_platform",
        "_rung",
        "_waiting",
        "_watchers",
    )

    def __init__(self, platform: Greenlets) -> None:
        self._platform = platform
        self._hub: Any = get_hub()
        self._watchers: dict[int, Any] = {}
        self._found: dict[int, int] = {}
        self._waiting: greenlet | None = None
        self._due = False  # it will be switched to
        self._rung = False
        platform.polls[self] = None

    def watch(self, descriptor: int, mask: int) -> None:
        watcher = self._watchers.pop(descriptor, None)
        if watcher is not None:
            watcher.stop()
            watcher.close()
        self._found.pop(descriptor, None)
        if mask:
            wanted = (EV_READ if mask & READ else 0) | (EV_WRITE if mask & WRITE else 0)
            watcher = self._watchers[descriptor] = self._hub.loop.io(descriptor, wanted)
            watcher.start(self._fired, descriptor, pass_events=True)

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        if not self._found and not self._rung:
            timer = None
            if seconds < math.inf:
                timer = self._hub.loop.timer(seconds)
                timer.start(self._resume)
            self._waiting = getcurrent()
            try:
                self._hub.switch()
            finally:
                self._waiting = None
                if timer is not None:
                    timer.stop()
                    timer.close()
        self._rung = False
        found, self._found = self._found, {}
        return list(found.items())

    def wake(self) -> None:
        self._rung = True
        self._resume()

    def close(self) -> None:
        for descriptor in list(self._watchers):
            self.watch(descriptor, 0)
        del self._platform.polls[self]

    def _fired(self, events: int, descriptor: int) -> None:
        ready = (READ if events & EV_READ else 0) | (WRITE if events & EV_WRITE else 0)
        self._found[descriptor] = ready
        self._resume()

    def _resume(self) -> None:
        """Let the greenlet go on, after all that is ready now was found."""
        if self._waiting is not None and not self._due:
            self._due = True
            self._hub.loop.run_callback(self._switch)

    def _switch(self) -> None:
        self._due = False
        if self._waiting is not None:
            self._waiting.switch()


class SharedGreenletPoll(GreenletPoll):
    """A poll that threads of the system may wake too."""

    __slots__ = ("_async", "_closed", "_lock")

    def __init__(self, platform: Greenlets) -> None:
        super().__init__(platform)
        self._async = self._hub.loop.async_()
        self._async.start(super().wake)
        self._lock = threading.RLock()
        self._closed = False

    def wake(self) -> None:
        with self._lock:
            if not self._closed:
                self._async.send()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._async.stop()
            self._async.close()
        super().close()


class NoLock:
    """Greenlets switch only where they wait, and nobody waits with a lock."""

    __slots__ = ()

    def __enter__(self) -> NoLock:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def wait(self, timeout: float) -> bool:
        return False

    def notify_all(self) -> None:
        pass


class Greenlets:
    """The platform of greenlets, in one thread of the system."""

    def __init__(self) -> None:
        self.polls: dict[GreenletPoll, None] = {}

    def poll(self) -> GreenletPoll:
        return GreenletPoll(self)

    def shared_poll(self) -> SharedGreenletPoll:
        return SharedGreenletPoll(self)

    def ring(self) -> None:
        for poll in self.polls:
            GreenletPoll.wake(poll)

    def lock(self) -> Lock:
        return NoLock()

    def start(self, work: Callable[[], None]) -> None:
        gevent.spawn_raw(work)

    def aside(self, work: Callable[[], None]) -> None:
        get_hub().threadpool.spawn(work)

    def close(self) -> None:
        give_back_loop()


def give_back_loop() -> None:
    """Give back the loop of this thread, unless others of this process may use it."""
    if threading.current_thread() is not threading.main_thread():
        get_hub().destroy(destroy_loop=True)


class _Host:
    """Runs a hub on the loop of the thread that serves."""

    awaiting = None
    """There is no loop for coroutines."""

    def __init__(self) -> None:
        self._hub: Any = get_hub()
        self._due = False  # by time
        self._timer: Any = None
        self._waiting: greenlet | None = None
        self._watcher: Any = None

    def epoll(self) -> select.epoll:
        # A program that has patched itself has none in `select`.
        made: select.epoll = get_original("select", "epoll")()
        return made

    def ring_at(self, at: float) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None
        if at < math.inf:
            self._timer = self._hub.loop.timer(max(0.0, at - time.monotonic()))
            self._timer.start(self._rung)

    def _rung(self) -> None:
        self._due = True
        self._resume()

    def _resume(self) -> None:
        if self._waiting is not None:
            self._waiting.switch()

    def aside(self, work: Callable[[], None]) -> None:
        self._hub.threadpool.spawn(work)

    def run(self, server: Server) -> None:
        """Serve in this greenlet until everything has ended."""
        hub = server.hub
        self._watcher = self._hub.loop.io(hub.fileno(), EV_READ)
        self._watcher.start(self._resume)
        try:
            while not server.over:
                self._waiting = getcurrent()
                self._hub.switch()
                self._waiting = None
                if self._due:
                    self._due = False
                    hub.ring()
                hub.turn()
        finally:
            self._watcher.stop()
            self._watcher.close()
            self.ring_at(math.inf)


class GeventRuntime:
    """`--runtime gevent`."""

    name = "gevent"

    def __init__(self, *, attended: bool = False) -> None:
        """`attended`: each client has a greenlet, also where nothing would block."""
        self._attended = attended

    def env(self) -> Env:
        """One thread feeds all machines; the lock is for who tells of health."""
        return WallClockEnv()

    def serve(
        self,
        gateway: Gateway,
        listeners: Sequence[Listener],
        logs: Logs,
        ready: Callable[[Serving], None],
        contexts: Contexts | None = None,
    ) -> None:
        """Accept clients in this greenlet; see `Runtime`."""
        if self._attended or has_application(gateway):
            PolledServer(Greenlets(), gateway, listeners, logs, contexts).serve(ready)
            return
        host = _Host()
        server = Server(gateway, listeners, logs, contexts, host)
        server.start()
        ready(FromAnyThread(server))
        host.run(server)
        server.end()
        give_back_loop()
