"""How many requests of an upstream may be repeated.

When backends fail because there is too much to do, repeating makes it worse. So
repetitions are a share of the requests of the last ten seconds; beyond that a
failure is passed on at once. In each second a few are free, so that an upstream
with few clients has any at all. The count is that of one process, over all of its
connections.

Seconds are counted in buckets, of which the oldest drop out: what the budget knows
is at most a second too old.
"""

from __future__ import annotations

from collections import deque
from contextlib import AbstractContextManager
from typing import Final

__all__ = ["RetryBudget"]

WINDOW: Final = 10
"""Seconds."""
FREE: Final = 3
"""Repetitions in a second that need no budget."""


class RetryBudget:
    """Counts requests and repetitions of one upstream."""

    __slots__ = ("_buckets", "_guard", "_percent", "_requests", "_retries")

    def __init__(self, percent: int, guard: AbstractContextManager[object]) -> None:
        """Allow `percent` repetitions for each 100 requests."""
        self._percent = percent
        self._guard = guard
        self._buckets: deque[list[int]] = deque()  # second, requests, repetitions
        self._requests = 0
        self._retries = 0

    def earn(self, now: float) -> None:
        """Count a request."""
        with self._guard:
            self._at(now)[1] += 1
            self._requests += 1

    def spend(self, now: float) -> bool:
        """Count a repetition, if it may be."""
        with self._guard:
            bucket = self._at(now)
            share = (self._retries + 1) * 100 <= self._requests * self._percent
            if not share and bucket[2] >= FREE:
                return False
            bucket[2] += 1
            self._retries += 1
            return True

    def _at(self, now: float) -> list[int]:
        """Return the bucket of a second, without those that are too old."""
        second = int(now)
        buckets = self._buckets
        if not buckets or buckets[-1][0] < second:
            buckets.append([second, 0, 0])
            while buckets[0][0] <= second - WINDOW:
                _, requests, retries = buckets.popleft()
                self._requests -= requests
                self._retries -= retries
        return buckets[-1]
