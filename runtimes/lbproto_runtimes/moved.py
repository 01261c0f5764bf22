"""Clients on their way from one process to another.

Between requests a connection without TLS is nothing but a socket and who is at its
other end, so it can go on anywhere. This is that, as a record, and as the JSON that
master and worker tell each other.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Final

from lbproto.machine.events import PeerInfo
from lbproto.processes.channel import Kind, Message

__all__ = ["BATCH", "LOST", "Moved", "message", "unpack"]

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
