"""Running in the background: detached, and known to listen before the shell goes on.

The process forks twice: the first child leads a new session, the second can never
have a terminal. The caller waits at a pipe for one word; nothing but an end means
that it failed. The standard streams are given up at once, since workers must not
have them, but for a copy of stderr, on which the daemon says why it could not start.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from typing import Final

from lbproto.machine.errors import LbError

__all__ = ["Detached", "detach", "open_streams"]

UP: Final = b"up"
LAST_STREAM: Final = 2

MASK: Final = 0o022
"""Others may read what the daemon makes, and not write it."""


class Detached:
    """The daemon's end of the pipe at which its caller waits."""

    def __init__(self, pipe: int, stderr: int) -> None:
        self._descriptors = [pipe, stderr]
        # A worker that had the pipe would keep the caller waiting.
        os.register_at_fork(after_in_child=self._close)

    def up(self) -> None:
        """Let the caller go."""
        self._say(0, UP)
        self._close()

    def fail(self, status: int, reason: str = "") -> None:
        """Tell the caller why, and with which status to end."""
        if reason:
            self._say(1, reason.encode("utf-8", "surrogateescape") + b"\n")
        self._say(0, b"%d" % status)

    def _say(self, index: int, data: bytes) -> None:
        # The caller may have been killed meanwhile, or be gone since it is up.
        with contextlib.suppress(OSError, IndexError):
            os.write(self._descriptors[index], data)

    def _close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())


def open_streams() -> None:
    """Open those of the standard streams that are closed.

    Else the next socket got the number of one, and the log was written to it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= LAST_STREAM:
        pass
    os.close(descriptor)


def detach() -> Detached | int:
    """Go on in the background.

    Returns, in the daemon, what it has to tell; in the caller, once the daemon is up
    or has failed, the status to exit with.

    Raises:
        LbError: there is no room for another process.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # it is where the descriptor was closed
            stream.flush()
    waits, tells = os.pipe()
    try:
        child = os.fork()
    except OSError as error:
        raise LbError(f"cannot fork: {error.strerror}") from None
    if child:
        os.close(tells)
        return _wait(waits, child)
    os.close(waits)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.umask(MASK)
    stderr = fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, 3)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)
    return Detached(tells, stderr)


def _wait(descriptor: int, child: int) -> int:
    os.waitpid(child, 0)
    said = b""
    with open(descriptor, "rb", buffering=0) as pipe:
        while data := pipe.read(16):
            said += data
    if said == UP:
        return 0
    return int(said) if said.isdigit() else 4
