"""Looking after a load balancer: who its backends are, and how they are.

A program that has an event loop runs it there, beside what it does already:

    upkeep = Upkeep("web", upstreams, logs)
    keeping = asyncio.create_task(upkeep.run())

`Server` does the same in a process of its own, once for all its workers, and has each
of them told what is found.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, cast

from lbproto.discovery.lookout import Lookout
from lbproto.health.finding import Health
from lbproto.health.monitor import Report
from lbproto.machine.effects import Log
from lbproto.selection.addresses import backends_of
from lbproto.selection.checks import StaticDiscovery, description
from lbproto_runtimes.calling import called
from lbproto_runtimes.probing import Probing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lbproto.config import Backend
    from lbproto.selection.checks import OwnHealthCheck
    from lbproto.selection.load_balancer import LoadBalancer
    from lbproto_runtimes.contexts import Contexts
    from lbproto_runtimes.logs import Logs

__all__ = ["Upkeep"]


def _nobody(*told: object) -> None:
    """Nobody else wants to know."""


class Upkeep:
    """Everything that one load balancer wants to be told."""

    def __init__(
        self,
        name: str,
        upstreams: LoadBalancer,
        logs: Logs,
        contexts: Contexts | None = None,
        *,
        reported: Callable[[Sequence[Report]], object] = _nobody,
        found: Callable[[str, tuple[Backend, ...]], object] = _nobody,
    ) -> None:
        """Do nothing yet. `name` stands in the log.

        `reported` and `found` are called, in the thread of the loop, with what the load
        balancer was told.
        """
        self._name = name
        self._upstreams = upstreams
        self._logs = logs
        self._contexts = contexts
        self._reported = reported
        self._found = found
        self._probing: Probing | None = None
        self._beliefs: dict[str, Health] = {}

    async def run(self) -> None:
        """Look after it until cancelled."""
        upstreams = self._upstreams
        interval = upstreams.update_frequency
        lookout = Lookout(self._name, upstreams.backends, interval or math.inf)
        # What is listed in the program is there already.
        looks = interval is not None or not isinstance(
            upstreams.discovery, StaticDiscovery
        )
        if looks:
            await self._look(lookout)
        jobs = [self._follow(lookout)] if looks else []
        check = upstreams.health_check
        if description(check, 1.0) is not None:
            jobs.append(self._probe())
        elif check is not None:
            jobs.append(self._check(cast("OwnHealthCheck", check)))
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)

    # -- backends ------------------------------------------------------------

    async def _follow(self, lookout: Lookout) -> None:
        clock = asyncio.get_running_loop().time
        while lookout.deadline < math.inf:
            await asyncio.sleep(max(0.0, lookout.deadline - clock()))
            await self._look(lookout)

    async def _look(self, lookout: Lookout) -> None:
        clock = asyncio.get_running_loop().time
        before = lookout.backends
        try:
            backends = backends_of(await called(self._upstreams.discovery.discover))
        except Exception as error:
            effects = lookout.failed(_said(error), clock())
        else:
            effects = lookout.found(backends, clock())
        for effect in effects:
            assert isinstance(effect, Log), "it does nothing else"
            self._logs.perform(effect)
        if lookout.backends is not before:
            self._upstreams.update(lookout.backends)
            self._found(self._name, lookout.backends)
            if self._probing is not None:
                self._probing.watch([self._upstreams.upstream(self._name)])

    # -- checks of ours --------------------------------------------------------

    async def _probe(self) -> None:
        probing = Probing(self._logs, self._take, self._contexts)
        self._probing = probing
        known = {
            (self._name, str(one.target)): self._upstreams.healthy(one)
            for one in self._upstreams.backends
        }
        probing.watch([self._upstreams.upstream(self._name)], known)
        try:
            await asyncio.Event().wait()
        finally:
            probing.close()

    def _take(self, reports: Sequence[Report]) -> None:
        for report in reports:
            self._upstreams.set_health(report.backend, report.healthy)
        self._reported(reports)

    # -- checks of the program -------------------------------------------------

    async def _check(self, check: OwnHealthCheck) -> None:
        upstreams, clock = self._upstreams, asyncio.get_running_loop().time
        while True:
            began, interval = clock(), upstreams.health_check_frequency
            if upstreams.parallel_health_check:
                found = [self._check_one(check, one) for one in upstreams.backends]
                await asyncio.gather(*found)
            else:
                for one in upstreams.backends:
                    await self._check_one(check, one)
            if interval is None:
                return
            await asyncio.sleep(max(0.0, began + interval - clock()))

    async def _check_one(self, check: OwnHealthCheck, backend: Backend) -> None:
        address, reason = str(backend.target), ""
        try:
            if await called(check.check, backend) is False:
                reason = "the check says so"
        except Exception as error:
            reason = _said(error)
        belief = self._beliefs.setdefault(
            address, Health(healthy=self._upstreams.healthy(backend))
        )
        threshold = getattr(check, "health_threshold", _once)
        if not belief.observe(not reason, threshold(True), threshold(False)):
            return
        report = Report(self._name, address, not reason, reason)
        self._logs.perform(report.log())
        self._take([report])


def _once(success: bool) -> int:
    return 1


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
