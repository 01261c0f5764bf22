"""What became of each request, in words that can be counted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence

__all__ = ["Tally", "Wrong"]


class Wrong(Exception):
    """A request did not get what it should have got; the kind is the message."""


KINDS = ("refused", "reset", "cut off", "status", "wrong bytes", "silent", "other")
"""Why a request failed. `cut off`: an end where an answer should have been."""


class Tally:
    """Counts what was done and what was not."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.first: list[str] = []
        """The first failures, with their time."""
        self.reopened = 0
        """Kept connections that had been closed while nothing was asked: no failure."""
        self._latencies: list[float] = []
        self._began = time.monotonic()

    def succeeded(self, work: str, scheduled: float) -> None:
        """A request is done; it was due at a time of the monotonic clock.

        A tunnel takes as long as its client wants, so that is no latency.
        """
        self.done[work] += 1
        if work != "tunnel":
            self._latencies.append(time.monotonic() - scheduled)

    def went_wrong(self, work: str, error: BaseException) -> None:
        """A request has failed."""
        kind = kind_of(error)
        self.failed[kind] += 1
        if len(self.first) < 8:
            at = time.monotonic() - self._began
            self.first.append(f"{at:.2f} s: {work}: {kind}: {error!r}")

    @property
    def requests(self) -> int:
        """How many were asked."""
        return self.done.total() + self.failed.total()

    def latency(self, share: float) -> float:
        """Return the seconds within which this share of the requests was done."""
        ordered = sorted(self._latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def kind_of(error: BaseException) -> str:
    """Say in a word what an error is to a client."""
    match error:
        case Wrong():
            return str(error).partition(":")[0]
        case ConnectionRefusedError():
            return "refused"
        case ConnectionResetError() | BrokenPipeError() | ConnectionAbortedError():
            return "reset"
        case EOFError():
            return "cut off"
        case TimeoutError():
            return "silent"
        case _:
            return "other"


def line(failed: Mapping[str, int], kinds: Sequence[str] = KINDS) -> str:
    """Write the failures of each kind as cells of a table."""
    return " | ".join(str(failed.get(kind, 0)) for kind in kinds)
