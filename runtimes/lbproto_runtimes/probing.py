"""Sending probes on an event loop.

A program that embeds the balancer runs it in its own loop:

    probing = Probing(logs, report)
    probing.watch(config.upstreams.values())

`report` is called with what has changed; give it to `Balancer.set_health`. The command
has a process of its own for it (`prober_work.py`).
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from lbproto.config import Config
from lbproto.health.monitor import HealthMonitor
from lbproto.machine.events import Drain
from lbproto.machine.values import ConnId
from lbproto.proxy.gateway import Gateway
from lbproto_runtimes.aio import LoopHost, Server
from lbproto_runtimes.env import WallClockEnv
from lbproto_runtimes.perform import Driver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lbproto.config import Upstream
    from lbproto.health.monitor import BackendKey, Report
    from lbproto.machine.effects import Effect
    from lbproto.machine.events import Event
    from lbproto_runtimes.contexts import Contexts
    from lbproto_runtimes.logs import Logs

__all__ = ["Probing"]


class _Told:
    """A monitor whose reports are passed on as they come."""

    def __init__(
        self, monitor: HealthMonitor, report: Callable[[Sequence[Report]], object]
    ) -> None:
        self._monitor = monitor
        self._report = report

    @property
    def deadline(self) -> float:
        return self._monitor.deadline

    def handle(self, event: Event, now: float, /) -> list[Effect]:
        effects = self._monitor.handle(event, now)
        if reports := self._monitor.take_reports():
            self._report(reports)
        return effects


class Probing:
    """Probes that are sent on the running event loop."""

    def __init__(
        self,
        logs: Logs,
        report: Callable[[Sequence[Report]], object],
        contexts: Contexts | None = None,
    ) -> None:
        """Send none yet; `report` is called in the thread of the loop."""
        env = WallClockEnv()
        ids = map(ConnId, count(1))
        self._monitor = HealthMonitor(env, lambda: next(ids))
        # A server without services: what it knows of connections is what it takes.
        nothing = Gateway(Config(services=(), upstreams={}), env)
        self._host = LoopHost()
        self._server = Server(nothing, (), logs, contexts, self._host)
        self._host.run(self._server)
        self._driver = Driver(_Told(self._monitor, report), self._server.hub)

    def watch(
        self,
        upstreams: Iterable[Upstream],
        known: Mapping[BackendKey, bool] | None = None,
    ) -> None:
        """Probe the backends of these upstreams; see `HealthMonitor.watch`."""
        self._monitor.watch(upstreams, known)
        self._driver.rearm()

    def close(self) -> None:
        """Send no more, and close what is open."""
        self._driver.feed(Drain(0.0, 0.0))
        self._server.stop()
        self._host.end()
