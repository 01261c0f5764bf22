"""Listening sockets: bound before anything is served, all of them or none.

A Unix-domain socket leaves its file behind when a process dies, and binding to it
fails then. Such a file is replaced only if it is a socket and nobody accepts
connections there any more; anything else at that path is somebody's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from lbproto.config import Listen, Service
from lbproto.handover.keys import ListenerKey
from lbproto.machine.effects import Target
from lbproto.machine.errors import LbError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lbproto.config import Config
    from lbproto_runtimes.share import Share

__all__ = [
    "BindError",
    "Listener",
    "bind",
    "handed_over",
    "key_of",
    "own",
    "received",
    "unlink",
]

_BACKLOG: Final = 4096
"""The kernel lowers it to its own limit."""


class BindError(LbError):
    """An address cannot be listened on."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"could not listen on {address}: {reason}")
        self.address = address
        self.reason = reason


@dataclass(slots=True)
class Listener:
    """One listening socket of a service."""

    service: Service
    listen: Listen
    target: Target
    """Where it is bound; the port is the real one where 0 was asked for."""
    socket: socket.socket
    inode: tuple[int, int] | None = None
    """The file that a Unix-domain socket made."""
    share: Share | None = None
    """The place among the workers that wait for its clients too."""
    held: bool = False
    """Nobody is accepted here for the moment."""

    @property
    def key(self) -> ListenerKey:
        """Its name in an upgrade: the address as it was asked for."""
        return key_of(self.listen.target if self.listen.target.port else self.target)

    def serves(self, target: Target) -> bool:
        """Tell whether a configuration means this one by an address."""
        wanted = self.listen.target
        same = (wanted.host, wanted.port, wanted.path)
        return same == (target.host, target.port, target.path) or (
            str(self.target) == str(target)
        )


def key_of(target: Target) -> ListenerKey:
    """Return the name of a listener at this address."""
    return ListenerKey(str(target) if target.path else f"tcp:{target}")


def bind(config: Config, known: Sequence[Listener] = ()) -> list[Listener]:
    """Listen on every address of every service, in order.

    A listener that is `known` at such an address keeps its socket, and with it
    the clients that wait in the socket's queue.

    Raises:
        BindError: one of them cannot be had; those bound before are closed.
    """
    spare = list(known)
    fresh: list[Listener] = []
    listeners: list[Listener] = []
    try:
        for service in config.services:
            for listen in service.listen:
                fit = [it for it in spare if it.serves(listen.target)]
                # With port 0 several may do: each service had one of its own.
                its_own = (it for it in fit if it.service.name == service.name)
                kept = next(its_own, next(iter(fit), None))
                if kept is None:
                    fresh.append(_listener(service, listen))
                    listeners.append(fresh[-1])
                else:
                    spare.remove(kept)
                    listeners.append(replace(kept, service=service, listen=listen))
    except BaseException:
        for listener in fresh:
            listener.socket.close()
        unlink(fresh)
        raise
    return listeners


def handed_over(sock: socket.socket) -> Listener:
    """Describe a listening socket that somebody else has bound."""
    name = sock.getsockname()
    target = Target("", 0, name) if isinstance(name, str) else Target(*name[:2])
    nobody = Service(name="", upstream="")
    return Listener(nobody, Listen(target=target), target, sock)


def received(sock: socket.socket, target: Target) -> Listener:
    """Describe a listening socket that another process had for this target.

    Raises:
        BindError: it is not what it should be.
    """
    sock.setblocking(False)  # of the description, which the other process shares
    try:
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        name = sock.getsockname()
    except OSError as error:
        raise BindError(str(target), _reason(error)) from None
    path = isinstance(name, str)
    same = path if target.path else not path and name[1] == target.port
    if not listens or sock.type != socket.SOCK_STREAM or not same:
        raise BindError(str(target), "what was handed over is no listener of it")
    return replace(handed_over(sock), listen=Listen(target=target))


def own(listeners: Iterable[Listener]) -> None:
    """See to the files of Unix-domain sockets that other processes have bound."""
    for listener in listeners:
        path = listener.target.path
        if path and listener.inode is None:
            listener.inode = _inode(path)


def unlink(listeners: Sequence[Listener]) -> None:
    """Remove the files of our Unix-domain sockets, unless others took their place."""
    for listener in listeners:
        path = listener.target.path
        if path and listener.inode is not None and _inode(path) == listener.inode:
            with contextlib.suppress(OSError):
                os.unlink(path)


def _listener(service: Service, listen: Listen) -> Listener:
    target = listen.target
    try:
        if target.path:
            sock, inode = _unix(target, listen.mode)
            return Listener(service, listen, target, sock, inode)
        sock = _tcp(target)
        bound = replace(target, port=sock.getsockname()[1])
        return Listener(service, listen, bound, sock)
    except (OSError, UnicodeError, OverflowError) as error:
        raise BindError(str(target), _reason(error)) from None


def _tcp(target: Target) -> socket.socket:
    family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
    sock = _new(family)
    try:
        # A port in TIME_WAIT from the process before us is free to take.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `[::]` and `0.0.0.0` are two listeners, on every system.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((target.host, target.port))
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _unix(
    target: Target, mode: int | None
) -> tuple[socket.socket, tuple[int, int] | None]:
    path = target.path
    sock = _new(socket.AF_UNIX)
    try:
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _remove_stale(target)
            sock.bind(path)
        inode = _inode(path)
        if mode is not None:
            os.chmod(path, mode)  # nobody can connect yet
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock, inode


def _new(family: socket.AddressFamily) -> socket.socket:
    """Make a socket that no call blocks on and no child inherits, from its birth."""
    nonblocking = getattr(socket, "SOCK_NONBLOCK", 0)
    sock = socket.socket(family, socket.SOCK_STREAM | nonblocking)
    sock.setblocking(False)
    return sock


def _remove_stale(target: Target) -> None:
    """Remove a socket file on which nobody listens.

    Raises:
        BindError: somebody does, or it is no socket.
    """
    path = target.path
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise BindError(str(target), "a file that is no socket is there")
        with _new(socket.AF_UNIX) as probe:
            probe.connect(path)
    except FileNotFoundError:
        return  # it has gone meanwhile
    except ConnectionRefusedError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    except OSError as error:
        # Full queues (EAGAIN) and sockets of other types (EPROTOTYPE) have owners.
        if error.errno not in (errno.EAGAIN, errno.EINPROGRESS, errno.EPROTOTYPE):
            raise
    raise BindError(str(target), _lowered(os.strerror(errno.EADDRINUSE)))


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return _lowered(os.strerror(error.errno))
    return _lowered(str(error))


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
