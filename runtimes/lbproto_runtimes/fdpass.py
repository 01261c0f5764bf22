"""Descriptors over Unix-domain sockets (SCM_RIGHTS, unix(7)).

The standard library's `recv_fds` loses its flags in Python 3.11, so that what it
receives would live on in every program that this process starts; and it does not
tell when the kernel had to leave some out. Descriptors ride on the first byte of
what is sent, and no read joins the bytes behind them to the next ones that carry
some: they come in order, and none later than its byte.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["MOST", "Parcel", "close_all", "receive", "send"]

MOST: Final = 253
"""Descriptors of one message; the kernel's limit (SCM_MAX_FD)."""

ONE: Final = array.array("i").itemsize


@dataclass(frozen=True, slots=True)
class Parcel:
    """What one read gave; no bytes are the end of the stream."""

    data: bytes
    fds: tuple[int, ...]
    """Ours to close, and closed when another program is started."""
    cut: bool
    """The kernel left some descriptors out, for want of room."""


def send(sock: socket.socket, data: bytes, fds: Sequence[int]) -> int:
    """Write bytes with descriptors on the first one; return how many were taken.

    Raises:
        OSError: nothing was.
    """
    if not fds:
        return sock.send(data, socket.MSG_NOSIGNAL)
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())
    return sock.sendmsg([data], [rights], socket.MSG_NOSIGNAL)


def receive(sock: socket.socket, size: int) -> Parcel:
    """Read at most `size` bytes, and the descriptors that came with them.

    Raises:
        OSError: there is nothing to read, now or ever.
    """
    data, messages, flags, _ = sock.recvmsg(
        size, socket.CMSG_SPACE(MOST * ONE), socket.MSG_CMSG_CLOEXEC
    )
    found = array.array("i")
    for level, kind, content in messages:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(content[: len(content) - len(content) % ONE])
    return Parcel(data, tuple(found), bool(flags & socket.MSG_CTRUNC))


def close_all(fds: Iterable[int]) -> None:
    """Close descriptors; never shut them down, which others would feel."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
