"""Who belongs to an upstream after a reload or a new answer of DNS.

A backend is the same one if its address is: what is known of it, its counters and its
health, stays, whatever else of it has changed. What is gone finishes its exchanges
and is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from lbproto.config import Backend, Upstream
from lbproto.machine.values import value
from lbproto.selection.backend import DRAINING, FULL, BackendId, BackendState

__all__ = ["Roster", "draw_up"]


@value
class Roster:
    """The backends of one upstream, and what is new about them."""

    states: list[BackendState]
    """All, in the order of the configuration."""
    added: list[BackendState]
    removed: list[BackendState]
    changed: list[BackendState]
    """Those that are reached in another way now: idle connections are no good."""


def draw_up(
    upstream: Upstream, old: Iterable[BackendState], mint: Callable[[], BackendId]
) -> Roster:
    """Find the backends of an upstream among the old ones, and make the others."""
    known: dict[str, list[BackendState]] = {}
    for state in old:
        known.setdefault(str(state.target), []).append(state)
    roster = Roster([], [], [], [])
    for backend in upstream.backends:
        found = known.get(str(backend.target))
        if found:
            state = found.pop(0)
            ways = (state.target, state.proxy_protocol)
            _describe(state, backend, upstream)
            if ways != (state.target, state.proxy_protocol):
                roster.changed.append(state)
        else:
            state = BackendState(mint(), upstream.name, backend.target)
            _describe(state, backend, upstream)
            roster.added.append(state)
        roster.states.append(state)
    roster.removed.extend(state for states in known.values() for state in states)
    return roster


def _describe(state: BackendState, backend: Backend, upstream: Upstream) -> None:
    """Write down what the configuration says of a backend."""
    state.target = replace(backend.target, tls=upstream.tls)
    state.name = str(state.target)
    state.proxy_protocol = upstream.proxy_protocol
    state.weight = backend.weight
    state.backup = backend.backup
    most = state.max_connections = backend.max_connections
    state.barred &= ~(FULL | DRAINING)
    if backend.drain:
        state.barred |= DRAINING
    if most is not None and state.active >= most:
        state.barred |= FULL
