"""Smooth weighted round robin, as nginx does it.

On each pick every eligible backend gains its weight, the one with most is
chosen (the first of equals), and it pays back what was handed out. Weights 5, 1,
1 so give a a b a c a a, not a a a a a b c: a heavy backend gets its share without
bursts, and over one cycle of sum(weights) picks every share is exact. See nginx
commit 52327e0627f49dbda1e8db695e63a4b0af4448b1, "Upstream: smooth weighted
round-robin balancing".

A backend that is skipped takes no part in that turn: it neither gains nor adds to
what the chosen one pays, so it does not come back with a claim to be caught up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lbproto.selection.backend import BackendState

__all__ = ["RoundRobin"]


class RoundRobin:
    """Turns of the backends of one upstream; their state is in the backends."""

    __slots__ = ("_backends",)

    def __init__(self, backends: Sequence[BackendState]) -> None:
        """Take the backends in the order of the configuration."""
        self._backends = tuple(backends)

    def pick(self, eligible: Callable[[BackendState], bool]) -> BackendState | None:
        """Choose among the eligible backends; None if there is none."""
        total = 0
        best: BackendState | None = None
        for backend in self._backends:
            if not eligible(backend):
                continue
            backend.current += backend.weight
            total += backend.weight
            if best is None or backend.current > best.current:
                best = backend
        if best is not None:
            best.current -= total
        return best
