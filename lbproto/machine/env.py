"""What a pure core may want from outside, and the shape of every machine."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from lbproto.machine.effects import Effect
from lbproto.machine.events import Event

__all__ = ["Env", "Machine"]


class Env(Protocol):
    """The only things that the core takes from the world beside events."""

    @property
    def guard(self) -> AbstractContextManager[object]:
        """Held while shared state changes: a lock where machines run in threads."""
        ...

    def random(self) -> float:
        """A number in [0, 1), evenly distributed; not for secrets."""
        ...

    def http_date(self, now: float) -> bytes:
        """The wall-clock time as an IMF-fixdate (RFC 9110 5.6.7)."""
        ...


class Machine(Protocol):
    """A pure state machine.

    Feed it facts, perform what it returns, call back by `deadline`.
    """

    @property
    def deadline(self) -> float:
        """When to feed `Wake`: absolute, on the clock of `now`; may be infinite."""
        ...

    def handle(self, event: Event, now: float, /) -> list[Effect]:
        """Advance by one fact.

        Never blocks, and never raises for anything that a peer did.
        """
        ...
