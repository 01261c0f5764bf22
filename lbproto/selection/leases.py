"""What the balancer gives out: leases, news, counters."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final, Literal, NewType, TypeAlias

from lbproto.machine.effects import Log, Target
from lbproto.machine.values import value
from lbproto.selection.backend import BackendId, BackendState
from lbproto.selection.pool import PoolKey
from lbproto.selection.waiting import Ticket

if TYPE_CHECKING:
    from lbproto.selection.standing import Standing

__all__ = [
    "STRANGER",
    "BackendStats",
    "Held",
    "Lease",
    "LeaseId",
    "Members",
    "News",
    "Outcome",
    "Stats",
    "counted",
    "pool_key",
]

Members: TypeAlias = tuple[tuple[BackendId, Target], ...]
"""Who the backends of an upstream are."""

LeaseId = NewType("LeaseId", int)
"""One lease; unique in the process, never reused."""


class Outcome(Enum):
    """How a lease ended."""

    OK = auto()
    CONNECT_FAILED = auto()
    """No connection could be made, by the backend's fault."""
    FAILED = auto()
    """The backend broke off, was silent too long, or broke the protocol."""
    ABANDONED = auto()
    """The client left, or we gave up; the backend is not to blame."""


@value
class Lease:
    """The right to try one backend for one exchange."""

    id: LeaseId
    backend: BackendId
    target: Target
    proxy_protocol: Literal["v1", "v2"] | None = None
    """The PROXY header that its connections begin with."""


STRANGER: Final = BackendId(-1)
"""A server that belongs to no upstream."""


def pool_key(lease: Lease, preface: bytes) -> PoolKey:
    """Return what connections have in common that may serve in each other's place."""
    if lease.backend != STRANGER:
        return lease.backend, preface
    target = lease.target
    return (target.host, target.port, target.path, target.tls), preface


class Held:
    """A lease that is held, of a backend of an upstream."""

    __slots__ = ("answered", "backend", "failed", "since", "standing")

    def __init__(self, backend: BackendState, standing: Standing, since: float) -> None:
        self.backend = backend
        self.standing = standing
        self.since = since
        self.answered = False
        self.failed = False
        """The response said so itself."""


@value
class News:
    """What has changed at a call, for the machine that called."""

    log: list[Log]
    """Effects to return."""
    called: list[Ticket]
    """Those whose turn it is now to lease."""


@value
class BackendStats:
    """The counters of one backend."""

    id: BackendId
    upstream: str
    target: Target
    active: int
    """Leases that are held now."""
    leases: int
    """Leases that were ever given."""
    failures: int
    """Leases that ended by the backend's fault."""
    barred: int = 0
    """Why it gets no requests: bits of `selection.backend`; 0: it gets some."""


def counted(state: BackendState) -> BackendStats:
    """Return the counters of a backend as they stand."""
    return BackendStats(
        id=state.id,
        upstream=state.upstream,
        target=state.target,
        active=state.active,
        leases=state.leases,
        failures=state.failures,
        barred=state.barred,
    )


@value
class Stats:
    """The counters of one process."""

    active: int
    """Leases that are held now."""
    idle: int
    """Parked connections."""
    backends: tuple[BackendStats, ...]
    """In the order of the configuration."""
