"""How loaded a backend is, for the policies that compare loads.

Exchanges in flight per weight, as nginx's `least_conn` and HAProxy's `leastconn`
count. A backend that starts slowly has only a part of its weight, and looks as if a
part of an exchange were in flight even when none is: with a tenth of its weight and
nothing to do it is as loaded as one with nine exchanges, so those that idle go
before it, and it gets its tenth when the others are busy.
"""

from __future__ import annotations

from lbproto.selection.backend import BackendState

__all__ = ["load"]


def load(backend: BackendState) -> float:
    """Return the exchanges in flight per weight, counting the slow start in."""
    ramp = backend.ramp
    if ramp == 1.0:
        return backend.active / backend.weight
    return (backend.active + 1.0 - ramp) / (backend.weight * ramp)
