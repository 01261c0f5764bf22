"""A server over readiness: what the threads and the gevent runtime share.

The thread that calls `serve` accepts clients. Each client has an `Attendant` that
runs beside it, with the few sockets of that client in one poll: no lock around a
machine, one writer a socket, and its deadlines are the poll's timeout. The `Keeper`
holds the idle connections. What is asked of all of them (drain, stop) is a phase
of the server, at which they look when the platform rings.
"""

from __future__ import annotations

import math
import time
from enum import IntEnum
from typing import TYPE_CHECKING

from lbproto.machine.events import Drain, Opened
from lbproto_runtimes.accept import Acceptor
from lbproto_runtimes.attend import Attendant, Keeper
from lbproto_runtimes.contexts import Contexts
from lbproto_runtimes.logs import log_crash
from lbproto_runtimes.polls import READ
from lbproto_runtimes.wire import Wire

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from lbproto.machine.events import PeerInfo
    from lbproto.proxy.gateway import Gateway
    from lbproto.proxy.site import Site
    from lbproto_runtimes.api import Serving
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.polls import Platform

__all__ = ["PolledServer"]


class Phase(IntEnum):
    """How far a server's life is."""

    SERVING = 0
    DRAINING = 1
    STOPPED = 2


class PolledServer:
    """A gateway on a platform."""

    def __init__(
        self,
        platform: Platform,
        gateway: Gateway,
        listeners: Sequence[Listener],
        logs: Logs,
        contexts: Contexts | None = None,
    ) -> None:
        self.platform = platform
        self.logs = logs
        self.contexts = contexts or Contexts()
        self.keeper = Keeper(self, gateway.housekeeping, platform.shared_poll())
        self.phase = Phase.SERVING
        self.draining = Drain(0.0, 0.0)
        self.over = False
        """No client is left, and none will come."""
        self._gateway = gateway
        self._poll = platform.shared_poll()
        self._lock = platform.lock()
        self._clients = 0
        self._keeping = True
        self._asked = Phase.SERVING
        self._watched: dict[int, Callable[[], None]] = {}
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._acceptors = [
            Acceptor(
                listener,
                gateway.sites[listener.service.name],
                self.accepted,
                logs,
                self,
            )
            for listener in listeners
        ]

    # -- life ----------------------------------------------------------------

    def serve(self, ready: Callable[[Serving], None]) -> None:
        """Accept clients until told to end, and return when all have ended.

        The platform is given back with that.
        """
        self.platform.start(self._keep)
        for acceptor in self._acceptors:
            acceptor.watch()
        ready(self)
        while self.phase is Phase.SERVING or self._clients:
            self._turn()
        self.over = True
        self.keeper.wake()
        while self._keeping:
            self._poll.wait(math.inf)
        self._poll.close()
        self.platform.close()

    def drain(self, grace: float, timeout: float) -> None:
        """Stop accepting, let what is in flight end; from any thread."""
        if self._asked is Phase.SERVING:
            self.draining = Drain(grace, timeout)
            self._asked = Phase.DRAINING
            self._poll.wake()

    def stop(self) -> None:
        """Stop at once; from any thread."""
        self._asked = Phase.STOPPED
        self._poll.wake()

    def _turn(self) -> None:
        until = min((at for at, _ in self._later), default=math.inf)
        found = self._poll.wait(max(0.0, until - time.monotonic()))
        for descriptor, _ in found:
            act = self._watched.get(descriptor)
            if act is not None:
                act()
        now = time.monotonic()
        due = [call for at, call in self._later if at <= now]
        self._later = [(at, call) for at, call in self._later if at > now]
        for call in due:
            call()
        if self._asked is not self.phase:
            self._advance()
        for acceptor in self._acceptors:
            acceptor.watch()  # a client may have left room

    def _advance(self) -> None:
        """Enter the phase that was asked for."""
        first = self.phase is Phase.SERVING
        self.phase = self._asked
        self.platform.ring()
        if first:
            for acceptor in self._acceptors:
                acceptor.finish()

    def _keep(self) -> None:
        try:
            self.keeper.run()
        except Exception as error:
            self.crashed(error)
        self._keeping = False
        self._poll.wake()

    # -- what acceptors ask for ----------------------------------------------

    def watch(self, sock: socket.socket, ready: Callable[[], None]) -> None:
        """Call `ready` when a client waits."""
        self._watched[sock.fileno()] = ready
        self._poll.watch(sock.fileno(), READ)

    def ignore(self, sock: socket.socket) -> None:
        """Call nothing any more."""
        self._poll.watch(sock.fileno(), 0)
        del self._watched[sock.fileno()]

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call after a while."""
        self._later.append((time.monotonic() + seconds, call))

    # -- clients -------------------------------------------------------------

    def accepted(self, sock: socket.socket, listener: Listener, peer: PeerInfo) -> None:
        """Take a client's socket.

        Raises:
            RuntimeError: there is no thread for it.
        """
        site = self._gateway.sites[listener.service.name]
        site.opened()
        with self._lock:
            self._clients += 1
        try:
            self.platform.start(_Visit(self, self._gateway, listener, sock, peer))
        except RuntimeError:
            self.left(site)
            raise

    def left(self, site: Site) -> None:
        """A client is gone."""
        was_full = not site.has_room
        site.closed()
        with self._lock:
            self._clients -= 1
            last = not self._clients
        if was_full or (last and self.phase is not Phase.SERVING):
            self._poll.wake()

    def crashed(self, error: Exception) -> None:
        """Something raised outside of any machine: log it."""
        log_crash(self.logs, error)


class _Visit:
    """One client, from the accepted socket to the last byte."""

    __slots__ = ("_gateway", "_listener", "_peer", "_server", "_sock")

    def __init__(
        self,
        server: PolledServer,
        gateway: Gateway,
        listener: Listener,
        sock: socket.socket,
        peer: PeerInfo,
    ) -> None:
        self._server = server
        self._gateway = gateway
        self._listener = listener
        self._sock = sock
        self._peer = peer

    def __call__(self) -> None:
        server, name = self._server, self._listener.service.name
        site = self._gateway.sites[name]
        poll = server.platform.poll()
        try:
            conn = self._gateway.mint()
            machine = self._gateway.connection(name, conn, self._listener.listen)
            attendant = Attendant(server, machine, poll)
            wire = Wire(attendant, conn, attendant.driver, Opened(conn, self._peer))
            wire.site = site
            attendant.take(wire, self._sock)
            self._attend(attendant)
        except Exception as error:  # a bug of ours must not spread
            server.crashed(error)
            self._sock.close()
        finally:
            poll.close()
            server.left(site)

    def _attend(self, attendant: Attendant) -> None:
        server, phase = self._server, Phase.SERVING
        try:
            if server.phase is not phase:
                # A request that waited in the kernel's queue is heard before that.
                attendant.deal_with(attendant.poll.wait(0.0))
            while attendant.busy():
                if server.phase is not phase:
                    phase = server.phase
                    if phase is Phase.STOPPED:
                        return
                    attendant.driver.feed(server.draining)
                    continue
                attendant.turn()
        finally:
            attendant.abort_all()
