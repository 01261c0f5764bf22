r"""The error log: one line for each thing said, whatever it is about.

    2026-11-23T08:00:00.123Z info message key=value key="quoted value"

Half of what is logged was sent by somebody who would like to write the log. So
one call is exactly one line of printable ASCII: a value with anything else in it
is quoted, and there `"`, `\` and every byte outside of printable ASCII is `\xHH`.
A line is written with one system call, so lines of several processes do not mix;
a log that cannot be written to never stops the service.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import traceback
from typing import TYPE_CHECKING, Final

from lbproto.machine.effects import AccessRecord, Level, Log
from lbproto.machine.errors import LbError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Logs", "LogsError", "log_crash"]

_STDERR: Final = 2

_BARE: Final = re.compile(rb"[!#-<>-\[\]-~]++")
"""A value that needs no quotes: printable ASCII without space, `"`, `=` and `\\`."""
_UNSAFE: Final = re.compile(rb"[^ !#-\[\]-~]")
_UNSAFE_TEXT: Final = re.compile(rb"[^ -~]")
_UNSAFE_KEY: Final = re.compile(rb"[^!#-<>-\[\]-~]")


class LogsError(LbError):
    """A log file cannot be opened."""


class Logs:
    """Where log lines go: a file, or stderr."""

    def __init__(self, path: str | None, level: Level) -> None:
        """Open the log; lines below `level` are dropped.

        Raises:
            LogsError: the file cannot be opened.
        """
        self.level = level
        self._tells_all = level <= Level.DEBUG
        self._path = path
        self._descriptor = _STDERR if path is None else _open(path)

    def log(self, level: Level, message: str, fields: Mapping[str, object]) -> None:
        """Write one line."""
        if level < self.level:
            return
        parts = [_stamp(), _name(level), _escaped(_UNSAFE_TEXT, _bytes(message))]
        for key, value in fields.items():
            name = _UNSAFE_KEY.sub(b"_", _bytes(key)) or b"_"
            parts.append(name + b"=" + _value(value))
        self._write(b" ".join(parts) + b"\n")

    def perform(self, effect: Log) -> None:
        """Carry out the effect of a machine."""
        if effect.level >= self.level:
            self.log(effect.level, effect.message, effect.fields)

    def access(self, record: AccessRecord) -> None:
        """Write what an exchange was, for those who look for details."""
        if not self._tells_all:
            return
        fields = {
            "conn": record.conn,
            "peer": record.peer,
            "method": record.method,
            "target": record.target,
            "authority": record.authority,
            "version": record.version,
            "status": record.status,
            "received": record.received,
            "sent": record.sent,
            "duration": record.duration,
            "backend": record.backend,
            "tries": record.tries,
            "reused": record.reused,
            "error": record.error,
        }
        self.log(Level.DEBUG, "exchange", fields)

    def reopen(self) -> None:
        """Open the file by its name again, after somebody moved it away.

        If that fails the old one stays, and gets a line about it.
        """
        if self._path is None:
            return
        try:
            fresh = _open(self._path)
        except LogsError as error:
            self.log(Level.ERROR, str(error), {})
            return
        old, self._descriptor = self._descriptor, fresh
        with contextlib.suppress(OSError):
            os.close(old)

    def close(self) -> None:
        """Close the file; what is logged after that goes to stderr."""
        old, self._descriptor = self._descriptor, _STDERR
        if old != _STDERR:
            with contextlib.suppress(OSError):
                os.close(old)

    def _write(self, line: bytes) -> None:
        # A full disk or a closed pipe: there is nowhere to say so.
        with contextlib.suppress(OSError):
            while line:
                line = line[os.write(self._descriptor, line) :]


def log_crash(logs: Logs, error: BaseException) -> None:
    """Write a bug of ours, with its traceback, in one line."""
    lines = "".join(traceback.format_exception(error))
    logs.log(Level.ERROR, "internal error", {"traceback": lines})


def _open(path: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # A FIFO that nobody reads must not hold up the start; O_CLOEXEC is Python's way.
    flags |= os.O_NONBLOCK | os.O_NOCTTY
    try:
        return os.open(path, flags, 0o644)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LogsError(f"cannot open error_log {path}: {reason}") from None


def _stamp() -> bytes:
    milliseconds = time.time_ns() // 1_000_000
    seconds, rest = divmod(milliseconds, 1000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{rest:03d}Z".encode("ascii")


def _name(level: Level) -> bytes:
    return level.name.lower().encode("ascii")


def _bytes(value: object) -> bytes:
    match value:
        case bytes():
            return value
        case bool():
            return b"true" if value else b"false"
        case BaseException():
            return "".join(traceback.format_exception(value)).encode(
                "utf-8", "surrogatepass"
            )
        case float():
            return f"{value:.6f}".rstrip("0").rstrip(".").encode("ascii")
        case _:
            # Lone surrogates stand for bytes of a name that was no UTF-8.
            return str(value).encode("utf-8", "surrogatepass")


def _value(value: object) -> bytes:
    raw = _bytes(value)
    if _BARE.fullmatch(raw):
        return raw
    return b'"' + _escaped(_UNSAFE, raw) + b'"'


def _escaped(unsafe: re.Pattern[bytes], raw: bytes) -> bytes:
    return unsafe.sub(lambda match: b"\\x%02x" % ord(match[0]), raw)
