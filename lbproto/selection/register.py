"""Which upstreams there are, and how their backends stand.

The part of the balancer that everybody tells who knows something: probes, operators,
a new configuration. What happens is `News` to whoever called: log lines, and whose
turn it is. All of it holds the guard, as the balancer does.
"""

from __future__ import annotations

from collections.abc import Mapping

from lbproto.config import Config, HashOn, Upstream
from lbproto.machine.effects import Level
from lbproto.machine.env import Env
from lbproto.machine.guard import Guard
from lbproto.selection.backend import BackendId
from lbproto.selection.group import Group
from lbproto.selection.leases import Members, News, Stats, counted
from lbproto.selection.pool import IdlePool
from lbproto.selection.roster import draw_up
from lbproto.selection.standing import Standing

__all__ = ["Register"]


class Register:
    """The upstreams of a process, and their idle connections."""

    __slots__ = (
        "_active",
        "_backends",
        "_guard",
        "_pool",
        "_random",
        "_standings",
        "_where",
    )

    def __init__(self, config: Config, env: Env) -> None:
        """Start with every backend healthy and rested, and no idle connection."""
        self._guard = Guard(env.guard)
        self._random = env.random
        self._active = 0
        self._backends = 0
        self._pool = IdlePool(config.upstream_keepalive_pool_size)
        self._standings: dict[str, Standing] = {}
        for name, upstream in config.upstreams.items():
            self._standings[name] = self._found(upstream)
        self._look_around()

    def _mint_backend(self) -> BackendId:
        self._backends += 1
        return BackendId(self._backends - 1)

    def _found(self, upstream: Upstream) -> Standing:
        states = draw_up(upstream, (), self._mint_backend).states
        return Standing(Group(upstream, states, self._random))

    def _look_around(self) -> None:
        """See anew who is where."""
        self._where = {
            state.id: standing
            for standing in self._standings.values()
            for state in standing.group.backends
        }

    def hash_on(self, upstream: str) -> HashOn | None:
        """Return what the key of a request is made of; None: no key is needed."""
        standing = self._standings.get(upstream)
        return None if standing is None else standing.group.hash_on

    def members(self, upstream: str) -> Members:
        """Return the backends of an upstream; the same object until they change."""
        with self._guard:
            standing = self._standings.get(upstream)
            return () if standing is None else standing.group.members

    def set_health(
        self, backend: BackendId, healthy: bool, now: float, reason: str
    ) -> News:
        """Believe that a backend is healthy or not; a backend that left is nobody."""
        with self._guard:
            standing = self._where.get(backend)
            if standing is None:
                return News([], [])
            state = standing.group.find(backend)
            standing.set_health(state, healthy, now, reason)
            return self._news(standing)

    def set_draining(self, backend: BackendId, draining: bool, reason: str) -> News:
        """Give a backend nothing new, or something again."""
        with self._guard:
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
        with self._guard:
            for name in [name for name in self._standings if name not in upstreams]:
                for state in self._standings.pop(name).group.backends:
                    state.gone = True
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
            state.gone = True
            standing.say(Level.INFO, "backend removed", "configuration", state)
        standing.judge()

    def _news(self, standing: Standing) -> News:
        log, standing.news = standing.news, []
        called, standing.group.called = standing.group.called, []
        return News(log, called)

    def stats(self) -> Stats:
        """Return the counters as they stand."""
        with self._guard:
            known = self._standings.values()
            backends = (one for it in known for one in it.group.backends)
            return Stats(self._active, len(self._pool), tuple(map(counted, backends)))
