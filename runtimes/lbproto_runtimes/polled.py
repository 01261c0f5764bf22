"""A server over readiness: what the threads and the gevent runtime share.

The thread that calls `serve` accepts clients. Each client has an `Attendant` that
runs beside it, with the few sockets of that client in one poll: no lock around a
machine, one writer a socket, and its deadlines are the poll's timeout. The `Keeper`
holds the idle connections. What other threads ask of the server are errands, which
it runs itself; what it asks of those who attend (to drain, to stop, to give up idle
clients) is in its fields, at which they look when the platform rings.
"""

from __future__ import annotations

import math
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from lbproto.machine.effects import Level
from lbproto.machine.events import Drain, Opened
from lbproto_runtimes.accept import Acceptors
from lbproto_runtimes.attend import Attendant, Keeper
from lbproto_runtimes.collection import Collection
from lbproto_runtimes.contexts import Contexts
from lbproto_runtimes.logs import log_crash
from lbproto_runtimes.moved import is_idle
from lbproto_runtimes.polls import READ
from lbproto_runtimes.wire import Wire

if TYPE_CHECKING:
    import collections.abc
    import socket
    from collections.abc import Callable, Sequence

    from lbproto.machine.env import Machine
    from lbproto.machine.events import PeerInfo
    from lbproto.proxy.gateway import Gateway
    from lbproto.proxy.site import Site
    from lbproto_runtimes.api import Serving
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.moved import Moved
    from lbproto_runtimes.polls import Platform

__all__ = ["PolledServer"]


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
        self.draining: Drain | None = None
        """Clients are to end; the last word counts."""
        self.stopped = False
        self.collection: Collection | None = None
        """Idle clients are wanted; each attendant answers once."""
        self.over = False
        """No client is left, and none will come."""
        self._gateway = gateway
        self._poll = platform.shared_poll()
        self._lock = platform.lock()
        self._visits: dict[_Visit, None] = {}
        self._keeping = True
        self._errands: deque[Callable[[], None]] = deque()
        self._watched: dict[int, Callable[[], None]] = {}
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._acceptors = Acceptors(
            gateway, listeners, self.accepted, logs, self, self._shed
        )

    # -- life ----------------------------------------------------------------

    def serve(self, ready: Callable[[Serving], None]) -> None:
        """Accept clients until told to end, and return when all have ended.

        The platform is given back with that.
        """
        self.platform.start(self._keep)
        self._acceptors.watch()
        ready(self)
        while self.draining is None or self._visits:
            self._turn()
        self.over = True
        self.keeper.wake()
        while self._keeping:
            self._poll.wait(math.inf)
        self._poll.close()
        self.platform.close()

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
        while self._errands:
            self._errands.popleft()()
        self._acceptors.watch()  # a client may have left room

    def _keep(self) -> None:
        try:
            self.keeper.run()
        except Exception as error:
            self.crashed(error)
        self._keeping = False
        self._poll.wake()

    # -- what others ask for, from any thread --------------------------------

    def drain(self, grace: float, timeout: float) -> None:
        """Stop accepting, let what is in flight end."""
        self._ask(partial(self._drain, Drain(grace, timeout)))

    def stop(self) -> None:
        """Stop at once."""
        self._ask(self._stop)

    def hold(
        self, keys: collections.abc.Collection[str], held: Callable[[], object]
    ) -> None:
        """Accept nobody on these listeners for the moment."""

        def errand() -> None:
            self._acceptors.hold(keys)
            held()

        self._ask(errand)

    def accept(self, keys: collections.abc.Collection[str]) -> None:
        """Accept on these listeners again."""
        self._ask(partial(self._acceptors.accept, keys))

    def collect(
        self,
        keys: collections.abc.Collection[str],
        most: int,
        found: Callable[[Sequence[Moved], int], object],
    ) -> None:
        """Give up at most so many clients of these listeners that are idle."""
        self._ask(partial(self._collect, keys, most, found))

    def take(self, moved: Sequence[Moved]) -> None:
        """Serve clients that somebody gave up."""
        self._ask(partial(self._take, moved))

    def _ask(self, errand: Callable[[], None]) -> None:
        self._errands.append(errand)
        self._poll.wake()

    def _drain(self, drain: Drain) -> None:
        if not self.stopped:
            self.draining = drain
            self._acceptors.finish()
            self.platform.ring()

    def _stop(self) -> None:
        self._drain(Drain(0.0, 0.0))
        self.stopped = True
        self.platform.ring()

    def _collect(
        self,
        keys: collections.abc.Collection[str],
        most: int,
        found: Callable[[Sequence[Moved], int], object],
    ) -> None:
        with self._lock:
            asked: dict[object, None] = dict.fromkeys(self._visits)
            collection = Collection(keys, most, found, asked, self.platform.lock())
            self.collection = collection
        self.platform.ring()
        collection.finish()  # nobody may be there

    def _take(self, moved: Sequence[Moved]) -> None:
        for one in moved:
            place = None if self.stopped else self._acceptors.of(one)
            try:
                if place is None:
                    one.sock.close()
                else:
                    one.sock.setblocking(False)
                    self._admit(one.sock, *place, moved=True)
            except RuntimeError as error:  # no thread left
                one.sock.close()
                self.logs.log(Level.ERROR, "cannot serve", {"detail": str(error)})

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
        self._admit(sock, listener, peer, moved=False)

    def _admit(
        self, sock: socket.socket, listener: Listener, peer: PeerInfo, *, moved: bool
    ) -> None:
        visit = _Visit(self, self._gateway, listener, sock, peer, moved)
        visit.site.opened()
        with self._lock:
            visit.collection = self.collection  # it is not among those that are asked
            self._visits[visit] = None
        try:
            self.platform.start(visit)
        except RuntimeError:
            self.left(visit)
            raise

    def _shed(self, most: int) -> None:
        with self._lock:
            idle = [it for it in self._visits if is_idle(it.machine)]
            for visit in idle[:most]:  # its own thread will look again
                visit.surplus = True
        self.platform.ring()

    def left(self, visit: _Visit) -> None:
        """A client is gone."""
        was_full = not visit.site.has_room
        visit.site.closed()
        with self._lock:
            del self._visits[visit]
            last, collection = not self._visits, self.collection
        if collection is not None:
            collection.answer(visit, None, left=False)
        if was_full or (last and self.draining is not None):
            self._poll.wake()

    def crashed(self, error: Exception) -> None:
        """Something raised outside of any machine: log it."""
        log_crash(self.logs, error)


class _Visit:
    """One client, from the accepted socket to the last byte."""

    __slots__ = (
        "_gateway",
        "_listener",
        "_moved",
        "_peer",
        "_server",
        "_sock",
        "collection",
        "machine",
        "site",
        "surplus",
    )

    def __init__(
        self,
        server: PolledServer,
        gateway: Gateway,
        listener: Listener,
        sock: socket.socket,
        peer: PeerInfo,
        moved: bool,
    ) -> None:
        self.site: Site = gateway.sites[listener.service.name]
        self.collection: Collection | None = None
        """The last one that it has answered."""
        self.machine: Machine | None = None
        self.surplus = False
        """It is to end if it is idle, since descriptors are scarce."""
        self._server = server
        self._gateway = gateway
        self._listener = listener
        self._sock = sock
        self._peer = peer
        self._moved = moved

    def __call__(self) -> None:
        server, listener = self._server, self._listener
        poll = server.platform.poll()
        try:
            conn = self._gateway.mint()
            machine = self._gateway.connection(
                listener.service.name, conn, listener.listen
            )
            self.machine = machine
            attendant = Attendant(server, machine, poll)
            opened = Opened(conn, self._peer, self._moved)
            wire = Wire(attendant, conn, attendant.driver, opened)
            wire.listener, wire.site = listener, self.site
            attendant.begin(wire, self._sock)
            self._attend(attendant, wire)
        except Exception as error:  # a bug of ours must not spread
            server.crashed(error)
            self._sock.close()
        finally:
            poll.close()
            server.left(self)

    def _attend(self, attendant: Attendant, wire: Wire) -> None:
        server = self._server
        draining: Drain | None = None
        try:
            if server.draining is not None:
                # A request that waited in the kernel's queue is heard before that.
                attendant.deal_with(attendant.poll.wait(0.0))
            while attendant.busy() and not server.stopped:
                drain, collection = server.draining, server.collection
                if drain is not None and drain is not draining:
                    draining = drain
                    attendant.driver.feed(drain)
                elif collection is not None and collection is not self.collection:
                    self.collection = collection
                    give_up = partial(wire.give_up, collection.keys)
                    collection.ask(self, give_up)
                elif self.surplus:
                    self.surplus = False
                    if is_idle(self.machine) and not wire.is_dead():
                        attendant.driver.feed(Drain(0.0, 0.0))
                else:
                    attendant.turn()
        finally:
            attendant.abort_all()
