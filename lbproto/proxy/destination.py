"""What all connections share about one upstream, beside its backends."""

from __future__ import annotations

import math

from lbproto.config import Upstream
from lbproto.machine.env import Env
from lbproto.machine.events import PeerInfo
from lbproto.proxy.affinity import Affinity
from lbproto.proxy.budget import RetryBudget
from lbproto.selection.backend import BackendId
from lbproto.selection.leases import Lease

__all__ = ["Destination"]


class Destination:
    """An upstream at work: when a request goes out again, and who comes back."""

    __slots__ = ("_budget", "_statuses", "affinity", "name", "per_try", "retry")

    def __init__(self, upstream: Upstream, env: Env) -> None:
        self.name = upstream.name
        self.retry = upstream.retry
        self._statuses: tuple[int, ...] = upstream.retry.statuses
        seconds = upstream.retry.per_try_timeout
        self.per_try = math.inf if seconds is None else float(seconds)
        """Seconds for each step of a try."""
        sticky = upstream.sticky
        self.affinity = None if sticky is None else Affinity(sticky)
        percent = upstream.retry.budget_percent
        self._budget = None if percent is None else RetryBudget(percent, env.guard)

    def asked(self, now: float) -> None:
        """Take note of a request."""
        if self._budget is not None:
            self._budget.earn(now)

    def may_repeat(self, now: float) -> bool:
        """Tell whether there is budget for a repetition, and use it up."""
        return self._budget is None or self._budget.spend(now)

    def may_better(self, status: int) -> bool:
        """Tell whether another backend may improve on a response, by its status."""
        return len(self._statuses) > 0 and status in self._statuses

    def patience(self, seconds: float) -> float:
        """Return how long one try may take for something."""
        return min(self.per_try, seconds)

    def cookie(
        self, lease: Lease, wanted: BackendId | None, peer: PeerInfo
    ) -> bytes | None:
        """Return what brings a client back; None if it comes already."""
        if self.affinity is None or lease.backend == wanted:
            return None
        return self.affinity.cookie(lease.target, secure=peer.tls is not None)
