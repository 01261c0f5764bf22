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
that reads or changes its state holds `env.guard`, a leaf lock: nothing is called
from under it that could want it again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from lbproto.config import Config, HashOn, Upstream
from lbproto.machine.effects import Level, Target
from lbproto.machine.env import Env
from lbproto.machine.errors import LocalProtocolError
from lbproto.machine.values import ConnId
from lbproto.selection.backend import RESTING, BackendId
from lbproto.selection.group import Group
from lbproto.selection.leases import (
    STRANGER,
    BackendStats,
    Held,
    Lease,
    LeaseId,
    Members,
    News,
    Outcome,
    Stats,
    counted,
    pool_key,
)
from lbproto.selection.outliers import blames_itself
from lbproto.selection.pool import IdlePool
from lbproto.selection.roster import draw_up
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


class Balancer:
    """Chooses backends, counts leases and keeps idle connections."""

    __slots__ = (
        "_backends",
        "_env",
        "_held",
        "_last",
        "_leases",
        "_pool",
        "_standings",
        "_strangers",
        "_where",
    )

    def __init__(self, config: Config, env: Env) -> None:
        """Start with every backend healthy and rested, and no idle connection."""
        self._env = env
        self._backends = 0
        self._standings: dict[str, Standing] = {}
        self._pool = IdlePool(config.upstream_keepalive_pool_size)
        self._held: dict[LeaseId, Held] = {}
        self._strangers: dict[LeaseId, None] = {}
        self._last = 0
        self._leases = 0
        for name, upstream in config.upstreams.items():
            self._standings[name] = self._found(upstream)
        self._look_around()

    def mint(self) -> ConnId:
        """Return a new connection id: 1, 2, 3, ..."""
        with self._env.guard:
            self._last += 1
            return ConnId(self._last)

    def _mint_backend(self) -> BackendId:
        self._backends += 1
        return BackendId(self._backends - 1)

    def _found(self, upstream: Upstream) -> Standing:
        states = draw_up(upstream, (), self._mint_backend).states
        return Standing(Group(upstream, states, self._env.random))

    def _look_around(self) -> None:
        """See anew who is where."""
        self._where = {
            state.id: standing
            for standing in self._standings.values()
            for state in standing.group.backends
        }

    # -- leases ----------------------------------------------------------------

    def hash_on(self, upstream: str) -> HashOn | None:
        """Return what the key of a request is made of; None: no key is needed."""
        with self._env.guard:
            standing = self._standings.get(upstream)
            if standing is None or not standing.group.keyed:
                return None
            return standing.group.upstream.hash_on

    def members(self, upstream: str) -> Members:
        """Return the backends of an upstream; the same object until they change."""
        with self._env.guard:
            standing = self._standings.get(upstream)
            return () if standing is None else standing.group.members

    def lease(
        self,
        upstream: str,
        tried: Sequence[BackendId],
        now: float,
        key: bytes = b"",
        ticket: Ticket | None = None,
        *,
        prefer: BackendId | None = None,
    ) -> Lease | None:
        """Choose a backend that was not tried yet; None if there is none.

        It is the preferred one, if nothing bars that. Those that rest are chosen only
        when there is no other. Without a called ticket there is none either while
        others wait; with one, it is used up. An unknown upstream has no backends.
        """
        with self._env.guard:
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
            lease = Lease(
                LeaseId(self._leases),
                backend.id,
                backend.target,
                backend.proxy_protocol,
            )
            self._held[lease.id] = Held(backend, standing, now)
            return lease

    def lease_at(
        self, target: Target, proxy_protocol: Literal["v1", "v2"] | None
    ) -> Lease:
        """Lease a server that belongs to no upstream; whoever asks has chosen it."""
        with self._env.guard:
            self._leases += 1
            lease = Lease(LeaseId(self._leases), STRANGER, target, proxy_protocol)
            self._strangers[lease.id] = None
            return lease

    def resume(self, lease: Lease, now: float) -> None:
        """Count from now how long a backend takes: its lease was held in a pause."""
        with self._env.guard:
            self._held[lease.id].since = now

    def responded(self, lease: Lease, status: int, now: float) -> None:
        """Note that the head of a response has come, and what it says."""
        with self._env.guard:
            held = self._held.get(lease.id)
            if held is not None and not held.answered:
                held.answered = True
                held.failed = blames_itself(status)
                self._observe(held, now, failed=held.failed)

    def release(self, lease: Lease, outcome: Outcome, now: float) -> News:
        """Give a lease back, exactly once.

        Raises:
            LocalProtocolError: it is not held.
        """
        with self._env.guard:
            held = self._held.pop(lease.id, None)
            if held is None and lease.id in self._strangers:
                del self._strangers[lease.id]
                return News([], [])
            if held is None:
                raise LocalProtocolError(f"lease {lease.id} is not held")
            backend, standing = held.backend, held.standing
            blamed = outcome in (Outcome.CONNECT_FAILED, Outcome.FAILED)
            if blamed:
                backend.failures += 1
            if backend.id not in self._where:
                backend.active -= 1
                return self._news(standing)
            if not held.answered and outcome is not Outcome.OK:
                self._observe(held, now, failed=blamed)
            standing.group.released(backend)
            if outcome is Outcome.CONNECT_FAILED:
                until = backend.rests_until = now + CONNECT_FAILURE_REST
                standing.group.bar_until(backend, RESTING, until)
            if blamed or held.failed:
                standing.failed(backend, now)
            elif outcome is Outcome.OK:
                backend.streak = 0
            return self._news(standing)

    def _observe(self, held: Held, now: float, *, failed: bool) -> None:
        """Tell the policy how long it took, or that it took too long to wait."""
        backend, seconds = held.backend, now - held.since
        if held.answered or failed or seconds > (backend.latency or math.inf):
            held.standing.group.observe(backend, seconds, now, failed=failed)

    # -- waiting for one that is full -------------------------------------------

    def wait(
        self, upstream: str, tried: Sequence[BackendId], now: float
    ) -> Ticket | None:
        """Queue for a backend, after a lease was refused.

        None if waiting is no use, since no backend would do if only it had room, or
        if the queue is full.
        """
        with self._env.guard:
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
        with self._env.guard:
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

    # -- what others know --------------------------------------------------------

    def set_health(
        self, backend: BackendId, healthy: bool, now: float, reason: str
    ) -> News:
        """Believe that a backend is healthy or not; a backend that left is nobody."""
        with self._env.guard:
            standing = self._where.get(backend)
            if standing is None:
                return News([], [])
            state = standing.group.find(backend)
            standing.set_health(state, healthy, now, reason)
            return self._news(standing)

    def set_draining(self, backend: BackendId, draining: bool, reason: str) -> News:
        """Give a backend nothing new, or something again."""
        with self._env.guard:
            standing = self._where.get(backend)
            if standing is None:
                return News([], [])
            standing.set_draining(standing.group.find(backend), draining, reason)
            return self._news(standing)

    def update(self, upstreams: Mapping[str, Upstream], now: float) -> News:
        """Have these upstreams from now on; what is known of those that stay, stays.

        Leases of what is gone are released as ever; its idle connections expire.
        """
        news = News([], [])
        with self._env.guard:
            for name in [name for name in self._standings if name not in upstreams]:
                for state in self._standings.pop(name).group.backends:
                    self._pool.evict(state.id)
            for name, upstream in upstreams.items():
                standing = self._standings.get(name)
                if standing is None:
                    self._standings[name] = self._found(upstream)
                elif standing.group.upstream != upstream:
                    self._renew(standing, upstream, now)
                    fresh = self._news(standing)
                    news.log.extend(fresh.log)
                    news.called.extend(fresh.called)
            # Whoever asks for the counters sees the order of the configuration.
            self._standings = {name: self._standings[name] for name in upstreams}
            self._look_around()
        return news

    def _renew(self, standing: Standing, upstream: Upstream, now: float) -> None:
        group = standing.group
        group.disband()
        roster = draw_up(upstream, group.backends, self._mint_backend)
        group.arrange(upstream, roster.states)
        for state in (*roster.removed, *roster.changed):
            self._pool.evict(state.id)
        for state in roster.added:
            group.start_slowly(state, now)
            standing.say(Level.INFO, "backend added", "configuration", state)
        for state in roster.removed:
            standing.say(Level.INFO, "backend removed", "configuration", state)
        standing.judge()

    def _news(self, standing: Standing) -> News:
        log, standing.news = standing.news, []
        called, standing.group.called = standing.group.called, []
        return News(log, called)

    # -- idle connections --------------------------------------------------------

    def checkout(self, lease: Lease, preface: bytes = b"") -> ConnId | None:
        """Take the idle connection that was parked last.

        It leads to the leased backend and was opened with this preface.
        """
        with self._env.guard:
            return self._pool.checkout(pool_key(lease, preface))

    def park(
        self, lease: Lease, conn: ConnId, expires: float, preface: bytes = b""
    ) -> bool:
        """Keep an idle connection until `expires`.

        False if there is no room at all, or its backend has gone or changed.

        Raises:
            LocalProtocolError: it is parked already.
        """
        with self._env.guard:
            if not self._is_as_leased(lease):
                return False
            return self._pool.park(pool_key(lease, preface), conn, expires)

    def _is_as_leased(self, lease: Lease) -> bool:
        """Tell whether a backend is still there, and reached in the same way."""
        standing = self._where.get(lease.backend)
        if standing is None:
            return lease.backend == STRANGER
        state = standing.group.find(lease.backend)
        same = state.target is lease.target or state.target == lease.target
        return same and state.proxy_protocol == lease.proxy_protocol

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
            known = self._standings.values()
            backends = (one for it in known for one in it.group.backends)
            active = len(self._held) + len(self._strangers)
            return Stats(active, len(self._pool), tuple(map(counted, backends)))
