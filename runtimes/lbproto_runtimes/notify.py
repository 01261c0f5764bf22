"""systemd: telling it how far we are, and taking sockets from it.

Both are a few lines of protocol (sd_notify(3), sd_listen_fds(3)): a datagram to the
socket that `NOTIFY_SOCKET` names, and descriptors from 3 on that `LISTEN_FDS` counts
if `LISTEN_PID` is us.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

__all__ = ["FIRST", "Notify", "inherited"]

FIRST: Final = 3
"""The descriptor of the first socket that is handed over."""


class Notify:
    """Says how far we are to whoever started us, if it wants to know."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        # Workers and what they start are not to speak for us.
        self._path = environ.pop("NOTIFY_SOCKET", "")

    def ready(self) -> None:
        """Clients are served, by this process."""
        self._say(f"READY=1\nMAINPID={os.getpid()}")

    def reloading(self) -> None:
        """A new configuration is being read."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._say(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")

    def stopping(self) -> None:
        """The end begins."""
        self._say("STOPPING=1")

    def _say(self, text: str) -> None:
        if not self._path.startswith(("/", "@")):
            return
        address = "\0" + self._path[1:] if self._path[0] == "@" else self._path
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
        ):
            sock.sendto(text.encode(), address)


def inherited(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """Take the listening sockets that were handed to this process."""
    count, pid = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
    environ.pop("LISTEN_FDNAMES", None)
    if not (count.isascii() and count.isdigit() and pid == str(os.getpid())):
        return []
    sockets = []
    for descriptor in range(FIRST, FIRST + int(count)):
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(False)
        sockets.append(sock)
    return sockets
