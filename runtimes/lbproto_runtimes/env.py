"""The world of one worker in one thread: no lock, the wall clock for dates."""

from __future__ import annotations

import contextlib
import time
from contextlib import AbstractContextManager
from email.utils import formatdate

__all__ = ["WallClockEnv"]


class WallClockEnv:
    """An `Env` for runtimes that feed their machines from one thread."""

    __slots__ = ("_date", "_guard", "_second")

    def __init__(self) -> None:
        self._guard = contextlib.nullcontext()
        self._second: int | None = None
        self._date = b""

    @property
    def guard(self) -> AbstractContextManager[object]:
        """Nothing to hold: one thread changes the state."""
        return self._guard

    def http_date(self, now: float) -> bytes:
        """The wall-clock time, looked up once for each second of `now`."""
        second = int(now)
        if second != self._second:
            self._second = second
            self._date = formatdate(time.time(), usegmt=True).encode("ascii")
        return self._date
