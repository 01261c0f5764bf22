"""When to look for backends again, and what to make of what was found.

Looking is not done here: whoever drives a `Lookout` looks when its time has come, and
says what came of it. What is found replaces what was known; a look that fails, and one
that finds nothing, changes nothing, so that a name server that is down takes no backend
away. A failure is logged once, and again when its reason changes.

A look is repeated after the interval, or earlier if what was found is good for less
time (the TTL of DNS); never more often than once a second, for a TTL may be 0.
"""

from __future__ import annotations

import math
from typing import Final

from lbproto.config import Backend
from lbproto.machine.effects import Effect, Level, Log

__all__ = ["LEAST", "Lookout"]

LEAST: Final = 1.0
"""Seconds between two looks where the TTL decides."""

AGAIN: Final = 5.0
"""Seconds, at most, after a look that failed."""


class Lookout:
    """The source of one upstream's backends."""

    __slots__ = ("_failure", "_interval", "_upstream", "backends", "deadline")

    def __init__(
        self, upstream: str, backends: tuple[Backend, ...], interval: float
    ) -> None:
        """Begin with `backends`; look every `interval` seconds."""
        self._upstream = upstream
        self._interval = interval
        self._failure = ""
        self.backends = backends
        """The last ones that were found."""
        self.deadline = -math.inf
        """When to look next."""

    def found(
        self, backends: tuple[Backend, ...], now: float, ttl: float = math.inf
    ) -> list[Effect]:
        """Take what was found; it is good for `ttl` seconds."""
        if not backends:
            return self.failed("no backends", now)
        self.deadline = now + min(self._interval, max(ttl, LEAST))
        fields: dict[str, object] = {"upstream": self._upstream}
        out: list[Effect] = []
        if self._failure:
            self._failure = ""
            out.append(Log(Level.INFO, "backends are found again", fields))
        # Name servers turn the order of what they answer; that is no change.
        if sorted(map(_order, backends)) != sorted(map(_order, self.backends)):
            known = [str(one.target) for one in self.backends]
            names = [str(one.target) for one in backends]
            added = [name for name in names if name not in known]
            gone = [name for name in known if name not in names]
            fields = {**fields, "added": ", ".join(added), "gone": ", ".join(gone)}
            out.append(Log(Level.INFO, "backends have changed", fields))
            self.backends = backends
        return out

    def failed(self, reason: str, now: float) -> list[Effect]:
        """Nothing was found, for a reason: go on with what is known."""
        self.deadline = now + min(self._interval, AGAIN)
        if reason == self._failure:
            return []
        self._failure = reason
        fields: dict[str, object] = {"upstream": self._upstream, "reason": reason}
        return [Log(Level.WARNING, "backends are not found, the last stay", fields)]


def _order(backend: Backend) -> tuple[str, int]:
    return str(backend.target), backend.weight
