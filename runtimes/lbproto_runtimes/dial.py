"""Dialling, and what a failed dial means: errors of the system in the core's words."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Final

from lbproto.machine.events import ConnectError

if TYPE_CHECKING:
    import asyncio

    from lbproto.machine.effects import Target

__all__ = ["connect_error", "connected_socket", "describe"]

BY_ERRNO: Final = {
    errno.ECONNREFUSED: ConnectError.REFUSED,
    errno.ECONNRESET: ConnectError.REFUSED,
    errno.ENOENT: ConnectError.REFUSED,  # no such Unix-domain socket
    errno.ETIMEDOUT: ConnectError.TIMEOUT,
    errno.EAGAIN: ConnectError.TIMEOUT,  # the queue of a Unix-domain socket is full
    errno.EMFILE: ConnectError.LOCAL,
    errno.ENFILE: ConnectError.LOCAL,
    errno.ENOBUFS: ConnectError.LOCAL,
    errno.ENOMEM: ConnectError.LOCAL,
    errno.EADDRNOTAVAIL: ConnectError.LOCAL,
}


def connect_error(error: OSError | UnicodeError) -> ConnectError:
    """Name the reason for which a dial failed."""
    if isinstance(error, socket.gaierror | UnicodeError):
        return ConnectError.DNS
    return BY_ERRNO.get(error.errno or 0, ConnectError.UNREACHABLE)


def describe(error: BaseException | None) -> str:
    """Say in a few words what happened to a connection."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if error else "connection lost"


async def connected_socket(
    loop: asyncio.AbstractEventLoop, target: Target
) -> socket.socket:
    """Connect over TCP, trying each address that the name has.

    Raises:
        OSError: none can be reached; it is the error of the last.
    """
    found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    failure: OSError = socket.gaierror(socket.EAI_NONAME, "no address")
    for family, kind, proto, _, address in found:
        sock = socket.socket(family, kind, proto)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:  # cancelled
            sock.close()
            raise
        else:
            return sock
    raise failure
