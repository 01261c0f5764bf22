"""A runtime of one's own: all connections in one loop over `selectors`.

The core decides everything, so a runtime only moves bytes and time, and the parts
for that are there to be used: an `Attendant` polls sockets and carries out effects,
an `Acceptor` takes clients. What is left is to wait, and to say who owns what. It
passes the contract of runtimes:

    PYTHONPATH=examples python -m lbproto_runtimes.contract \
        selectors_runtime:SelectorsRuntime
"""

from __future__ import annotations

import heapq
import itertools
import math
import os
import selectors
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from functools import partial
from socket import socket
from typing import Any

from lbproto import ConnId, Drain, Env, Gateway, Opened, PeerInfo
from lbproto.machine.effects import Await
from lbproto_runtimes.accept import Acceptors
from lbproto_runtimes.api import Serving
from lbproto_runtimes.attend import Attendant
from lbproto_runtimes.awaiting import refuse
from lbproto_runtimes.contexts import Contexts
from lbproto_runtimes.env import WallClockEnv
from lbproto_runtimes.listen import Listener
from lbproto_runtimes.logs import Logs
from lbproto_runtimes.moved import Moved
from lbproto_runtimes.perform import Driver
from lbproto_runtimes.polls import READ, WRITE
from lbproto_runtimes.wire import Wire

Found = Callable[[Sequence[Moved], int], object]


class SelectorsPoll:
    """Waits for sockets, and for a pipe that wakes it."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.lock = threading.Lock()
        self.woken, self.waker = os.pipe()
        self.watch(self.woken, READ)

    def watch(self, descriptor: int, mask: int) -> None:
        if descriptor in self.selector.get_map():
            self.selector.unregister(descriptor)
        if mask:  # EVENT_READ is 1, EVENT_WRITE 2
            self.selector.register(
                descriptor, bool(mask & READ) + 2 * bool(mask & WRITE)
            )

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        found = [
            (key.fd, (READ if mask & 1 else 0) | (WRITE if mask & 2 else 0))
            for key, mask in self.selector.select(min(seconds, 3600.0))
        ]
        if (self.woken, READ) in found:
            found.remove((self.woken, READ))
            os.read(self.woken, 64)
        return found

    def wake(self) -> None:
        with self.lock:  # closed, its number may be another's
            if self.waker >= 0:
                os.write(self.waker, b"!")

    def close(self) -> None:
        with self.lock:
            self.selector.close()
            os.close(self.woken)
            os.close(self.waker)
            self.waker = -1


class OneLoop(Attendant):
    """Attends to all machines: `Housekeeping`, and each client's."""

    def __init__(
        self, gateway: Gateway, listeners: Sequence[Listener], logs: Logs, tls: Contexts
    ) -> None:
        # `Attendant` looks for these; idle connections stay here, too.
        self.logs, self.platform, self.contexts, self.keeper = logs, self, tls, self
        self.alarms: list[tuple[float, int, Any]] = []
        self.numbers = itertools.count()
        self.ready: dict[int, Callable[[], None]] = {}
        self.clients: dict[Wire, Driver] = {}
        self.gateway, self.draining, self.stopping = gateway, False, False
        self.errands: deque[Callable[[], object]] = deque()  # of other threads
        super().__init__(self, gateway.housekeeping, SelectorsPoll())
        self.acceptors = Acceptors(gateway, listeners, self.accepted, logs, self)

    def serve(self, ready: Callable[[Serving], None]) -> None:
        ready(self)
        while self.clients or not self.draining:
            self.acceptors.watch()
            self.turn()
            while self.errands:
                self.errands.popleft()()
            if self.stopping:
                for wire in [*self.clients, *self._wires.values()]:
                    wire.abort()
        self.driver.feed(Drain(0.0, 0.0))
        self.abort_all()
        self.poll.close()

    def _drain(self, drain: Drain) -> None:
        self.draining = True
        self.acceptors.finish()
        self.deal_with(self.poll.wait(0.0))  # requests that came are heard first
        for driver in list(self.clients.values()):
            driver.feed(drain)

    def _collect(self, keys: Collection[str], most: int, found: Found) -> None:
        moved = [wire.give_up(keys) for wire in list(self.clients)[:most]]
        found([one for one in moved if one is not None], len(self.clients))

    def _take(self, moved: Sequence[Moved]) -> None:
        for one in moved:
            place = self.acceptors.of(one)
            if place is None:
                one.sock.close()
            else:
                self.accepted(one.sock, *place, moved=True)

    # What other threads ask for.

    def ask(self, do: Callable[..., object], *about: object) -> None:
        self.errands.append(partial(do, *about))
        self.poll.wake()

    def drain(self, grace: float, timeout: float) -> None:
        self.ask(self._drain, Drain(grace, timeout))

    def stop(self) -> None:
        self.stopping = True
        self.drain(0.0, 0.0)

    def hold(self, keys: Collection[str], held: Callable[[], object]) -> None:
        self.ask(self.acceptors.hold, keys)
        self.ask(held)

    def accept(self, keys: Collection[str]) -> None:
        self.ask(self.acceptors.accept, keys)

    def collect(self, keys: Collection[str], most: int, found: Found) -> None:
        self.ask(self._collect, keys, most, found)

    def take(self, moved: Sequence[Moved]) -> None:
        self.ask(self._take, moved)

    # Clients.

    def accepted(
        self, sock: socket, listener: Listener, peer: PeerInfo, moved: bool = False
    ) -> None:
        name, conn = listener.service.name, self.gateway.mint()
        driver = Driver(self.gateway.connection(name, conn, listener.listen), self)
        wire = Wire(self, conn, driver, Opened(conn, peer, moved))
        wire.listener, wire.site = listener, self.gateway.sites[name]
        wire.site.opened()
        self.clients[wire] = driver
        self.begin(wire, sock)

    def forget(self, wire: Wire) -> None:
        super().forget(wire)
        if self.clients.pop(wire, None) is not None:
            wire.site.closed()

    # Time: the drivers' deadlines, and what an acceptor wants to be called for.

    def arm(self, owner: Driver, at: float) -> None:
        self.later(at - self.clock(), owner)

    def later(self, seconds: float, call: Any) -> None:
        at = self.clock() + seconds
        heapq.heappush(self.alarms, (at, next(self.numbers), call))
        self._armed_at = min(self._armed_at, at)

    def wake_up(self) -> None:
        while self.alarms and self.alarms[0][0] <= self.clock():
            _, _, call = heapq.heappop(self.alarms)
            call.tick() if isinstance(call, Driver) else call()
        self._armed_at = self.alarms[0][0] if self.alarms else math.inf

    # Sockets: the listening ones beside those of connections.

    def watch(self, sock: socket, ready: Callable[[], None]) -> None:
        self.ready[sock.fileno()] = ready
        self.poll.watch(sock.fileno(), READ)

    def ignore(self, sock: socket) -> None:
        self.poll.watch(sock.fileno(), 0)
        del self.ready[sock.fileno()]

    def deal_with(self, found: list[tuple[int, int]]) -> None:
        super().deal_with(found)
        for descriptor, _ in found:
            if descriptor in self.ready:
                self.ready[descriptor]()

    # Who owns what.

    def take_in(self, wire: Wire) -> None:
        wire.owner = self.driver
        self.driver.rearm()

    def give_out(self, conn: ConnId, attendant: Attendant) -> Wire | None:
        wire = self._wires.get(conn)
        if wire is not None and wire.is_dead():
            wire.abort()
        return wire if wire is not None and wire.sock is not None else None

    def await_result(self, effect: Await, owner: Driver) -> None:
        refuse(effect, owner)  # there is no loop that could run a coroutine

    def cancel(self, ticket: int, owner: Driver) -> None:
        pass

    def crashed(self, owner: Driver, error: Exception) -> None:
        self.logs.log(40, "internal error", {"detail": str(error)})
        for wire in [it for it in self._wires.values() if it.owner is owner]:
            wire.abort()

    def aside(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True).start()


class SelectorsRuntime:
    name = "selectors"

    def env(self) -> Env:
        return WallClockEnv()

    def serve(
        self,
        gateway: Gateway,
        listeners: Sequence[Listener],
        logs: Logs,
        ready: Callable[[Serving], None],
        contexts: Contexts | None = None,
    ) -> None:
        OneLoop(gateway, listeners, logs, contexts or Contexts()).serve(ready)
