"""Deadlines of one machine.

A machine has a handful of *named* deadlines and shows its driver only the
earliest. Naming them (rather than keeping a heap of callbacks) means that a
timer can be moved or dropped without a handle, cannot be armed twice, and prints
as data: `TimerTable(HEAD=12.0)`.

Times are absolute, in seconds, and come from the caller. Nothing here reads a
clock.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Final

__all__ = ["Timer", "TimerTable"]


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


INFINITY: Final = math.inf
NONE_ARMED: Final = [INFINITY] * len(Timer)


class TimerTable:
    """At most one deadline per `Timer`."""

    __slots__ = ("_at", "_next")

    def __init__(self) -> None:
        self._at = NONE_ARMED.copy()
        self._next: float | None = INFINITY  # None: it has to be found

    def set(self, timer: Timer, at: float) -> None:
        """Arm or move a timer."""
        earliest = self._next
        if earliest is not None:
            if at < earliest:
                self._next = at
            elif self._at[timer] == earliest:
                self._next = None
        self._at[timer] = at

    def clear(self, *timers: Timer) -> None:
        """Disarm timers, armed or not."""
        for timer in timers:
            if self._at[timer] != INFINITY:
                self._at[timer] = INFINITY
                self._next = None

    def clear_all(self) -> None:
        """Disarm every timer."""
        if self._next != INFINITY:
            self._at = NONE_ARMED.copy()
            self._next = INFINITY

    def suspend(self) -> list[float]:
        """Disarm every timer; return what `resume` takes."""
        at, self._at = self._at, NONE_ARMED.copy()
        self._next = INFINITY
        return at

    def resume(self, held: list[float], seconds: float) -> None:
        """Arm what was suspended again, so much later."""
        self._at = [at + seconds for at in held]
        self._next = None

    def armed(self, timer: Timer) -> bool:
        """Tell whether a timer is armed."""
        return self._at[timer] < math.inf

    @property
    def next(self) -> float:
        """The earliest deadline; infinity when nothing is armed."""
        earliest = self._next
        if earliest is None:
            earliest = self._next = min(self._at)
        return earliest

    def due(self, now: float) -> Timer | None:
        """Disarm and return one expired timer, most important first."""
        for timer in Timer:
            if self._at[timer] <= now:
                self._at[timer] = math.inf
                self._next = None
                return timer
        return None

    def __repr__(self) -> str:
        armed = ", ".join(
            f"{timer.name}={at}"
            for timer, at in zip(Timer, self._at, strict=True)
            if at < math.inf
        )
        return f"TimerTable({armed})"
