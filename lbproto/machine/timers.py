"""Deadlines of one machine.

A machine has a handful of *named* deadlines and shows its driver only the
earliest. Naming them (rather than keeping a heap of callbacks) means that a
timer can be moved or dropped without a handle, cannot be armed twice, and prints
as data: `TimerTable(HEAD=12.0)`.

Few are armed at a time, and mostly one, so the table is made for that.

Times are absolute, in seconds, and come from the caller. Nothing here reads a
clock.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Final

from lbproto.machine.values import leaf

__all__ = [
    "CONNECT",
    "HEAD",
    "KEEPALIVE",
    "REQUEST_BODY",
    "RESPONSE",
    "RESPONSE_BODY",
    "TUNNEL",
    "Timer",
    "TimerTable",
]


class Timer(IntEnum):
    """Why a machine may want to be woken. Order is priority when several are due."""

    DRAIN = 0
    """The operator's patience."""
    HEAD = 1
    """The request head is incomplete."""
    CONNECT = 2
    """The backend does not answer the dial."""
    RESPONSE = 3
    """No response head yet."""
    REQUEST_BODY = 4
    """The client stalls in its request's content."""
    RESPONSE_BODY = 5
    """The backend stalls in its response's content."""
    SEND = 6
    """The client does not read."""
    KEEPALIVE = 7
    """Idle between two requests."""
    TUNNEL = 8
    """Nothing passes through an upgraded connection."""
    LINGER = 9
    """A refused request is read to its end (RFC 9112 9.6)."""
    ENTRANCE = 10
    """The PROXY header, or the TLS handshake, is incomplete."""
    BACKOFF = 11
    """Another backend gets the request, in a moment."""
    SHORTAGE = 12
    """There is no room for content; perhaps there is now."""
    QUEUE = 13
    """A backend that is full may have room by now."""


# Plain numbers, for what every request sets and clears.
HEAD: Final = int(Timer.HEAD)
CONNECT: Final = int(Timer.CONNECT)
RESPONSE: Final = int(Timer.RESPONSE)
REQUEST_BODY: Final = int(Timer.REQUEST_BODY)
RESPONSE_BODY: Final = int(Timer.RESPONSE_BODY)
KEEPALIVE: Final = int(Timer.KEEPALIVE)
TUNNEL: Final = int(Timer.TUNNEL)

NONE: Final = -1
INFINITY: Final = math.inf


@leaf
class TimerTable:
    """At most one deadline per `Timer`."""

    __slots__ = ("_at", "_others", "_timer")

    def __init__(self) -> None:
        self._timer = NONE  # one that is armed, and for when
        self._at = INFINITY
        self._others: dict[int, float] | None = None  # while there are more

    def set(self, timer: int, at: float) -> None:
        """Arm or move a timer."""
        if self._timer == timer or self._timer == NONE:
            self._timer = timer
            self._at = at
        elif self._others is None:
            self._others = {timer: at}
        else:
            self._others[timer] = at

    def clear(self, timer: int) -> None:
        """Disarm a timer, armed or not."""
        others = self._others
        if self._timer == timer:
            if others is None:
                self._timer = NONE
                self._at = INFINITY
                return
            self._timer, self._at = others.popitem()
        elif others is None or others.pop(timer, None) is None:
            return
        if not others:
            self._others = None

    def clear_all(self) -> None:
        """Disarm every timer."""
        self._timer = NONE
        self._at = INFINITY
        self._others = None

    def suspend(self) -> dict[int, float]:
        """Disarm every timer; return what `resume` takes."""
        held = self._armed()
        self.clear_all()
        return held

    def resume(self, held: dict[int, float], seconds: float) -> None:
        """Arm what was suspended again, so much later."""
        for timer, at in held.items():
            self.set(timer, at + seconds)

    def armed(self, timer: int) -> bool:
        """Tell whether a timer is armed."""
        return self._armed().get(timer, INFINITY) < INFINITY

    @property
    def next(self) -> float:
        """The earliest deadline; infinity when nothing is armed."""
        others = self._others
        if others is None:
            return self._at
        return min(self._at, min(others.values()))

    def due(self, now: float) -> Timer | None:
        """Disarm and return one expired timer, most important first."""
        if self.next > now:
            return None
        timer = min(timer for timer, at in self._armed().items() if at <= now)
        self.clear(timer)
        return Timer(timer)

    def _armed(self) -> dict[int, float]:
        armed = {} if self._timer == NONE else {self._timer: self._at}
        return armed if self._others is None else armed | self._others

    def __repr__(self) -> str:
        armed = ", ".join(
            f"{Timer(timer).name}={at}"
            for timer, at in sorted(self._armed().items())
            if at < INFINITY
        )
        return f"TimerTable({armed})"
