"""One backend as selection sees it: what it is, and how it fares.

The first fields come from the configuration and stay. The others are the state
of the policies and the counters; only the balancer changes them, under its guard.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NewType

from lbproto.machine.effects import Target

__all__ = ["BackendId", "BackendState"]

BackendId = NewType("BackendId", int)
"""One backend of one upstream; unique in a configuration."""


@dataclass(slots=True, eq=False)
class BackendState:
    """One backend of one upstream; two are equal only if they are the same."""

    id: BackendId
    upstream: str
    target: Target
    weight: int = 1
    proxy_protocol: Literal["v1", "v2"] | None = None
    current: int = 0
    """The smooth weight of round robin; the sum over an upstream is 0."""
    active: int = 0
    """Leases that are held now."""
    leases: int = 0
    """Leases that were ever given."""
    failures: int = 0
    """Leases that ended by the backend's fault."""
    healthy: bool = True
    """It passes its health check, or has none; else it is never chosen."""
    rests_until: float = -math.inf
    """Until then it is chosen only if there is no other."""
