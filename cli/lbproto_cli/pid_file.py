"""The pid file: the process that signals are for.

It appears whole or not at all (written beside, then renamed), and goes away with
the process that it names; a successor may have put its own there meanwhile.

While that process lives it holds a lock on the file. A file without a lock is a
dead process's, whatever number stands in it, and is replaced; one with a lock
belongs to a balancer that runs, and a second one is refused. The lock is one of
fcntl(2): a child does not inherit it, so a worker that outlives its master does not
keep it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import Final

from lbproto.machine.errors import LbError

__all__ = ["PidFile", "PidFileError"]

PATIENCE: Final = 1.0
"""Seconds that the process before us may take to leave the file."""

NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)


class PidFileError(LbError):
    """The pid file cannot be written, or belongs to a process that runs."""


class PidFile:
    """Our process id in a file, as long as we serve; a context manager."""

    def __init__(self, path: str | None) -> None:
        """Write nothing yet; no path means no file."""
        self._path = path
        self._lock = -1

    def __enter__(self) -> PidFile:
        return self

    def __exit__(self, *exc: object) -> None:
        """Remove the file, if it is ours."""
        if self._path is not None and self._lock >= 0:
            _remove(self._path, self._lock)
        self.leave()

    def claim(self) -> None:
        """Write it, unless another process has it.

        Raises:
            PidFileError: it cannot be written, or another process has it.
        """
        if self._path is not None:
            _check_free(self._path)
        self.take()

    def take(self) -> None:
        """Write it, whoever had it: the service is ours now.

        Raises:
            PidFileError: it cannot be written.
        """
        self.leave()
        if self._path is not None:
            self._lock = _write(self._path, f"{os.getpid()}\n".encode())

    def leave(self) -> None:
        """Leave it to another process, as it is."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


def _remove(path: str, lock: int) -> None:
    """Remove our file, unless another one has taken its place."""
    ours = os.fstat(lock)
    try:
        found = os.stat(path, follow_symlinks=False)
        if (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino):
            os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError:
        # The folder is root's, and we are not root any more: leave no number.
        os.ftruncate(lock, 0)


def _check_free(path: str) -> None:
    """Refuse a file that a living process holds."""
    try:
        descriptor = os.open(path, os.O_RDWR | NO_FOLLOW)
    except OSError:
        return  # there is none, or none of ours: writing will tell
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        said = os.read(descriptor, 32).strip()
        who = f"process {int(said)}" if said.isdigit() else "another process"
        message = f"pid_file {path} belongs to {who}, which runs"
        raise PidFileError(message) from None
    finally:
        os.close(descriptor)


def _write(path: str, content: bytes) -> int:
    """Write the file, and return the descriptor that holds its lock."""
    beside = f"{path}.{os.getpid()}"
    # O_NOFOLLOW, O_EXCL: in /tmp somebody else may have put a link there.
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_FOLLOW
    descriptor = -1
    try:
        # Only a process that died had our id before.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        descriptor = os.open(beside, flags, 0o644)
        os.write(descriptor, content)
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.replace(beside, path)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        with contextlib.suppress(OSError):
            os.unlink(beside)
        if isinstance(error, PermissionError):
            with contextlib.suppress(OSError):
                return _overwrite(path, content)
        message = f"cannot write pid_file {path}: {error.strerror}"
        raise PidFileError(message) from None
    return descriptor


def _overwrite(path: str, content: bytes) -> int:
    """Write into the file that is there, in a folder of root's, and lock it.

    It is ours when another process of the same user has had it, before an upgrade.

    Raises:
        OSError: it is not ours, or its lock is not given up.
    """
    descriptor = os.open(path, os.O_RDWR | NO_FOLLOW)
    try:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)  # the other process is about to leave it
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
