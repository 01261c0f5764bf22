"""What all connections of a process share: turns, leases, idle connections.

A lease is the right to try one backend for one exchange; it is given back exactly
once, with its outcome, and that is all the balancer learns of an exchange. A
backend to which no connection could be made rests for a moment: as with nginx's
`fail_timeout` it is passed over while another will do, so that a dead backend
does not cost every other request a failed dial; when all rest, all are used.

Connections call this object directly and many threads may share it. Everything
that reads or changes its state holds `env.guard`, a leaf lock: nothing is called
from under it that could want it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import Final, Literal, NewType, TypeAlias

from lbproto.config import Config
from lbproto.machine.effects import Target
from lbproto.machine.env import Env
from lbproto.machine.errors import LocalProtocolError
from lbproto.machine.values import ConnId, value
from lbproto.selection.backend import BackendId, BackendState
from lbproto.selection.pool import IdlePool
from lbproto.selection.round_robin import RoundRobin

__all__ = [
    "CONNECT_FAILURE_REST",
    "BackendStats",
    "Balancer",
    "Lease",
    "LeaseId",
    "Members",
    "Outcome",
    "Stats",
]

CONNECT_FAILURE_REST: Final = 1.0
"""Seconds for which a backend rests after a failed dial."""

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


@value
class Stats:
    """The counters of one process."""

    active: int
    """Leases that are held now."""
    idle: int
    """Parked connections."""
    backends: tuple[BackendStats, ...]
    """In the order of the configuration."""


class Balancer:
    """Chooses backends, counts leases and keeps idle connections."""

    __slots__ = (
        "_backends",
        "_env",
        "_held",
        "_last",
        "_leases",
        "_members",
        "_policies",
        "_pool",
    )

    def __init__(self, config: Config, env: Env) -> None:
        """Start with every backend rested and no idle connection."""
        self._env = env
        self._backends: list[BackendState] = []
        self._members: dict[str, Members] = {}
        self._policies: dict[str, RoundRobin] = {}
        for name, upstream in config.upstreams.items():
            first = len(self._backends)
            self._backends += [
                BackendState(
                    BackendId(at),
                    name,
                    replace(backend.target, tls=upstream.tls),
                    backend.weight,
                    upstream.proxy_protocol,
                )
                for at, backend in enumerate(upstream.backends, first)
            ]
            self._policies[name] = RoundRobin(self._backends[first:])
            self._members[name] = tuple(
                (one.id, one.target) for one in self._backends[first:]
            )
        self._pool = IdlePool(config.upstream_keepalive_pool_size)
        self._held: dict[LeaseId, BackendState] = {}
        self._last = 0
        self._leases = 0

    def mint(self) -> ConnId:
        """Return a new connection id: 1, 2, 3, ..."""
        with self._env.guard:
            self._last += 1
            return ConnId(self._last)

    def members(self, upstream: str) -> Members:
        """Return the backends of an upstream; the same object until they change."""
        return self._members.get(upstream, ())

    def lease(
        self,
        upstream: str,
        tried: Sequence[BackendId],
        now: float,
        *,
        prefer: BackendId | None = None,
    ) -> Lease | None:
        """Choose a backend that was not tried yet; None if there is none.

        It is the preferred one, if that can be chosen. Those that rest are chosen only
        when there is no other. An unknown upstream has no backends.
        """
        with self._env.guard:
            policy = self._policies.get(upstream)
            if policy is None:
                return None
            backend = None
            if prefer is not None:
                backend = policy.pick(
                    lambda one: one.id == prefer and one.rests_until <= now
                )
            backend = (
                backend
                or policy.pick(
                    lambda one: one.rests_until <= now and one.id not in tried
                )
                or policy.pick(lambda one: one.id not in tried)
            )
            if backend is None:
                return None
            backend.active += 1
            backend.leases += 1
            self._leases += 1
            lease = Lease(
                LeaseId(self._leases),
                backend.id,
                backend.target,
                backend.proxy_protocol,
            )
            self._held[lease.id] = backend
            return lease

    def release(self, lease: Lease, outcome: Outcome, now: float) -> None:
        """Give a lease back, exactly once.

        Raises:
            LocalProtocolError: it is not held.
        """
        with self._env.guard:
            backend = self._held.pop(lease.id, None)
            if backend is None:
                raise LocalProtocolError(f"lease {lease.id} is not held")
            backend.active -= 1
            if outcome in (Outcome.CONNECT_FAILED, Outcome.FAILED):
                backend.failures += 1
            if outcome is Outcome.CONNECT_FAILED:
                backend.rests_until = now + CONNECT_FAILURE_REST

    def checkout(self, lease: Lease, preface: bytes = b"") -> ConnId | None:
        """Take the idle connection that was parked last.

        It leads to the leased backend and was opened with this preface.
        """
        with self._env.guard:
            return self._pool.checkout((lease.backend, preface))

    def park(
        self, lease: Lease, conn: ConnId, expires: float, preface: bytes = b""
    ) -> bool:
        """Keep an idle connection until `expires`; false if there is no room at all.

        Raises:
            LocalProtocolError: it is parked already.
        """
        with self._env.guard:
            return self._pool.park((lease.backend, preface), conn, expires)

    def forget(self, conn: ConnId) -> bool:
        """Drop an idle connection; tell whether it was one."""
        with self._env.guard:
            return self._pool.forget(conn)

    def expire(self, now: float) -> list[ConnId]:
        """Drop the idle connections whose time has come, and return them."""
        with self._env.guard:
            return self._pool.expire(now)

    @property
    def pool_deadline(self) -> float:
        """When the next idle connection expires; infinity if none does."""
        with self._env.guard:
            return self._pool.deadline

    def stats(self) -> Stats:
        """Return the counters as they stand."""
        with self._env.guard:
            return Stats(
                active=len(self._held),
                idle=len(self._pool),
                backends=tuple(
                    BackendStats(
                        id=one.id,
                        upstream=one.upstream,
                        target=one.target,
                        active=one.active,
                        leases=one.leases,
                        failures=one.failures,
                    )
                    for one in self._backends
                ),
            )
