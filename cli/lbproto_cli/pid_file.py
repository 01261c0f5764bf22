"""The pid file: the process that signals are for.

It appears whole or not at all (written beside, then renamed), and goes away with
the process that it names; a successor may have put its own there meanwhile.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from lbproto.machine.errors import LbError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PidFileError", "pid_file"]


class PidFileError(LbError):
    """The pid file cannot be written."""


@contextlib.contextmanager
def pid_file(path: str | None) -> Iterator[None]:
    """Keep our process id in the file while the context lasts.

    Raises:
        PidFileError: it cannot be written.
    """
    if path is None:
        yield
        return
    pid = f"{os.getpid()}\n".encode()
    _write(path, pid)
    try:
        yield
    finally:
        with contextlib.suppress(OSError), open(path, "rb") as file:
            if file.read(64) == pid:
                os.unlink(path)


def _write(path: str, content: bytes) -> None:
    beside = f"{path}.{os.getpid()}"
    # O_NOFOLLOW, O_EXCL: in /tmp somebody else may have put a link there.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    try:
        # Only a process that died had our id before.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        descriptor = os.open(beside, flags, 0o644)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)
        os.replace(beside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        message = f"cannot write pid_file {path}: {error.strerror}"
        raise PidFileError(message) from None
