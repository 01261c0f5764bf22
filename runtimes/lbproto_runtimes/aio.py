"""The asyncio runtime; uvloop is the same with another event loop.

A `Link` is a connection (an asyncio protocol) that turns callbacks into events
for its owner. A `Server` carries out effects on links, accepts clients, and stops
gracefully. To serve inside a program's own loop:

    await lbproto_runtimes.aio.serve(gateway, listeners, logs)

Notes on asyncio and uvloop:

* `pause_reading` inside `connection_made` is ignored by uvloop, so `Opened` and
  `Connected` are not fed from there. uvloop may read before the task that opened
  the connection goes on: whichever comes first announces the connection;
* an idle connection is read all the time, which is how its end is noticed; before
  one is used again it is polled once more, for what the loop has not seen yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import signal
import socket
import struct
import traceback
from typing import TYPE_CHECKING, Final

from lbproto.machine.effects import Level
from lbproto.machine.events import (
    Connected,
    ConnectFailed,
    Drain,
    Lost,
    Opened,
)
from lbproto_runtimes.accept import Acceptor
from lbproto_runtimes.dial import connect_error, connected_socket, describe
from lbproto_runtimes.link import Link
from lbproto_runtimes.perform import Driver
from lbproto_runtimes.signals import Signals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lbproto.machine.effects import Target
    from lbproto.machine.events import PeerInfo
    from lbproto.machine.values import ConnId
    from lbproto.proxy.gateway import Gateway
    from lbproto.proxy.site import Site
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs

__all__ = ["AsyncioRuntime", "Server", "UvloopRuntime", "serve"]

RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


class Server:
    """A gateway on an event loop; the `Wires` of its drivers."""

    def __init__(
        self, gateway: Gateway, listeners: Sequence[Listener], logs: Logs
    ) -> None:
        self.logs = logs
        self._gateway = gateway
        self._loop = asyncio.get_running_loop()
        self._links: dict[ConnId, Link] = {}
        self._clients: dict[Link, Driver] = {}
        self._timers: dict[Driver, asyncio.TimerHandle] = {}
        self._housekeeping = Driver(gateway.housekeeping, self)
        self._draining: Drain | None = None
        self._finished = asyncio.Event()
        self._acceptors = [
            Acceptor(
                self._loop,
                listener,
                gateway.sites[listener.service.name],
                self.accepted,
                logs,
            )
            for listener in listeners
        ]

    # -- life ----------------------------------------------------------------

    def start(self) -> None:
        """Begin to accept."""
        for acceptor in self._acceptors:
            acceptor.watch()

    def drain(self, grace: float, timeout: float) -> None:
        """Stop accepting, let what is in flight end; `wait` returns after that."""
        if self._draining is not None:
            return
        self._draining = Drain(grace, timeout)
        for acceptor in self._acceptors:
            acceptor.finish()
        for link, driver in list(self._clients.items()):
            if link.news is None:  # the others hear of it once they are open
                driver.feed(self._draining)
        self._check_finished()

    def stop(self) -> None:
        """Stop at once."""
        self._draining = Drain(0.0, 0.0)
        for acceptor in self._acceptors:
            acceptor.finish()
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
        for handle in self._timers.values():
            handle.cancel()
        # Closed transports take one more turn of the loop to go away.
        await asyncio.sleep(0)

    def _check_finished(self) -> None:
        if self._draining is not None and not self._clients:
            self._finished.set()

    # -- connections come and go ---------------------------------------------

    def accepted(self, sock: socket.socket, site: Site, peer: PeerInfo) -> None:
        """Take a client's socket."""
        conn = self._gateway.mint()
        driver = Driver(self._gateway.connection(site.service.name, conn), self)
        link = Link(self, conn, driver, Opened(conn, peer))
        link.site = site
        site.opened()
        self._links[conn] = link
        self._clients[link] = driver
        link.dialling = self._loop.create_task(self._open(link, sock, driver))

    async def _open(self, link: Link, sock: socket.socket, driver: Driver) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: link, sock)
        except BaseException as error:  # the client is gone already, or we stop
            sock.close()
            self.lost(link, describe(error))
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

    def lost(self, link: Link, detail: str) -> None:
        """A connection is gone, by its peer's doing or by ours."""
        owner, link.owner = link.owner, None
        self._links.pop(link.conn, None)
        if link.cut_off is not None:
            link.cut_off.cancel()
        if owner is not None:
            owner.feed(Lost(link.conn, detail))
        if link.site is not None:
            driver = self._clients.pop(link, None)
            if driver is not None:
                link.site.closed()
                self._disarm(driver)
            for acceptor in self._acceptors:
                acceptor.watch()
            self._check_finished()

    # -- Wires ---------------------------------------------------------------

    def clock(self) -> float:
        """Return the loop's time."""
        return self._loop.time()

    def knows(self, conn: ConnId) -> bool:
        """Tell whether a connection is open, or being opened."""
        return conn in self._links

    def connect(self, conn: ConnId, target: Target, owner: Driver) -> None:
        """Start to dial; feed `owner` with the answer."""
        link = self._links[conn] = Link(self, conn, owner, Connected(conn))
        link.dialling = self._loop.create_task(self._dial(link, target))

    async def _dial(self, link: Link, target: Target) -> None:
        try:
            if target.path:
                await self._loop.create_unix_connection(lambda: link, target.path)
            else:
                sock = await connected_socket(self._loop, target)
                await self._loop.create_connection(lambda: link, sock=sock)
        except (OSError, UnicodeError) as error:  # the latter: no host name at all
            owner, link.owner = link.owner, None
            self._links.pop(link.conn, None)
            if owner is not None:
                why = connect_error(error)
                owner.feed(ConnectFailed(link.conn, why, describe(error)))
            return
        link.dialling = None
        link.announce()

    def adopt(self, conn: ConnId, owner: Driver) -> bool:
        """Give an idle connection a new owner, unless it is dead; tell."""
        link = self._links.get(conn)
        if link is None or link.transport is None or link.transport.is_closing():
            return False
        sock = link.transport.get_extra_info("socket")
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN)
        if poll.poll(0):
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
        transport = self._links[conn].transport
        if transport is not None and not transport.is_closing():
            transport.write(data)

    def half_close(self, conn: ConnId) -> None:
        """Send FIN behind what is queued."""
        transport = self._links[conn].transport
        if transport is not None and not transport.is_closing():
            transport.write_eof()

    def close(self, conn: ConnId, patience: float) -> None:
        """Flush for at most `patience` seconds, then close."""
        link = self._links[conn]
        transport = self._let_go(link)
        if transport is None:
            return
        transport.close()
        if transport.get_write_buffer_size():
            link.cut_off = self._loop.call_later(patience, self._abort, link)

    def _let_go(self, link: Link) -> asyncio.Transport | None:
        """Tell its owner nothing more; return what is left to close.

        A connection that is not open yet has nothing: it is not opened any more.
        """
        link.owner = None
        self._links.pop(link.conn, None)
        if link.transport is None and link.dialling is not None:
            link.dialling.cancel()
        return link.transport

    def abort(self, conn: ConnId) -> None:
        """Drop what is queued and reset."""
        self._abort(self._links[conn])

    def _abort(self, link: Link) -> None:
        transport = self._let_go(link)
        if transport is None:
            return
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            with contextlib.suppress(OSError):  # the peer's reset was first
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
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
        self._disarm(owner)
        self._timers[owner] = self._loop.call_at(at, self._tick, owner)

    def _tick(self, owner: Driver) -> None:
        self._timers.pop(owner, None)
        owner.tick()

    def _disarm(self, owner: Driver) -> None:
        handle = self._timers.pop(owner, None)
        if handle is not None:
            handle.cancel()

    def crashed(self, owner: Driver, error: Exception) -> None:
        """A machine raised: log it, and reset its connections and no others."""
        lines = "".join(traceback.format_exception(error))
        self.logs.log(Level.ERROR, "internal error", {"traceback": lines})
        for link in [link for link in self._links.values() if link.owner is owner]:
            self._abort(link)


async def serve(
    gateway: Gateway,
    listeners: Sequence[Listener],
    logs: Logs,
    ready: Callable[[Server], None] | None = None,
) -> None:
    """Serve on the running loop until `drain` or `stop` is called on the server.

    `ready` gets the server once it accepts. Cancelling stops at once.
    """
    server = Server(gateway, listeners, logs)
    server.start()
    if ready is not None:
        ready(server)
    try:
        await server.wait()
    except asyncio.CancelledError:
        server.stop()
        raise


class AsyncioRuntime:
    """`--runtime asyncio`."""

    name = "asyncio"

    def run(self, gateway: Gateway, listeners: Sequence[Listener], logs: Logs) -> int:
        """Serve until SIGTERM (graceful) or SIGINT (at once) ends it; return 0."""
        with asyncio.Runner(loop_factory=self._new_loop()) as runner:
            runner.run(self._main(gateway, listeners, logs))
        return 0

    def _new_loop(self) -> Callable[[], asyncio.AbstractEventLoop]:
        return asyncio.new_event_loop

    async def _main(
        self, gateway: Gateway, listeners: Sequence[Listener], logs: Logs
    ) -> None:
        loop = asyncio.get_running_loop()

        def ready(server: Server) -> None:
            signals = Signals(server, gateway, logs)
            loop.add_signal_handler(signal.SIGTERM, signals.terminate)
            loop.add_signal_handler(signal.SIGINT, signals.interrupt)
            loop.add_signal_handler(signal.SIGUSR1, logs.reopen)
            loop.add_signal_handler(signal.SIGHUP, signals.refuse, "reload")
            loop.add_signal_handler(signal.SIGQUIT, signals.refuse, "upgrade")

        await serve(gateway, listeners, logs, ready)


class UvloopRuntime(AsyncioRuntime):
    """`--runtime uvloop`: asyncio's protocol on libuv's loop."""

    name = "uvloop"

    def _new_loop(self) -> Callable[[], asyncio.AbstractEventLoop]:
        import uvloop

        return uvloop.new_event_loop
