"""A server on an event loop: the `Wires` of its drivers.

A `Link` is a connection (an asyncio protocol) that turns callbacks into events for
its owner; the `Server` carries out effects on links, accepts clients, and stops
gracefully.

Notes on asyncio and uvloop:

* `pause_reading` inside `connection_made` is ignored by uvloop, so `Opened` and
  `Connected` are not fed from there. uvloop may read before the task that opened
  the connection goes on: whichever comes first announces the connection;
* an idle connection is read all the time, which is how its end is noticed; before
  one is used again it is polled once more, for what the loop has not seen yet;
* writes wait in the outbox for the end of the turn, so it is flushed before anything
  asks a transport what it still has to write, or ends it in good order.
"""

from __future__ import annotations

import asyncio
import math
import select
import socket
from typing import TYPE_CHECKING, Final

from lbproto.machine.errors import LbError
from lbproto.machine.events import (
    Connected,
    ConnectError,
    ConnectFailed,
    Drain,
    Opened,
)
from lbproto_runtimes.accept import Acceptors
from lbproto_runtimes.alarms import Alarms
from lbproto_runtimes.awaiting import Awaiting
from lbproto_runtimes.channel import reset_at_close
from lbproto_runtimes.contexts import Contexts
from lbproto_runtimes.dial import connect_error, connected_socket, describe
from lbproto_runtimes.link import Link
from lbproto_runtimes.logs import log_crash
from lbproto_runtimes.moved import Moved
from lbproto_runtimes.outbox import Outbox
from lbproto_runtimes.perform import Driver

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from lbproto.machine.effects import Await, StartTls, Target
    from lbproto.machine.events import PeerInfo
    from lbproto.machine.values import ConnId
    from lbproto.proxy.gateway import Gateway
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs

__all__ = ["Server"]


LAST_WORDS: Final = 5.0
"""Seconds in which applications may end what they do after the last response."""


class Server:
    """A gateway on an event loop; the `Wires` of its drivers."""

    def __init__(
        self,
        gateway: Gateway,
        listeners: Sequence[Listener],
        logs: Logs,
        contexts: Contexts | None = None,
    ) -> None:
        self.logs = logs
        self._gateway = gateway
        self._contexts = contexts or Contexts()
        self._loop = asyncio.get_running_loop()
        self.clock: Callable[[], float] = self._loop.time
        """The loop's seconds; not a method, since each event asks for them."""
        self.outbox = Outbox(self._loop)
        self._links: dict[ConnId, Link] = {}
        self._clients: dict[Link, Driver] = {}
        self._alarms = Alarms(self._loop)
        self._housekeeping = Driver(gateway.housekeeping, self)
        self._draining: Drain | None = None
        self._finished = asyncio.Event()
        self._stopped = False
        self._awaiting = Awaiting(self._loop)
        self._acceptors = Acceptors(gateway, listeners, self.accepted, logs, self)

    # -- life ----------------------------------------------------------------

    def start(self) -> None:
        """Begin to accept."""
        self._acceptors.watch()

    def drain(self, grace: float, timeout: float) -> None:
        """Stop accepting, let what is in flight end; `wait` returns after that."""
        if self._stopped:
            return
        self._draining = Drain(grace, timeout)
        self._acceptors.finish()
        for link, driver in list(self._clients.items()):
            if link.news is None:  # the others hear of it once they are open
                driver.feed(self._draining)
        self._check_finished()

    def stop(self) -> None:
        """Stop at once."""
        self._stopped = True
        self._draining = Drain(0.0, 0.0)
        self._acceptors.finish()
        # Before the idle connections are gone: it would close them by name.
        self._housekeeping.feed(Drain(0.0, 0.0))
        for link in list(self._links.values()):
            self._abort(link)
        for link in list(self._clients):
            self._abort(link)
        self._finished.set()

    async def wait(self) -> None:
        """Return when everything has ended."""
        await self._finished.wait()
        self._housekeeping.feed(Drain(0.0, 0.0))
        self._alarms.stop()
        await self._awaiting.end(0.0 if self._stopped else LAST_WORDS)
        # Closed transports take one more turn of the loop to go away.
        await asyncio.sleep(0)

    def _check_finished(self) -> None:
        if self._draining is not None and not self._clients:
            self._finished.set()

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
        self.outbox.flush()
        moved: list[Moved] = []
        for link in list(self._clients):
            peer = link.idle_peer(keys)
            transport, listener = link.transport, link.listener
            if len(moved) >= most or peer is None or transport is None:
                continue
            if transport.is_closing() or transport.get_write_buffer_size():
                continue
            assert listener is not None, "idle peers are clients"
            sock = transport.get_extra_info("socket").dup()
            proxied = listener.listen.proxy_protocol
            moved.append(Moved(listener.key, peer, proxied, sock))
            link.depart()
            self._let_go(link)
            # Only our copy of the descriptor: nothing of it reaches the client.
            transport.abort()
            self._left(link)
        found(moved, len(self._clients))

    def take(self, moved: Sequence[Moved]) -> None:
        """Serve clients that somebody gave up."""
        for one in moved:
            place = None if self._stopped else self._acceptors.of(one)
            if place is None:
                one.sock.close()
            else:
                one.sock.setblocking(False)
                self._admit(one.sock, *place, moved=True)

    # -- what acceptors ask for ----------------------------------------------

    def watch(self, sock: socket.socket, ready: Callable[[], None]) -> None:
        """Call `ready` when a client waits."""
        self._loop.add_reader(sock.fileno(), ready)

    def ignore(self, sock: socket.socket) -> None:
        """Call nothing any more."""
        self._loop.remove_reader(sock.fileno())

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call after a while."""
        self._loop.call_later(seconds, call)

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
        driver = Driver(machine, self)
        link = Link(self, conn, driver, Opened(conn, peer, moved))
        link.listener = listener
        link.site = self._gateway.sites[name]
        link.site.opened()
        self._links[conn] = link
        self._clients[link] = driver
        link.dialling = self._loop.create_task(self._open(link, sock, driver))

    async def _open(self, link: Link, sock: socket.socket, driver: Driver) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: link, sock)
        except BaseException as error:  # the client is gone already, or we stop
            sock.close()
            self.gone(link, describe(error))
            if not isinstance(error, OSError):
                raise
            return
        link.dialling = None
        link.announce()
        if self._draining is not None:
            # A request that waited in the kernel's queue is heard before that.
            for _ in range(2):
                await asyncio.sleep(0)
            driver.feed(self._draining)

    def gone(self, link: Link, detail: str) -> None:
        """A connection is gone, by its peer's doing or by ours."""
        self._links.pop(link.conn, None)
        if link.cut_off is not None:
            link.cut_off.cancel()
        link.lost(detail)
        if link.site is not None:
            self._left(link)

    def _left(self, link: Link) -> None:
        """A client is gone."""
        driver = self._clients.pop(link, None)
        if driver is not None and link.site is not None:
            link.site.closed()
            driver.armed_at = math.inf  # its alarm is dropped
        self._acceptors.watch()
        self._check_finished()

    # -- Wires ---------------------------------------------------------------

    def knows(self, conn: ConnId) -> bool:
        """Tell whether a connection is open, or being opened."""
        return conn in self._links

    def connect(
        self, conn: ConnId, target: Target, preface: bytes, owner: Driver
    ) -> None:
        """Start to dial; feed `owner` with the answer."""
        link = Link(self, conn, owner, Connected(conn))
        try:
            link.prepare(target, self._contexts)
        except LbError as error:
            owner.feed(ConnectFailed(conn, ConnectError.TLS, str(error)))
            return
        self._links[conn] = link
        link.dialling = self._loop.create_task(self._dial(link, target, preface))

    async def _dial(self, link: Link, target: Target, preface: bytes) -> None:
        try:
            if target.path:
                await self._loop.create_unix_connection(lambda: link, target.path)
            else:
                sock = await connected_socket(self._loop, target)
                await self._loop.create_connection(lambda: link, sock=sock)
        except (OSError, UnicodeError) as error:  # the latter: no host name at all
            self._dial_failed(link, connect_error(error), describe(error))
            return
        except Exception as error:  # nobody may wait for an answer in vain
            log_crash(self.logs, error)
            self._dial_failed(link, ConnectError.LOCAL, describe(error))
            return
        link.dialling = None
        link.greet(preface)

    def _dial_failed(self, link: Link, why: ConnectError, detail: str) -> None:
        owner, link.owner = link.owner, None
        self._links.pop(link.conn, None)
        if owner is not None:
            owner.feed(ConnectFailed(link.conn, why, detail))

    def start_tls(self, effect: StartTls) -> None:
        """Begin the server's side of a handshake."""
        context = self._contexts.server(effect.tls)
        self._links[effect.conn].start_tls(context, effect.early)

    def adopt(self, conn: ConnId, owner: Driver) -> bool:
        """Give an idle connection a new owner, unless it is dead; tell."""
        link = self._links.get(conn)
        if link is None or link.transport is None or link.transport.is_closing():
            return False
        if link.poll is None:
            link.poll = select.poll()
            link.poll.register(link.fd, select.POLLIN)
        if link.poll.poll(0):
            self._abort(link)
            return False
        link.owner = owner
        return True

    def park(self, conn: ConnId) -> None:
        """Give a connection to housekeeping."""
        self._links[conn].owner = self._housekeeping
        self._housekeeping.rearm()

    def send(self, conn: ConnId, data: bytes) -> None:
        """Queue bytes."""
        link = self._links[conn]
        if link.tls is None:
            link.write(data)
        else:
            link.send(data)

    def half_close(self, conn: ConnId) -> None:
        """Send FIN behind what is queued."""
        self._links[conn].half_close()

    def close(self, conn: ConnId, patience: float) -> None:
        """Flush for at most `patience` seconds, then close."""
        self._links[conn].close(patience)

    def shut(self, link: Link, patience: float) -> None:
        """Flush for at most `patience` seconds, then close; tell nobody."""
        self.outbox.flush()
        transport = self._let_go(link)
        if transport is None:
            return
        transport.close()
        if transport.get_write_buffer_size():
            link.cut_off = self._loop.call_later(patience, self._abort, link)

    def _let_go(self, link: Link) -> asyncio.Transport | None:
        """Forget a connection; return what is left to close.

        A connection that is not open yet has nothing: it is not opened any more.
        """
        self._links.pop(link.conn, None)
        if link.transport is None and link.dialling is not None:
            link.dialling.cancel()
        return link.transport

    def abort(self, conn: ConnId) -> None:
        """Drop what is queued and reset."""
        self._abort(self._links[conn])

    def _abort(self, link: Link) -> None:
        link.owner = None
        transport = self._let_go(link)
        if transport is None:
            return
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            reset_at_close(sock)
        transport.abort()

    def set_reading(self, conn: ConnId, on: bool) -> None:
        """Stop or resume reading."""
        transport = self._links[conn].transport
        if transport is None or transport.is_closing():
            return
        if on:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def arm(self, owner: Driver, at: float) -> None:
        """Call `owner.tick` at a time; replaces what was armed."""
        self._alarms.arm(owner, at)

    def await_result(self, effect: Await, owner: Driver) -> None:
        """Await what an application has returned."""
        self._awaiting.begin(effect, owner)

    def cancel(self, ticket: int, owner: Driver) -> None:
        """Cancel what is awaited, if it still is."""
        self._awaiting.cancel(ticket, owner)

    def crashed(self, owner: Driver, error: Exception) -> None:
        """A machine raised: log it, and reset its connections and no others."""
        log_crash(self.logs, error)
        for link in [link for link in self._links.values() if link.owner is owner]:
            self._abort(link)
