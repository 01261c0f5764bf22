"""Accepting clients on an event loop.

Our own loop rather than `create_server`, since that one cannot stop at a limit of
connections, and spins when descriptors run out. A listener that may not accept is
not watched: new connections wait in the kernel's queue.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Final

from lbproto.machine.effects import Level
from lbproto.machine.events import PeerInfo

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from lbproto.proxy.site import Site
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs

__all__ = ["Acceptor", "peer_info"]

BURST: Final = 64
"""Clients accepted in one turn of the loop, so that others get theirs."""

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
    ours, our_port = sock.getsockname()[:2]
    local = f"[{ours}]:{our_port}" if ":" in ours else f"{ours}:{our_port}"
    return PeerInfo(host, port, local)


class Acceptor:
    """One listening socket on a loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: Listener,
        site: Site,
        accepted: Callable[[socket.socket, Site, PeerInfo], None],
        logs: Logs,
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._socket = listener.socket
        self._site = site
        self._accepted = accepted
        self._logs = logs
        self._watching = False
        self._finished = False

    def watch(self) -> None:
        """Accept from now on, if the site has room for a client."""
        if not self._finished and not self._watching and self._site.has_room:
            self._watching = True
            self._loop.add_reader(self._socket.fileno(), self._ready)

    def finish(self) -> None:
        """Take what is in the kernel's queue already, then close the socket."""
        if self._finished:
            return
        self._pause()
        self._finished = True
        while self._accept_one():
            pass
        self._socket.close()

    def _pause(self) -> None:
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._socket.fileno())

    def _ready(self) -> None:
        for _ in range(BURST):
            if not self._site.has_room:
                self._pause()
                return
            if not self._accept_one():
                return

    def _accept_one(self) -> bool:
        """Take a client from the queue; tell whether there may be another."""
        try:
            sock, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if error.errno in GONE:
                return True
            self._logs.log(Level.ERROR, "cannot accept", {"detail": error.strerror})
            self._pause()
            if not self._finished:
                self._loop.call_later(PAUSE, self.watch)
            return False
        sock.setblocking(False)
        try:
            peer = peer_info(sock, self._listener)
        except OSError:
            sock.close()
            return True
        self._accepted(sock, self._site, peer)
        return True
