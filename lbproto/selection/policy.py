"""What a policy is, and how to go through backends in its order.

A policy knows the backends of one upstream. Those that may be used are *in*; the
balancer calls `leave` when one becomes unhealthy, full, ejected and so on, and
`enter` when it is usable again. So `pick`, which happens for every request, has
nobody to check, and what costs time is done when something changes, which is rare.

There are two families. *Schedules* (round robin, random, least connections, the two
of two choices) hold only those that are in. *Maps* (hash, ketama, maglev) hold all,
and pass over those that are out, so that the others keep their keys.

`walk` is the order in which a policy would try backends. As with Pingora's
`UniqueIterator` a walk may repeat itself and need not end; `unique` bounds its steps
and `select` takes the first that is acceptable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Protocol

from lbproto.selection.backend import BackendState

__all__ = ["Policy", "is_usable", "select", "unique"]


class Policy(Protocol):
    """Chooses among the backends that are in; what it need not know it ignores."""

    __slots__ = ()

    def pick(self, key: bytes, now: float) -> BackendState | None:
        """Choose for a request with this key; None if nobody is in."""
        ...

    def walk(self, key: bytes, now: float) -> Iterator[BackendState]:
        """Yield backends in order of preference; may repeat, may be endless.

        Each step of a schedule is a turn; a map also yields those that are out.
        """
        ...

    def enter(self, backend: BackendState) -> None:
        """Count with a backend that is out."""
        ...

    def leave(self, backend: BackendState) -> None:
        """Do without a backend that is in."""
        ...

    def leased(self, backend: BackendState) -> None:
        """Take note that it has one lease more."""
        return

    def released(self, backend: BackendState) -> None:
        """Take note that it has one lease less."""
        return

    def ramped(self, backend: BackendState) -> None:
        """Take note that another part of its weight counts now."""
        return

    def observe(
        self, backend: BackendState, seconds: float, now: float, *, failed: bool
    ) -> None:
        """Take note of how long a response took to begin, or a failure to show."""
        return


def is_usable(backend: BackendState) -> bool:
    """Tell whether nothing speaks against a backend."""
    return not backend.barred


def unique(walk: Iterator[BackendState], max_iterations: int) -> Iterator[BackendState]:
    """Yield each backend of a walk once; a repetition is a step too."""
    seen: dict[int, None] = {}
    for backend in islice(walk, max_iterations):
        if backend.id not in seen:
            seen[backend.id] = None
            yield backend


def select(
    policy: Policy,
    key: bytes,
    max_iterations: int,
    now: float,
    accept: Callable[[BackendState], bool] = is_usable,
) -> BackendState | None:
    """Return the first backend in a policy's order that is acceptable.

    None if there is none in `max_iterations` steps, as Pingora's `select_with`.
    """
    for backend in unique(policy.walk(key, now), max_iterations):
        if accept(backend):
            return backend
    return None
