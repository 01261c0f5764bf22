"""What a probe found, and when findings change a mind.

As in Pingora, one finding that contradicts the state is counted, and so many of them
in a row change it; one that confirms it starts the count anew. A backend of which
nothing is known yet is taken as healthy.
"""

from __future__ import annotations

from lbproto.machine.values import value

__all__ = ["Finding", "Health"]


@value
class Finding:
    """What one probe found."""

    healthy: bool
    reason: str
    """What went wrong, in a few words; empty if nothing did."""


class Health:
    """What is believed of one backend."""

    __slots__ = ("_count", "healthy")

    def __init__(self, *, healthy: bool = True) -> None:
        self.healthy = healthy
        self._count = 0

    def observe(self, healthy: bool, healthy_after: int, unhealthy_after: int) -> bool:
        """Take a finding; tell whether it changed the state.

        The thresholds are findings in a row, and at least 1.
        """
        if healthy == self.healthy:
            self._count = 0
            return False
        self._count += 1
        if self._count < (healthy_after if healthy else unhealthy_after):
            return False
        self.healthy = healthy
        self._count = 0
        return True
