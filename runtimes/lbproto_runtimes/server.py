"""A server over a hub: clients come, go, and move to other processes.

The hub moves bytes; here is who is accepted, how it all ends, and what an upgrade
asks for. Everything is called in the hub's thread; `FromAnyThread` is for the others.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from lbproto.machine.events import Drain, Opened
from lbproto_runtimes.accept import Acceptors
from lbproto_runtimes.contexts import Contexts
from lbproto_runtimes.hub import Hub
from lbproto_runtimes.moved import is_idle
from lbproto_runtimes.perform import HubDriver
from lbproto_runtimes.wire import Wire

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection, Sequence

    from lbproto.machine.events import PeerInfo
    from lbproto.proxy.gateway import Gateway
    from lbproto_runtimes.hub import Host
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.moved import Moved
    from lbproto_runtimes.perform import Driver

__all__ = ["FromAnyThread", "Server", "has_application"]


def has_application(gateway: Gateway) -> bool:
    """Tell whether machines of this gateway call somebody's phases, which may block."""
    return any(site.application is not None for site in gateway.sites.values())


class Server:
    """A gateway on a hub."""

    def __init__(
        self,
        gateway: Gateway,
        listeners: Sequence[Listener],
        logs: Logs,
        contexts: Contexts | None,
        host: Host,
    ) -> None:
        self.hub = Hub(gateway.housekeeping, logs, contexts or Contexts(), host)
        self.hub.forgotten = self._forgotten
        self.finished: Callable[[], None] = lambda: None
        """Called when everything has ended."""
        self.over = False
        """Everything has ended."""
        self.stopped = False
        """It was told to stop at once."""
        self._gateway = gateway
        self._clients: dict[Wire, Driver] = {}
        self._draining: Drain | None = None
        self._acceptors = Acceptors(
            gateway, listeners, self.accepted, logs, self.hub, self._shed
        )

    # -- life ----------------------------------------------------------------

    def start(self) -> None:
        """Begin to accept."""
        self._acceptors.watch()

    def drain(self, grace: float, timeout: float) -> None:
        """Stop accepting, let what is in flight end; seconds, as in `Drain`."""
        if self.stopped:
            return
        drain = self._draining = Drain(grace, timeout)
        self._acceptors.finish()
        # A request that waited in the kernel's queue is heard before that.
        self.hub.look()
        for driver in list(self._clients.values()):
            driver.feed(drain)
        self._check_finished()

    def stop(self) -> None:
        """Stop at once."""
        self.stopped = True
        self._draining = Drain(0.0, 0.0)
        self._acceptors.finish()
        for wire in list(self._clients):
            wire.abort()
        self._check_finished()

    def _check_finished(self) -> None:
        if self._draining is not None and not self._clients and not self.over:
            self.over = True
            self.finished()

    def end(self) -> None:
        """Close what is left: idle connections to backends."""
        self.hub.end()

    # -- clients go to another process, or come from one -----------------------

    def hold(self, keys: Collection[str], held: Callable[[], object]) -> None:
        """Accept nobody on these listeners for the moment."""
        self._acceptors.hold(keys)
        held()

    def accept(self, keys: Collection[str]) -> None:
        """Accept on these listeners again."""
        if self._draining is None:
            self._acceptors.accept(keys)

    def collect(
        self,
        keys: Collection[str],
        most: int,
        found: Callable[[Sequence[Moved], int], object],
    ) -> None:
        """Give up at most so many clients of these listeners that are idle."""
        moved: list[Moved] = []
        for wire in list(self._clients):
            if len(moved) < most and (one := wire.give_up(keys)) is not None:
                moved.append(one)
        found(moved, len(self._clients))

    def take(self, moved: Sequence[Moved]) -> None:
        """Serve clients that somebody gave up."""
        for one in moved:
            place = None if self.stopped else self._acceptors.of(one)
            if place is None:
                one.sock.close()
            else:
                self._admit(one.sock, *place, moved=True)

    # -- connections come and go ---------------------------------------------

    def accepted(self, sock: socket.socket, listener: Listener, peer: PeerInfo) -> None:
        """Take a client's socket."""
        self._admit(sock, listener, peer, moved=False)

    def _admit(
        self, sock: socket.socket, listener: Listener, peer: PeerInfo, *, moved: bool
    ) -> None:
        name = listener.service.name
        conn = self._gateway.mint()
        machine = self._gateway.connection(name, conn, listener.listen)
        driver = HubDriver(machine, self.hub)
        wire = Wire(self.hub, conn, driver, Opened(conn, peer, moved))
        wire.listener = listener
        wire.site = self._gateway.sites[name]
        wire.site.opened()
        self._clients[wire] = driver
        self.hub.begin(wire, sock)
        if moved and self._draining is not None:
            self.hub.look()
            driver.feed(self._draining)

    def _shed(self, most: int) -> None:
        """Close some idle clients that have said nothing, the oldest first."""
        found: list[Driver] = []
        for wire, driver in self._clients.items():
            if is_idle(driver.machine) and not wire.is_dead():
                found.append(driver)
                if len(found) == most:
                    break
        for driver in found:
            driver.feed(Drain(0.0, 0.0))

    def _forgotten(self, wire: Wire) -> None:
        if wire.site is None:
            return
        driver = self._clients.pop(wire, None)
        if driver is not None:
            driver.armed_at = math.inf  # its alarm is dropped
            wire.site.closed()
            self._acceptors.left()
            self._check_finished()


class FromAnyThread:
    """A server, for threads beside its own; a `Serving`."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def _ask(self, do: Callable[..., None], *args: object) -> None:
        self._server.hub.ask(partial(do, *args))

    def drain(self, grace: float, timeout: float) -> None:
        self._ask(self._server.drain, grace, timeout)

    def stop(self) -> None:
        self._ask(self._server.stop)

    def hold(self, keys: Collection[str], held: Callable[[], object]) -> None:
        self._ask(self._server.hold, keys, held)

    def accept(self, keys: Collection[str]) -> None:
        self._ask(self._server.accept, keys)

    def collect(
        self,
        keys: Collection[str],
        most: int,
        found: Callable[[Sequence[Moved], int], object],
    ) -> None:
        self._ask(self._server.collect, keys, most, found)

    def take(self, moved: Sequence[Moved]) -> None:
        self._ask(self._server.take, moved)
