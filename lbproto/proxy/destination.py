"""What all connections share about one upstream, beside its backends."""

from __future__ import annotations

from lbproto.config import Upstream
from lbproto.machine.env import Env
from lbproto.proxy.affinity import Affinity
from lbproto.proxy.budget import RetryBudget

__all__ = ["Destination"]


class Destination:
    """An upstream at work: when a request goes out again, and who comes back."""

    __slots__ = ("_budget", "affinity", "name", "retry")

    def __init__(self, upstream: Upstream, env: Env) -> None:
        self.name = upstream.name
        self.retry = upstream.retry
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
