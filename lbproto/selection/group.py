"""The backends of one upstream: who may be chosen now, and who is.

Each backend has reasons not to be chosen (`barred`), and is in its policy while it
has none; so a choice looks at nobody. There are two policies of the same kind: one of
the backends proper, one of those for `backup`, which is asked when the first has
nobody. When nobody is left at all, those will do that only rest after a failed dial.

In panic, when fewer than `panic_percent` of the backends are well, illness and
ejection are no reasons: rather a backend that may fail than all load on the few.

Why a backend is barred is decided elsewhere (`standing`), but for two reasons that
pass by themselves and are no news: it rests, it is full. Who may stop waiting for a
full one is told in `called`. All of this runs under the balancer's guard.
"""

from __future__ import annotations

import heapq
import math
import zlib
from collections.abc import Callable, Collection, Iterable
from typing import Final

from lbproto.config import HashOn, Upstream
from lbproto.selection.backend import (
    DRAINING,
    EJECTED,
    FULL,
    RESTING,
    UNHEALTHY,
    BackendId,
    BackendState,
)
from lbproto.selection.chooser import Chooser
from lbproto.selection.leases import Members
from lbproto.selection.load import load
from lbproto.selection.policies import KEYED, OBSERVES, WEIGHS_RAMPS, make_policy
from lbproto.selection.slow_start import LEAST, ramp
from lbproto.selection.waiting import Ticket, WaitQueue

__all__ = ["ILL", "Group"]

ILL: Final = UNHEALTHY | EJECTED
"""What panic makes light of."""
ANY: Final = ILL | DRAINING | RESTING | FULL
MAX_REFUSALS: Final = 8
"""So many backends in their slow start are passed over for one request."""


class Group:
    """One upstream at work."""

    __slots__ = (
        "_backup",
        "_heap",
        "_proper",
        "_ramping",
        "_random",
        "_states",
        "_weighs",
        "called",
        "due",
        "hash_on",
        "keyed",
        "members",
        "observes",
        "panic",
        "queue",
        "upstream",
    )

    def __init__(
        self,
        upstream: Upstream,
        states: Iterable[BackendState],
        random: Callable[[], float],
    ) -> None:
        """Begin with these; some may know their past."""
        self._random = random
        self._heap: list[tuple[float, BackendId, int]] = []
        self.due = math.inf
        """When a reason passes next."""
        self._ramping: list[BackendState] = []
        self.queue = WaitQueue(upstream.name)
        self.panic = False
        self.called: list[Ticket] = []
        self.arrange(upstream, states)

    def arrange(self, upstream: Upstream, states: Iterable[BackendState]) -> None:
        """Have these backends from now on, and these rules."""
        self.upstream = upstream
        self._states = {state.id: state for state in states}
        self.members: Members = tuple(
            (state.id, state.target) for state in self._states.values()
        )
        """Who they are; another object whenever that changes."""
        self._weighs = upstream.policy in WEIGHS_RAMPS
        self.keyed = upstream.policy in KEYED
        """The policy looks at the key of a request."""
        self.hash_on: HashOn | None = upstream.hash_on if self.keyed else None
        """What that is made of."""
        self.observes = upstream.policy in OBSERVES
        """The policy wants to know how long responses take."""
        self._proper = self._policy(backup=False)
        self._backup = self._policy(backup=True)
        for state in self._states.values():
            if not self._is_in(state):
                self._tier(state).leave(state)
        self._ramping = [one for one in self._ramping if one.id in self._states]
        self.queue.resize(upstream.max_queue, upstream.queue_timeout)

    def _policy(self, *, backup: bool) -> Chooser:
        return make_policy(
            self.upstream.policy,
            [one for one in self._states.values() if one.backup is backup],
            self._random,
            self.upstream.balance_factor,
        )

    def disband(self) -> None:
        """Let the policies write down what they know about each backend."""
        for state in self._states.values():
            if self._is_in(state):
                self._tier(state).leave(state)

    @property
    def backends(self) -> tuple[BackendState, ...]:
        """All of them, in the order of the configuration."""
        return tuple(self._states.values())

    def find(self, backend: BackendId) -> BackendState:
        """Return the backend of an id, which is one of these."""
        return self._states[backend]

    def usable(self, backend: BackendId) -> BackendState | None:
        """Return the backend of an id if it is one of these and nothing bars it."""
        state = self._states.get(backend)
        return state if state is not None and self._is_in(state) else None

    # -- choosing ------------------------------------------------------------

    def choose(
        self, key: bytes, tried: Collection[BackendId], now: float
    ) -> BackendState | None:
        """Choose a backend that was not tried yet; None if there is none."""
        if self._ramping:
            self._advance(now)
        if self.keyed and not key:
            key = b"%d" % int(self._random() * 0x100000000)
        if not len(tried) and not self._ramping:
            chosen = self._proper.pick(key, now)
            if chosen is None:
                chosen = self._backup.pick(key, now)
            return self._last_resort(tried) if chosen is None else chosen
        known = [
            self._states[one] for one in dict.fromkeys(tried) if one in self._states
        ]
        for tier in (self._proper, self._backup):
            aside = [
                one for one in known if self._tier(one) is tier and self._is_in(one)
            ]
            chosen = self._beside(tier, aside, key, now)
            if chosen is not None:
                return chosen
        return self._last_resort(tried)

    def _beside(
        self, tier: Chooser, aside: list[BackendState], key: bytes, now: float
    ) -> BackendState | None:
        """Choose one of a tier that is not aside, and ready for the request."""
        for backend in aside:
            tier.leave(backend)
        refused = None
        for _ in range(MAX_REFUSALS):
            chosen = tier.pick(key, now)
            if chosen is None or self._is_ready(chosen, key):
                break
            refused = refused or chosen
            aside.append(chosen)
            tier.leave(chosen)
            chosen = None
        for backend in aside:
            tier.enter(backend)
        return chosen or refused

    def _is_ready(self, backend: BackendState, key: bytes) -> bool:
        """Tell whether a request falls into the part of the weight that counts."""
        if backend.ramp == 1.0 or self._weighs:
            return True
        if self.keyed:
            # By the key, so that a key that has come stays.
            return zlib.crc32(key, 1) < backend.ramp * 0x100000000
        return self._random() < backend.ramp

    def _last_resort(self, tried: Collection[BackendId]) -> BackendState | None:
        """Choose the least loaded one that only rests."""
        resting = [
            (one.backup, load(one), one.leases, one.id, one)
            for one in self._states.values()
            if one.barred & self._mask == RESTING and one.id not in tried
        ]
        return min(resting)[-1] if resting else None

    def is_full(self, tried: Collection[BackendId]) -> bool:
        """Tell whether one that was not tried would do if it had room."""
        return any(
            one.barred & self._mask & ~RESTING == FULL and one.id not in tried
            for one in self._states.values()
        )

    # -- what becomes of it ----------------------------------------------------

    def leased(self, backend: BackendState) -> None:
        """Count one lease more."""
        backend.active += 1
        backend.leases += 1
        self._tier(backend).leased(backend)
        most = backend.max_connections
        if most is not None and backend.active >= most:
            self.bar(backend, FULL)

    def released(self, backend: BackendState) -> None:
        """Count one lease less."""
        backend.active -= 1
        self._tier(backend).released(backend)
        most = backend.max_connections
        if most is not None and backend.active < most:
            self.unbar(backend, FULL)
            self.call()

    def observe(
        self, backend: BackendState, seconds: float, now: float, *, failed: bool
    ) -> None:
        """Tell the policy how long a response took to begin."""
        self._tier(backend).observe(backend, seconds, now, failed=failed)

    def set_panic(self, panic: bool) -> None:
        """Ignore illness, or mind it again."""
        were_in = {one.id: self._is_in(one) for one in self._states.values()}
        self.panic = panic
        for one in self._states.values():
            if self._is_in(one) is not were_in[one.id]:
                tier = self._tier(one)
                tier.enter(one) if panic else tier.leave(one)

    # -- reasons -----------------------------------------------------------------

    def bar(self, backend: BackendState, why: int) -> None:
        """Add a reason not to choose a backend."""
        was_in = self._is_in(backend)
        backend.barred |= why
        if was_in and not self._is_in(backend):
            self._tier(backend).leave(backend)

    def unbar(self, backend: BackendState, why: int) -> None:
        """Take a reason away."""
        was_in = self._is_in(backend)
        backend.barred &= ~why
        if not was_in and self._is_in(backend):
            self._tier(backend).enter(backend)

    def start_slowly(self, backend: BackendState, now: float) -> None:
        """Begin with a part of its weight, if the upstream has a slow start."""
        if not self.upstream.slow_start:
            return
        backend.ramps_from = now
        backend.ramp = LEAST
        if backend not in self._ramping:
            self._ramping.append(backend)
        self._ramped(backend)

    def call(self) -> None:
        """Call as many of those who wait as there is room for."""
        if not len(self.queue):
            return
        room = 0.0
        for one in self._states.values():
            if self._is_in(one):
                most = one.max_connections
                room += math.inf if most is None else most - one.active
        self.called += self.queue.call(room)

    # -- time --------------------------------------------------------------------

    def bar_until(self, backend: BackendState, why: int, until: float) -> None:
        """Add a reason that passes."""
        self.bar(backend, why)
        heapq.heappush(self._heap, (until, backend.id, why))
        self.due = self._heap[0][0]

    def recover(self, now: float) -> list[BackendState]:
        """Let those come back whose time has come; return those that were ejected."""
        returned = []
        while self._heap and self._heap[0][0] <= now:
            _, at, why = heapq.heappop(self._heap)
            backend = self._states.get(at)
            if backend is None or not backend.barred & why:
                continue
            if why == EJECTED:
                returned.append(backend)
            elif backend.rests_until > now:
                continue  # it has failed again since
            self.unbar(backend, why)
        self.due = self._heap[0][0] if self._heap else math.inf
        return returned

    def _advance(self, now: float) -> None:
        """Give those that start slowly the weight that they have by now."""
        window = self.upstream.slow_start
        for backend in tuple(self._ramping):
            part = ramp(backend.ramps_from, window, now) if window else 1.0
            if part != backend.ramp:
                backend.ramp = part
                self._ramped(backend)
            if part == 1.0:
                self._ramping.remove(backend)

    # -- small things --------------------------------------------------------------

    @property
    def _mask(self) -> int:
        return ANY & ~ILL if self.panic else ANY

    def _is_in(self, backend: BackendState) -> bool:
        return not backend.barred & self._mask

    def _tier(self, backend: BackendState) -> Chooser:
        return self._backup if backend.backup else self._proper

    def _ramped(self, backend: BackendState) -> None:
        if self._is_in(backend):
            self._tier(backend).ramped(backend)
