"""What all connections of a process share: backends, leases, idle connections.

A lease is the right to try one backend for one exchange; it is given back exactly
once, with its outcome, and that, with the status of the response, is all the balancer
learns of an exchange. A backend to which no connection could be made rests for a
moment: as with nginx's `fail_timeout` it is passed over while another will do, so that
a dead backend does not cost every other request a failed dial; when all rest, all are
used.

Who is chosen is decided in the `group` of an upstream, who is well in its `standing`.
What happens there is `News` to whoever called: log lines, and whose turn it is.

Connections call this object directly and many threads may share it. Everything
that changes its state, or reads more of it than one thing, holds `env.guard`, a leaf
lock: nothing is called from under it that could want it again. An exchange on a kept
connection takes it twice: for a backend with its connection, and to give both back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

from lbproto.config import Config
from lbproto.machine.effects import Effect, Target
from lbproto.machine.env import Env
from lbproto.machine.errors import LocalProtocolError
from lbproto.machine.values import ConnId
from lbproto.selection.backend import RESTING, BackendId, BackendState
from lbproto.selection.group import Group
from lbproto.selection.idle import Stack
from lbproto.selection.leases import (
    STRANGER,
    BackendStats,
    Lease,
    LeaseId,
    Members,
    News,
    Outcome,
    Stats,
    pool_key,
)
from lbproto.selection.outliers import blames_itself
from lbproto.selection.register import Register
from lbproto.selection.standing import Standing
from lbproto.selection.waiting import Ticket

__all__ = [
    "CONNECT_FAILURE_REST",
    "BackendStats",
    "Balancer",
    "Lease",
    "LeaseId",
    "Members",
    "News",
    "Outcome",
    "Stats",
]

CONNECT_FAILURE_REST: Final = 1.0
"""Seconds for which a backend rests after a failed dial."""


class Balancer(Register):
    """Chooses backends, counts leases and keeps idle connections."""

    __slots__ = ("_last", "_leases")

    def __init__(self, config: Config, env: Env) -> None:
        """Start with every backend healthy and rested, and no idle connection."""
        super().__init__(config, env)
        self._last = 0
        self._leases = 0

    def mint(self) -> ConnId:
        """Return a new connection id: 1, 2, 3, ..."""
        with self._guard:
            self._last += 1
            return ConnId(self._last)

    # -- leases ----------------------------------------------------------------

    def lease(
        self,
        upstream: str,
        tried: Sequence[BackendId],
        now: float,
        key: bytes = b"",
        ticket: Ticket | None = None,
        prefer: BackendId | None = None,
        *,
        idle: bool = False,
    ) -> Lease | None:
        """Choose a backend that was not tried yet; None if there is none.

        It is the preferred one, if nothing bars that. Those that rest are chosen only
        when there is no other. Without a called ticket there is none either while
        others wait; with one, it is used up. An unknown upstream has no backends.
        With `idle` a connection that is kept comes along in `Lease.idle`, unless
        connections to this backend begin with a PROXY header.
        """
        with self._guard:
            standing = self._standings.get(upstream)
            if standing is None:
                return None
            group = standing.group
            if now >= group.due:
                standing.recover(now)
            if len(group.queue) and not self._is_next(group, ticket, now):
                return None
            backend = None
            if prefer is not None and prefer not in tried:
                backend = group.usable(prefer)
            if backend is None:
                backend = group.choose(key, tried, now)
            if backend is None:
                return None
            if ticket is not None:
                group.queue.leave(ticket)
            group.leased(backend)
            self._leases += 1
            self._active += 1
            proxy_protocol = backend.proxy_protocol
            lease = Lease(
                LeaseId(self._leases), backend.id, backend.target, proxy_protocol
            )
            lease.name = backend.name
            lease.state = backend
            lease.standing = standing
            lease.since = now
            stack = backend.idle
            if idle and stack is not None and proxy_protocol is None:
                lease.idle = self._pool.take(stack)
            return lease

    def lease_at(
        self, target: Target, proxy_protocol: Literal["v1", "v2"] | None
    ) -> Lease:
        """Lease a server that belongs to no upstream; whoever asks has chosen it."""
        with self._guard:
            self._leases += 1
            self._active += 1
            lease = Lease(LeaseId(self._leases), STRANGER, target, proxy_protocol)
        lease.name = str(target)
        return lease

    def resume(self, lease: Lease, now: float) -> None:
        """Count from now how long a backend takes: its lease was held in a pause."""
        lease.since = now

    def responded(self, lease: Lease, status: int, now: float) -> None:
        """Note that the head of a response has come, and what it says."""
        standing = lease.standing
        if standing is None or lease.answered:
            return
        lease.answered = True
        lease.failed = blames_itself(status)
        if standing.group.observes:
            with self._guard:
                self._observe(lease, standing, now, failed=lease.failed)

    def release(self, lease: Lease, outcome: Outcome, now: float) -> News:
        """Give a lease back, exactly once.

        Raises:
            LocalProtocolError: it is not held.
        """
        with self._guard:
            self._release(lease, outcome, now)
            standing = lease.standing
            return News([], []) if standing is None else self._news(standing)

    def give_back(
        self,
        lease: Lease,
        conn: ConnId,
        expires: float,
        preface: bytes,
        now: float,
        out: list[Effect],
    ) -> bool:
        """Release a lease that went well, and `park` its connection.

        Adds log lines to `out`; tells whether the connection is kept.

        Raises:
            LocalProtocolError: the lease is not held, or the connection parked already.
        """
        with self._guard:
            self._release(lease, Outcome.OK, now)
            standing = lease.standing
            if standing is not None and (standing.news or standing.group.called):
                out.extend(self._news(standing).log)
            return self._park(lease, conn, expires, preface)

    def _release(self, lease: Lease, outcome: Outcome, now: float) -> None:
        if not lease.held:
            raise LocalProtocolError(f"lease {lease.id} is not held")
        lease.held = False
        self._active -= 1
        backend, standing = lease.state, lease.standing
        if backend is None or standing is None:
            return
        blamed = outcome is Outcome.CONNECT_FAILED or outcome is Outcome.FAILED
        if blamed:
            backend.failures += 1
        if backend.gone:
            backend.active -= 1
            return
        ok = outcome is Outcome.OK
        if not lease.answered and not ok:
            self._observe(lease, standing, now, failed=blamed)
        standing.group.released(backend)
        if outcome is Outcome.CONNECT_FAILED:
            until = backend.rests_until = now + CONNECT_FAILURE_REST
            standing.group.bar_until(backend, RESTING, until)
        if blamed or lease.failed:
            standing.failed(backend, now)
        elif ok:
            backend.streak = 0

    def _observe(
        self, lease: Lease, standing: Standing, now: float, *, failed: bool
    ) -> None:
        """Tell the policy how long it took, or that it took too long to wait."""
        backend, seconds = lease.state, now - lease.since
        assert backend is not None, "it has a standing"
        if lease.answered or failed or seconds > (backend.latency or math.inf):
            standing.group.observe(backend, seconds, now, failed=failed)

    # -- waiting for one that is full -------------------------------------------

    def wait(
        self, upstream: str, tried: Sequence[BackendId], now: float
    ) -> Ticket | None:
        """Queue for a backend, after a lease was refused.

        None if waiting is no use, since no backend would do if only it had room, or
        if the queue is full.
        """
        with self._guard:
            standing = self._standings.get(upstream)
            if standing is None:
                return None
            group = standing.group
            group.queue.expire(now)
            if not len(group.queue) and not group.is_full(tried):
                return None
            return group.queue.join(now)

    def give_up(self, ticket: Ticket) -> News:
        """Leave the queue: the client is gone, or the ticket's time is over."""
        with self._guard:
            standing = self._standings.get(ticket.upstream)
            if standing is None:
                return News([], [])
            if standing.group.queue.leave(ticket):
                standing.group.call()
            return self._news(standing)

    def _is_next(self, group: Group, ticket: Ticket | None, now: float) -> bool:
        if group.queue.expire(now):
            group.call()
        called = ticket is not None and group.queue.is_called(ticket)
        return called or not len(group.queue)

    # -- idle connections --------------------------------------------------------

    def checkout(self, lease: Lease, preface: bytes = b"") -> ConnId | None:
        """Take the idle connection that was parked last.

        It leads to the leased backend and was opened with this preface.
        """
        with self._guard:
            stack = self._stack(lease, preface)
            if stack is not None:
                return self._pool.take(stack) or None
            return self._pool.checkout(pool_key(lease, preface))

    def park(
        self, lease: Lease, conn: ConnId, expires: float, preface: bytes = b""
    ) -> bool:
        """Keep an idle connection until `expires`.

        False if there is no room at all, or its backend has gone or changed.

        Raises:
            LocalProtocolError: it is parked already.
        """
        with self._guard:
            return self._park(lease, conn, expires, preface)

    def _park(self, lease: Lease, conn: ConnId, expires: float, preface: bytes) -> bool:
        state = lease.state
        if state is not None and not _is_as_leased(state, lease):
            return False
        stack = self._stack(lease, preface)
        if stack is not None:
            return self._pool.put(stack, conn, expires)
        return self._pool.park(pool_key(lease, preface), conn, expires)

    def _stack(self, lease: Lease, preface: bytes) -> Stack | None:
        """Return the stack of a backend's connections that began with nothing."""
        state = lease.state
        if state is None or len(preface):
            return None
        stack = state.idle
        if stack is None:
            stack = state.idle = Stack((state.id, b""), lasting=True)
        return stack

    def forget(self, conn: ConnId) -> bool:
        """Drop an idle connection; tell whether it was one."""
        with self._guard:
            return self._pool.forget(conn)

    def expire(self, now: float) -> list[ConnId]:
        """Drop the idle connections whose time has come, and return them."""
        with self._guard:
            return self._pool.expire(now)

    @property
    def pool_deadline(self) -> float:
        """When the next idle connection expires; infinity if none does."""
        with self._guard:
            return self._pool.deadline


def _is_as_leased(state: BackendState, lease: Lease) -> bool:
    """Tell whether a backend is still there, and reached in the same way."""
    if state.gone or state.proxy_protocol != lease.proxy_protocol:
        return False
    return state.target is lease.target or state.target == lease.target
