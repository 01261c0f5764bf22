"""The world of one worker: the wall clock for dates, chance, and a lock."""

from __future__ import annotations

import random
import threading
import time
from contextlib import AbstractContextManager
from email.utils import formatdate

__all__ = ["WallClockEnv"]


class WallClockEnv:
    """An `Env` by the clock of the system."""

    __slots__ = ("_date", "guard")

    def __init__(self, guard: AbstractContextManager[object] | None = None) -> None:
        """Without a guard, a lock is one: another thread tells of backends' health."""
        self.guard: AbstractContextManager[object] = guard or threading.RLock()
        """What is held while shared state changes."""
        self._date = (-1, b"")

    def random(self) -> float:
        """A number of Python's own generator, which every process seeds anew."""
        return random.random()  # noqa: S311

    def http_date(self, now: float) -> bytes:
        """The wall-clock time, looked up once for each second of `now`."""
        second = int(now)
        known, date = self._date  # replaced as a whole: threads see both or neither
        if second != known:
            date = formatdate(time.time(), usegmt=True).encode("ascii")
            self._date = (second, date)
        return date
