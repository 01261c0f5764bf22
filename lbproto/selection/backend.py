"""One backend as selection sees it: what it is, and how it fares.

The first fields come from the configuration. The others are counters, the state of
the policies, and why it takes no requests; only the balancer changes them, under
its guard. A reload or a new answer of DNS keeps the object of a backend that stays,
and so all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, NewType

from lbproto.machine.effects import Target
from lbproto.selection.idle import Stack

__all__ = [
    "DRAINING",
    "EJECTED",
    "FULL",
    "RESTING",
    "UNHEALTHY",
    "BackendId",
    "BackendState",
]

BackendId = NewType("BackendId", int)
"""One backend of one upstream; unique in a process, never reused."""

# Plain numbers: one `&` of an IntFlag costs as much as a whole choice.
UNHEALTHY: Final = 1
"""The probes say so."""
DRAINING: Final = 2
"""It finishes what it has and gets nothing new."""
EJECTED: Final = 4
"""It has failed too often in a row."""
RESTING: Final = 8
"""No connection could be made a moment ago."""
FULL: Final = 16
"""It has as many exchanges as it may have."""


@dataclass(slots=True, eq=False)
class BackendState:
    """One backend of one upstream; two are equal only if they are the same."""

    id: BackendId
    upstream: str
    target: Target
    weight: int = 1
    proxy_protocol: Literal["v1", "v2"] | None = None
    backup: bool = False
    """It is used only when no other is usable."""
    max_connections: int | None = None
    """Exchanges at a time; None: no bound."""
    barred: int = 0
    """Why it gets no requests: a sum of `UNHEALTHY` ... `FULL`; 0: it gets some."""
    active: int = 0
    """Leases that are held now."""
    leases: int = 0
    """Leases that were ever given."""
    failures: int = 0
    """Leases that ended by the backend's fault."""
    rests_until: float = -math.inf
    """Until then it is chosen only if there is no other."""
    streak: int = 0
    """Failures in a row."""
    ejections: int = 0
    """How often it was ejected lately."""
    ejected_until: float = -math.inf
    ramp: float = 1.0
    """The part of its weight that counts: below 1 while it starts slowly."""
    ramps_from: float = -math.inf
    current: int = 0
    """Round robin: its smooth weight while it takes no part."""
    paid: int = 0
    """Round robin: what it has paid for its turns while it takes part."""
    turn: float = 0.0
    """Least connections: its place among equals."""
    latency: float | None = None
    """Peak EWMA: the average in seconds; None: it has never answered."""
    measured: float = -math.inf
    """When `latency` was true."""
    name: str = ""
    """The target as text, for logs."""
    idle: Stack | None = None
    """Its idle connections that began with nothing; None: it never had any."""
    gone: bool = False
    """Its upstream does without it."""
