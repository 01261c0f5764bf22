"""Clients on their way from one process to another.

Between requests a connection without TLS is nothing but a socket and who is at its
other end, so it can go on anywhere. This is that, as a record, and as the JSON that
master and worker tell each other.

Two processes must never serve one client, though both may have a copy of its socket.
So whoever takes it in claims it: the owner of a socket (`F_SETOWN`, to whom SIGURG
goes) is seen through every copy.
"""

from __future__ import annotations

import fcntl
import os
import socket
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from lbproto.machine.events import PeerInfo
from lbproto.processes.channel import Kind, Message

__all__ = [
    "BATCH",
    "LOST",
    "Moved",
    "Resting",
    "claim",
    "disclaim",
    "is_claimed",
    "is_idle",
    "message",
    "unpack",
]

BATCH: Final = 200
"""Descriptors of one message; the kernel would let 253 pass."""
LOST: Final = -1
"""In place of a descriptor for which this process had no room."""


@dataclass(frozen=True, slots=True)
class Moved:
    """An idle client connection that nobody serves at the moment."""

    key: str
    """The listener it came through (`Listener.key`)."""
    peer: PeerInfo
    """Who it is for; an empty `local` is what the socket knows."""
    proxied: bool
    """A PROXY header told who it is for."""
    sock: socket.socket


@runtime_checkable
class Resting(Protocol):
    """A client's machine that can tell whether it could go on elsewhere."""

    peer: PeerInfo

    @property
    def idle(self) -> bool:
        """Nothing of a request or a response is here."""
        ...


def is_idle(machine: object) -> bool:
    """Tell whether a client's machine is between two requests."""
    return isinstance(machine, Resting) and machine.idle


def claim(sock: socket.socket) -> bool:
    """Serve a client here from now on; false if another process does."""
    if is_claimed(sock):
        return False
    fcntl.fcntl(sock, fcntl.F_SETOWN, os.getpid())
    return True


def disclaim(sock: socket.socket) -> None:
    """Leave a client to whoever claims it."""
    fcntl.fcntl(sock, fcntl.F_SETOWN, 0)


def is_claimed(sock: socket.socket) -> bool:
    """Tell whether a process serves a client that has moved."""
    return fcntl.fcntl(sock, fcntl.F_GETOWN) != 0


def message(batch: list[Moved]) -> Message:
    """Write at most `BATCH` of them."""
    peers = [
        [one.key, one.peer.address, one.peer.port, one.peer.local, one.proxied]
        for one in batch
    ]
    fds = tuple(one.sock.fileno() for one in batch)
    return Message(Kind.IDLE, {"peers": peers}, fds)


def unpack(told: Message) -> list[Moved]:
    """Read them, and own their sockets; a client that got lost is left out."""
    peers = told.fields["peers"]
    assert isinstance(peers, list)
    found = []
    for (key, address, port, local, proxied), fd in zip(peers, told.fds, strict=True):
        if fd == LOST:
            continue
        peer = PeerInfo(address, port, local)
        found.append(Moved(key, peer, proxied, socket.socket(fileno=fd)))
    return found
