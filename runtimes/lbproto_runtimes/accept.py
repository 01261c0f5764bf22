"""Accepting clients, on whatever watches sockets.

Our own rather than asyncio's `create_server` or a blocking `accept`, since those
cannot stop at a limit of connections, and spin when descriptors run out. A listener
that may not accept is not watched: new connections wait in the kernel's queue.

Long before descriptors run out, clients that have nothing to say make room for new
ones: a process takes the lowest number that is free, so a high number tells that few
are left, and whoever is accepted with one has an idle client closed.
"""

from __future__ import annotations

import errno
import resource
import socket
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Protocol

from lbproto.machine.effects import Level
from lbproto.machine.events import PeerInfo
from lbproto_runtimes.share import CALM, MOMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from lbproto.proxy.gateway import Gateway
    from lbproto.proxy.site import Site
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.moved import Moved

__all__ = ["Acceptors", "Watcher", "peer_info"]

BURST: Final = 16
"""Clients accepted in one turn. What several ask for in a turn is written at its end,
and a peer that several speak to is woken once; the others still get their turn."""

SCARCE: Final = 0.9
"""Part of the permitted descriptors that is used when clients begin to make room."""

SHED: Final = 16
"""Idle clients that are closed at a time. As many get low numbers after that, and those
with high ones have to come to their turn before the tenth that is left is used up."""

PAUSE: Final = 0.1
"""Seconds to wait after any other error, such as no descriptor left."""

GONE: Final = (
    errno.ECONNABORTED,
    errno.EPROTO,
    errno.ENETDOWN,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENOPROTOOPT,
    errno.EOPNOTSUPP,
)
"""Errors of one client, which accept(2) reports; the next one may be well."""


def peer_info(sock: socket.socket, listener: Listener) -> PeerInfo:
    """Tell who is at the other end of an accepted socket.

    Raises:
        OSError: the peer is gone already.
    """
    if sock.family == socket.AF_UNIX:
        return PeerInfo("unix:", 0, str(listener.target))
    host, port = sock.getpeername()[:2]
    return PeerInfo(host, port, _local(sock))


def _local(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _one_address(listener: Listener) -> str:
    """Say where all clients of a listener arrive; empty: some here, some there."""
    sock = listener.socket
    if sock.family == socket.AF_UNIX:
        return str(listener.target)
    host = sock.getsockname()[0]
    return "" if ip_address(host).is_unspecified else _local(sock)


def quick_accept(
    listener: socket.socket,
) -> Callable[[], tuple[socket.socket, Any]]:
    """Return a way to accept, the cheapest that there is.

    `socket.accept` asks three enumerations for what the listener's numbers mean, to
    make an object of Python's of what the system gives: more work than the system has
    with a new connection. What lies below has all that is done with a client's socket.
    It is named with an underscore, so where it is missing the other will do.
    """
    accept = getattr(listener, "_accept", None)
    if accept is None:
        return listener.accept
    family, kind, proto = int(listener.family), int(listener.type), listener.proto
    plain: Any = socket.SocketType

    def accept_plain() -> tuple[socket.socket, Any]:
        descriptor, address = accept()
        return plain(family, kind, proto, descriptor), address

    return accept_plain


class Watcher(Protocol):
    """What waits for sockets and for time."""

    def watch(self, sock: socket.socket, ready: Callable[[], None]) -> None:
        """Call `ready` when a client waits."""
        ...

    def ignore(self, sock: socket.socket) -> None:
        """Call nothing any more."""
        ...

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call after a while."""
        ...


class Acceptors:
    """All listening sockets of a server."""

    def __init__(
        self,
        gateway: Gateway,
        listeners: Sequence[Listener],
        accepted: Callable[[socket.socket, Listener, PeerInfo], None],
        logs: Logs,
        watcher: Watcher,
        shed: Callable[[int], None] = lambda most: None,
    ) -> None:
        """`accepted` gets each client; it may raise RuntimeError to refuse one.

        `shed` is called to close so many idle clients, since descriptors are scarce.
        """
        self._all = [
            Acceptor(
                one, gateway.sites[one.service.name], accepted, logs, watcher, shed
            )
            for one in listeners
        ]

    def watch(self) -> None:
        """Accept from now on, where there is room for a client."""
        for acceptor in self._all:
            acceptor.watch()

    def hold(self, keys: Collection[str]) -> None:
        """Accept nobody on these listeners for now."""
        for acceptor in self._all:
            if acceptor.listener.key in keys:
                acceptor.hold()

    def accept(self, keys: Collection[str]) -> None:
        """Accept on these listeners again."""
        for acceptor in self._all:
            if acceptor.listener.key in keys:
                acceptor.accept()

    def left(self) -> None:
        """A client is gone: there may be room for another."""
        for acceptor in self._all:
            acceptor.watch()

    def finish(self) -> None:
        """Take who waits already, then close the sockets."""
        for acceptor in self._all:
            acceptor.finish()

    def of(self, moved: Moved) -> tuple[Listener, PeerInfo] | None:
        """Tell where a moved client belongs, and who it is; None: nowhere here."""
        for acceptor in self._all:
            listener = acceptor.listener
            if listener.key == moved.key:
                if moved.peer.local:
                    return listener, moved.peer
                try:
                    local = peer_info(moved.sock, listener).local
                except OSError:  # it is gone
                    return None
                return listener, replace(moved.peer, local=local)
        return None


class Acceptor:
    """One listening socket."""

    def __init__(
        self,
        listener: Listener,
        site: Site,
        accepted: Callable[[socket.socket, Listener, PeerInfo], None],
        logs: Logs,
        watcher: Watcher,
        shed: Callable[[int], None],
    ) -> None:
        self.listener = listener
        self._held = listener.held
        self._share = listener.share
        self._service = listener.service.name
        self._socket = listener.socket
        self._accept = quick_accept(listener.socket)
        self._local = _one_address(listener)
        self._is_unix = self._socket.family == socket.AF_UNIX
        if not self._is_unix:
            # What is accepted inherits it.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._site = site
        self._accepted = accepted
        self._logs = logs
        self._watcher = watcher
        self._shed = shed
        self._scarce = SCARCE * resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._watching = False
        self._resting = False
        self._lead = 0  # clients more than others on average before those go first
        self._finished = False

    def watch(self) -> None:
        """Accept from now on, if the site has room for a client."""
        if self._share is not None:
            self._share.publish(self._service, self._site.connections)
        if self._finished or self._watching or self._resting or self._held:
            return
        if self._site.has_room:
            self._watching = True
            self._watcher.watch(self._socket, self._ready)

    def hold(self) -> None:
        """Leave clients to another process for now."""
        self._held = True
        self._pause()

    def accept(self) -> None:
        """Accept again, whoever held it."""
        self._held = False
        self.watch()

    def finish(self) -> None:
        """Take what is in the kernel's queue already, then close the socket.

        One that is held is another process's, and so is its queue.
        """
        if self._finished:
            return
        self._pause()
        self._finished = True
        while not self._held and self._accept_one():
            pass
        self._socket.close()

    def _pause(self) -> None:
        if self._watching:
            self._watching = False
            self._watcher.ignore(self._socket)

    def _rest(self, seconds: float, then: Callable[[], None]) -> None:
        """Leave clients where they are for a while."""
        self._pause()
        if not self._finished:
            self._resting = True
            self._watcher.later(seconds, then)

    def _rested(self) -> None:
        self._resting = False
        self.watch()

    def _ready(self) -> None:
        if self._share is not None and self._share.is_large(self._lead):
            self._rest(MOMENT, self._yielded)
        else:
            self._accept_some()

    def _yielded(self) -> None:
        """The others had their chance: take who is still there."""
        self._resting = False
        if not self._finished and not self._held and self._accept_some():
            if not self._lead:
                self._watcher.later(CALM, self._calmed)
            self._lead += 1
        self.watch()

    def _calmed(self) -> None:
        """It was a while ago that the others took nobody."""
        self._lead //= 2
        if self._lead and not self._finished:
            self._watcher.later(CALM, self._calmed)

    def _accept_some(self) -> int:
        """Take clients from the queue; return how many."""
        share = self._share
        for count in range(BURST):
            if not self._site.has_room:
                self._pause()
                return count
            if not self._accept_one():
                return count
            if share is not None and share.is_large(0):
                return count + 1
        return BURST

    def _accept_one(self) -> bool:
        """Take a client from the queue; tell whether there may be another."""
        try:
            sock, address = self._accept()
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if error.errno in GONE:
                return True
            self._logs.log(Level.ERROR, "cannot accept", {"detail": error.strerror})
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._shed(SHED)
            self._rest(PAUSE, self._rested)
            return False
        if 0 < self._scarce < sock.fileno():
            self._shed(SHED)
        if socket.getdefaulttimeout() is not None:
            sock.setblocking(True)  # no call on it waits
        try:
            peer = self._peer(sock, address)
        except OSError:
            sock.close()
            return True
        try:
            self._accepted(sock, self.listener, peer)
        except RuntimeError as error:  # no thread left
            sock.close()
            self._logs.log(Level.ERROR, "cannot accept", {"detail": str(error)})
            self._rest(PAUSE, self._rested)
            return False
        if self._share is not None:
            self._share.publish(self._service, self._site.connections)
        return True

    def _peer(self, sock: socket.socket, address: Any) -> PeerInfo:
        """Tell who was accepted; the system need be asked only where clients arrive.

        Raises:
            OSError: the peer is gone already.
        """
        if self._is_unix:
            return PeerInfo("unix:", 0, self._local)
        return PeerInfo(address[0], address[1], self._local or _local(sock))
