"""A set of backends of which a program chooses: Pingora's `LoadBalancer`.

It answers one question, `select`, and is told everything else: which backends there
are (`update`), which are well (`set_health`), and, by those whose policy cares, what
became of a choice (`leased`, `released`, `observe`). Nothing happens by itself. The
attributes say how it wants to be looked after; a server, or `Upkeep` in an event loop
of one's own, does it.

A choice takes no time: `observe` brings the time along, and the policies that forget
go by the last time that was told.

Backends that are not ready are out of the policy, so that a choice passes over nobody,
however many are down. A program that decides by itself what is acceptable
(`select_with`) has to see all of them: from its first call on all are in, and each step
of a choice asks, as in Pingora.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from typing import TypeAlias, cast, overload

from lbproto.config import Backend, Upstream
from lbproto.selection.addresses import Address, backend_of, backends_of
from lbproto.selection.backend import DRAINING, UNHEALTHY, BackendId, BackendState
from lbproto.selection.chance import Draws
from lbproto.selection.checks import (
    AnyCheck,
    ServiceDiscovery,
    StaticDiscovery,
    description,
)
from lbproto.selection.members import MAX_STEPS
from lbproto.selection.p2c import P2C
from lbproto.selection.peak_ewma import PeakEwma
from lbproto.selection.policy import Policy, select
from lbproto.selection.roster import draw_up
from lbproto.selection.round_robin import RoundRobin
from lbproto.selection.weighted_random import Random

__all__ = ["LoadBalancer", "PolicyClass"]

PolicyClass: TypeAlias = (
    Callable[[Sequence[BackendState]], Policy]
    | type[Random]
    | type[P2C]
    | type[PeakEwma]
)
"""What makes a policy of backends: a class of ours, or one's own that takes them."""


class LoadBalancer:
    """Backends, how they fare, and a policy that chooses one."""

    def __init__(
        self, discovery: ServiceDiscovery, policy: PolicyClass = RoundRobin
    ) -> None:
        """Begin without backends; `update` finds them."""
        self.discovery = discovery
        self.health_check: AnyCheck | None = None
        """How backends are looked at; None: not at all, all are taken as well."""
        self.health_check_frequency: float | None = None
        """Seconds from one check to the next; None: there is one, at the start."""
        self.update_frequency: float | None = None
        """Seconds from one look for backends to the next; None: there is one."""
        self.parallel_health_check = False
        """Checks of the program's own run side by side; ours always do."""
        self._make_policy = policy
        self._random: Callable[[], float] = Draws()
        self._guard: AbstractContextManager[object] = nullcontext()
        self._ids = map(BackendId, count(1))
        self._now = 0.0
        self._all_in = False
        self._listed: dict[BackendId, Backend] = {}
        self._states: dict[str, BackendState] = {}
        self._policy = self._new_policy([])

    @classmethod
    def try_from_iter(
        cls, addresses: Iterable[Address], policy: PolicyClass = RoundRobin
    ) -> LoadBalancer:
        """Choose among these, and no others.

        Raises:
            AddressError: one of them is no address.
        """
        backends = backends_of(addresses)
        made = cls(StaticDiscovery(backends), policy)
        made.update(backends)
        return made

    @classmethod
    def from_backends(
        cls, discovery: ServiceDiscovery, policy: PolicyClass = RoundRobin
    ) -> LoadBalancer:
        """Choose among what is discovered; there is nobody before `update`."""
        return cls(discovery, policy)

    def use(
        self, guard: AbstractContextManager[object], random: Callable[[], float]
    ) -> None:
        """Hold a lock while something changes, and draw other numbers.

        `random` gives numbers in [0, 1). Where threads share a load balancer it needs a
        lock; `Server` gives it one.
        """
        self._guard, self._random = guard, random

    # -- choosing ------------------------------------------------------------

    def select(self, key: bytes = b"", max_iterations: int = 256) -> Backend | None:
        """Choose a backend that is ready; None if there is none.

        `key` decides where the policy hashes. So many steps of the policy are tried.
        """
        with self._guard:
            policy = self._policy
            if self._all_in or max_iterations < MAX_STEPS:
                chosen = select(policy, key, max_iterations, self._now)
            else:
                chosen = policy.pick(key, self._now)
            return None if chosen is None else self._listed[chosen.id]

    def select_with(
        self,
        key: bytes,
        max_iterations: int,
        accept: Callable[[Backend, bool], bool],
    ) -> Backend | None:
        """Choose a backend that is acceptable; None if there is none.

        `accept` gets one and whether it is ready, and must not call this object.
        """
        listed = self._listed

        def accepted(state: BackendState) -> bool:
            return accept(listed[state.id], not state.barred)

        with self._guard:
            self._let_all_in()
            chosen = select(self._policy, key, max_iterations, self._now, accepted)
            return None if chosen is None else listed[chosen.id]

    # -- what it is told -----------------------------------------------------

    def set_health_check(self, check: AnyCheck | None) -> None:
        """Say how backends are to be looked at; None: not at all.

        Raises:
            ValueError: a check cannot be carried out as it is described.
        """
        description(check, 1.0)
        self.health_check = check

    def set_health(self, backend: Address, healthy: bool) -> bool:
        """Take it that a backend is well, or not; tell whether that is new."""
        return self._bar(backend, UNHEALTHY, not healthy)

    def set_enable(self, backend: Address, enabled: bool) -> bool:
        """Let a backend get requests, or none; tell whether that is new."""
        return self._bar(backend, DRAINING, not enabled)

    @overload
    def update(self) -> bool | Awaitable[bool]: ...

    @overload
    def update(self, found: Iterable[Address]) -> bool: ...

    def update(self, found: Iterable[Address] | None = None) -> bool | Awaitable[bool]:
        """Choose among these from now on; tell whether that changes anything.

        Those that stay, by their address, keep all that is known of them. Without an
        argument `discovery` is asked; if that is a coroutine, await what is returned.

        Raises:
            AddressError: one of them is no address; nothing has changed.
        """
        if found is None:
            asked = self.discovery.discover()
            if isinstance(asked, Awaitable):
                return self._update_later(asked)
            found = asked
        backends = backends_of(found)
        with self._guard:
            if backends == self.backends:
                return False
            self._take(backends)
            return True

    async def _update_later(self, asked: Awaitable[Iterable[Address]]) -> bool:
        return self.update(await asked)

    def leased(self, backend: Address) -> None:
        """Count one exchange more; for policies that go by how much there is to do."""
        with self._guard:
            if state := self._find(backend):
                state.active += 1
                state.leases += 1
                self._policy.leased(state)

    def released(self, backend: Address) -> None:
        """Count one exchange less."""
        with self._guard:
            if (state := self._find(backend)) and state.active:
                state.active -= 1
                self._policy.released(state)

    def observe(
        self, backend: Address, seconds: float, now: float, *, failed: bool
    ) -> None:
        """Say how long a response took to begin, or a failure to show; and the time."""
        with self._guard:
            self._now = max(self._now, now)
            if state := self._find(backend):
                state.failures += failed
                self._policy.observe(state, seconds, self._now, failed=failed)

    # -- what is known -------------------------------------------------------

    @property
    def backends(self) -> tuple[Backend, ...]:
        """All of them."""
        return tuple(self._listed.values())

    def ready(self, backend: Address) -> bool:
        """Tell whether a backend may be chosen; one that is none of these may not."""
        state = self._find(backend)
        return state is not None and not state.barred

    def healthy(self, backend: Address) -> bool:
        """Tell whether a backend is well, as far as is known."""
        state = self._find(backend)
        return state is None or not state.barred & UNHEALTHY

    def upstream(self, name: str) -> Upstream:
        """Describe it as a configuration does, with the check if that is of ours."""
        interval = self.health_check_frequency
        found = description(
            self.health_check, float("inf") if interval is None else interval
        )
        check, tls = found or (None, None)
        return Upstream(name=name, backends=self.backends, health_check=check, tls=tls)

    # -- how it is done ------------------------------------------------------

    def _find(self, backend: Address) -> BackendState | None:
        return self._states.get(str(backend_of(backend).target))

    def _bar(self, backend: Address, why: int, barred: bool) -> bool:
        with self._guard:
            state = self._find(backend)
            if state is None or bool(state.barred & why) is barred:
                return False
            was_in = self._is_in(state)
            state.barred ^= why
            if was_in and not self._is_in(state):
                self._policy.leave(state)
            elif not was_in and self._is_in(state):
                self._policy.enter(state)
            return True

    def _take(self, backends: tuple[Backend, ...]) -> None:
        old = tuple(self._states.values())
        for state in old:
            if self._is_in(state):
                self._policy.leave(state)  # it writes down what it knows
        upstream = Upstream(name="", backends=backends)
        states = draw_up(upstream, old, lambda: next(self._ids)).states
        self._states = {str(state.target): state for state in states}
        self._listed = dict(zip((it.id for it in states), backends, strict=True))
        self._policy = self._new_policy(states)
        for state in states:
            if not self._is_in(state):
                self._policy.leave(state)

    def _new_policy(self, states: Sequence[BackendState]) -> Policy:
        make = self._make_policy
        if isinstance(make, type) and issubclass(make, Random | P2C | PeakEwma):
            return make(states, self._draw)
        return cast("Callable[[Sequence[BackendState]], Policy]", make)(states)

    def _draw(self) -> float:
        return self._random()

    def _let_all_in(self) -> None:
        if not self._all_in:
            out = [one for one in self._states.values() if not self._is_in(one)]
            self._all_in = True
            for state in out:
                self._policy.enter(state)

    def _is_in(self, state: BackendState) -> bool:
        return self._all_in or not state.barred
