"""The policies by the names that a configuration gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from lbproto.config import PolicyName
from lbproto.selection.backend import BackendState
from lbproto.selection.chooser import Chooser
from lbproto.selection.fnv_hash import FnvHash
from lbproto.selection.ketama import Ketama
from lbproto.selection.least_connections import LeastConnections
from lbproto.selection.maglev import Maglev
from lbproto.selection.p2c import P2C
from lbproto.selection.peak_ewma import PeakEwma
from lbproto.selection.round_robin import RoundRobin
from lbproto.selection.weighted_random import Random

__all__ = ["KEYED", "OBSERVES", "WEIGHS_RAMPS", "make_policy"]

KEYED: Final = frozenset({"hash", "ketama", "maglev"})
"""These give a key its backend; the others do not look at it."""

WEIGHS_RAMPS: Final = frozenset({"least_connections", "p2c", "peak_ewma"})
"""These count a slow start as a part of the load; the others know nothing of it."""

OBSERVES: Final = frozenset({"peak_ewma"})
"""These go by how long responses take to begin."""


def make_policy(
    name: PolicyName,
    backends: Sequence[BackendState],
    random: Callable[[], float],
    balance_factor: int | None = None,
) -> Chooser:
    """Make the policy of a name, with all backends in.

    `random` gives numbers in [0, 1); `balance_factor` is a percentage above 100, for
    ketama and maglev.
    """
    match name:
        case "round_robin":
            return RoundRobin(backends)
        case "random":
            return Random(backends, random)
        case "least_connections":
            return LeastConnections(backends)
        case "p2c":
            return P2C(backends, random)
        case "peak_ewma":
            return PeakEwma(backends, random)
        case "hash":
            return FnvHash(backends)
        case "ketama":
            return Ketama(backends, balance_factor)
    return Maglev(backends, balance_factor)
