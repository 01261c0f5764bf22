"""How many clients each worker has, in memory that all of them see.

Workers wait for clients on the same sockets. Which of them the kernel wakes first is
its own affair, and often the same; so a worker that has more clients than the
others on average lets them go first for a moment. It takes the client after that if
nobody did, so a worker that hangs holds up nobody; and it may have one client more than
they for a while, each time, since the others have enough to do, or clients come and go
faster than that.
"""

from __future__ import annotations

import mmap
from typing import Final

__all__ = ["CALM", "MOMENT", "Ledger", "Share"]

MOMENT: Final = 0.002
"""Seconds for which a worker with many clients leaves a new one to others."""

CALM: Final = 1.0
"""Seconds after which it may have but half as many more than the others."""

FREE: Final = -1


class Ledger:
    """One number for each worker; made before the first fork."""

    def __init__(self, workers: int) -> None:
        """Have room for so many workers at a time."""
        self.counts = memoryview(mmap.mmap(-1, 8 * workers)).cast("q")
        for at in range(workers):
            self.counts[at] = FREE

    def take(self) -> int | None:
        """Reserve a place, for a worker that is about to start; None if it is full."""
        counts = self.counts.tolist()
        if FREE not in counts:
            return None
        place = counts.index(FREE)
        self.counts[place] = 0
        return place

    @property
    def total(self) -> int:
        """How many clients all workers have."""
        return sum(count for count in self.counts.tolist() if count != FREE)

    def give_back(self, place: int | None) -> None:
        """A worker is gone."""
        if place is not None:
            self.counts[place] = FREE


class Share:
    """One worker's place in the ledger."""

    def __init__(self, ledger: Ledger, place: int) -> None:
        self._counts = ledger.counts
        self._place = place
        self._clients: dict[str, int] = {}
        self._total = 0

    def publish(self, service: str, clients: int) -> None:
        """Tell the others how many clients a service has here."""
        self._total += clients - self._clients.get(service, 0)
        self._clients[service] = clients
        self._counts[self._place] = self._total

    def is_large(self, lead: int) -> bool:
        """Tell whether others have fewer clients on average, by more than `lead`."""
        workers = everybody = 0
        for count in self._counts.tolist():
            if count != FREE:
                workers += 1
                everybody += count
        return (self._total - lead) * workers > everybody
