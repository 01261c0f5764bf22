"""What the balancer gives out: leases, news, counters."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final, Literal, NewType, TypeAlias

from lbproto.machine.effects import Log, Target
from lbproto.machine.values import ConnId, leaf, value
from lbproto.selection.backend import BackendId, BackendState
from lbproto.selection.idle import PoolKey
from lbproto.selection.waiting import Ticket

if TYPE_CHECKING:
    from lbproto.selection.standing import Standing

__all__ = [
    "STRANGER",
    "UNKNOWN",
    "BackendStats",
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


@leaf
class Lease:
    """The right to try one backend for one exchange."""

    __slots__ = (
        "answered",
        "backend",
        "failed",
        "held",
        "id",
        "idle",
        "name",
        "proxy_protocol",
        "since",
        "standing",
        "state",
        "target",
    )

    def __init__(
        self,
        id: LeaseId,
        backend: BackendId,
        target: Target,
        proxy_protocol: Literal["v1", "v2"] | None = None,
    ) -> None:
        self.id = id
        self.backend = backend
        self.target = target
        self.proxy_protocol = proxy_protocol
        """The PROXY header that its connections begin with."""
        self.name = ""
        """The target as text, where that was known."""
        self.idle: ConnId = UNKNOWN
        """A connection that came along; `NOBODY`: there is none."""
        # What only the balancer looks at.
        self.held = True
        self.state: BackendState | None = None
        self.standing: Standing | None = None
        self.since = 0.0
        self.answered = False
        self.failed = False  # the response said so itself


UNKNOWN: Final = ConnId(-1)
"""It was not looked for a connection."""

STRANGER: Final = BackendId(-1)
"""A server that belongs to no upstream."""


def pool_key(lease: Lease, preface: bytes) -> PoolKey:
    """Return what connections have in common that may serve in each other's place."""
    if lease.backend != STRANGER:
        return lease.backend, preface
    target = lease.target
    return (target.host, target.port, target.path, target.tls), preface


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
