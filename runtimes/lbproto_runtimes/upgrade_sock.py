"""The path at which two processes meet for an upgrade.

Whoever can connect there gets the listening sockets of a running server, or can be
taken for one; so nobody else may. The socket has its mode from birth, the other end
must be the same user or root, and what stands at the path already is neither
followed nor removed, unless it is a socket that nobody has open any more.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
from typing import TYPE_CHECKING, Final

from lbproto.machine.errors import LbError

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Meeting", "UpgradeSockError", "dial", "welcome"]

BACKLOG: Final = 8

CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)


class UpgradeSockError(LbError):
    """There is no meeting at that path."""


class Meeting:
    """The successor's side: a listening socket and its file."""

    def __init__(self, path: str, mode: int, owner: int | None) -> None:
        """Listen at a path; only `owner` and root can connect unless `mode` says else.

        Raises:
            UpgradeSockError: something else is there, or it cannot be made.
        """
        self._path = path
        try:
            _remove_stale(path)
            self.socket, self._inode = _listening(path, mode, owner)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UpgradeSockError(f"upgrade_sock {path}: {reason}") from None

    def accept(self) -> socket.socket | None:
        """Take who has come; None if nobody has."""
        try:
            return self.socket.accept()[0]
        except OSError:  # nobody, or gone already; what is broken shows again
            return None

    def close(self) -> None:
        """Meet nobody any more, and remove the file if it is still ours."""
        if self.socket.fileno() < 0:
            return
        self.socket.close()
        with contextlib.suppress(OSError):
            found = os.lstat(self._path)
            if (found.st_dev, found.st_ino) == self._inode:
                os.unlink(self._path)


def dial(path: str) -> socket.socket:
    """Connect to who waits at a path.

    Raises:
        OSError: nobody does, or it is somebody else's.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.connect(path)
        uid = peer_uid(sock)
        if uid not in (0, os.geteuid()):
            raise PermissionError(errno.EPERM, f"user {uid} waits there")
    except BaseException:
        sock.close()
        raise
    return sock


def peer_uid(sock: socket.socket) -> int:
    """Return the user at the other end (SO_PEERCRED, unix(7))."""
    size = CREDENTIALS.size
    found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return int(CREDENTIALS.unpack(found)[1])


def welcome(sock: socket.socket, users: Collection[int]) -> bool:
    """Tell whether one of these users, or root, is at the other end."""
    return peer_uid(sock) in (0, os.geteuid(), *users)


def _listening(
    path: str, mode: int, owner: int | None
) -> tuple[socket.socket, tuple[int, int]]:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        # bind(2) follows no link and takes no place that is taken.
        before = os.umask(~mode & 0o777)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        made = os.lstat(path)
        if owner is not None and owner != made.st_uid:
            os.chown(path, owner, -1, follow_symlinks=False)
        # Not before this can anybody connect.
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock, (made.st_dev, made.st_ino)


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody has open.

    Raises:
        OSError: somebody does, or it is no socket.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(errno.EEXIST, "a file that is no socket is there")
    # Of another type, so that it never gets through: a successor that waits there
    # would take it for its peer. What refuses is not open anywhere.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:
                raise
    raise OSError(errno.EADDRINUSE, "another process waits there")
