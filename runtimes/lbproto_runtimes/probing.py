"""Sending probes, and looking for backends, on an event loop.

A program that embeds the balancer runs it in its own loop:

    probing = Probing(logs, report)
    probing.watch(config.upstreams.values())

`report` is called with what has changed; give it to `Balancer.set_health`. The command
has a process of its own for it, so that there is one set of probes however many workers
there are, and whatever their runtime is: `serve_probes` is what that process does.
"""

from __future__ import annotations

import asyncio
import contextlib
from itertools import count
from typing import TYPE_CHECKING

from lbproto.config import Config
from lbproto.health.monitor import HealthMonitor
from lbproto.machine.errors import LocalProtocolError
from lbproto.machine.events import Drain
from lbproto.machine.values import ConnId
from lbproto.processes.bulletin import backends_message, health_messages
from lbproto.processes.channel import Kind, MessageReader, encode
from lbproto.proxy.gateway import Gateway
from lbproto_runtimes.env import WallClockEnv
from lbproto_runtimes.finding import Finder
from lbproto_runtimes.logs import log_crash
from lbproto_runtimes.loop import Server
from lbproto_runtimes.perform import Driver

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lbproto.config import Backend, Upstream
    from lbproto.health.monitor import BackendKey, Report
    from lbproto.machine.effects import Effect
    from lbproto.machine.events import Event
    from lbproto.processes.bulletin import Bulletin
    from lbproto_runtimes.contexts import Contexts
    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.worker import Setup

__all__ = ["Probing", "serve_probes"]


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
        self._server = Server(nothing, (), logs, contexts)
        self._driver = Driver(_Told(self._monitor, report), self._server)

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


def serve_probes(
    setup: Setup, logs: Logs, channel: socket.socket, bulletin: Bulletin
) -> int:
    """Be the prober until the master ends; return the status."""
    try:
        asyncio.run(_serve(setup, logs, channel, bulletin))
    except BaseException as error:
        log_crash(logs, error)
        return 4
    return 0


async def _serve(
    setup: Setup, logs: Logs, channel: socket.socket, bulletin: Bulletin
) -> None:
    reader, writer = await asyncio.open_connection(sock=channel)

    def report(reports: Sequence[Report]) -> None:
        writer.writelines(map(encode, health_messages(reports)))

    def found(upstream: str, backends: tuple[Backend, ...]) -> None:
        message = backends_message(upstream, backends)
        bulletin.note(message)
        writer.write(encode(message))  # before what is found of their health
        probing.watch(bulletin.upstreams(setup.config).values())

    probing = Probing(logs, report, setup.contexts)
    upstreams = bulletin.upstreams(setup.config)
    probing.watch(upstreams.values(), bulletin.health)
    finder = Finder(logs, found, setup.read_backends)
    tasks = [asyncio.ensure_future(finder.follow(it)) for it in upstreams.values()]
    tasks.append(asyncio.ensure_future(_listen(reader, logs)))
    # The one that listens ends with the master; that another one fails is a bug.
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in rest:
        task.cancel()
    probing.close()
    writer.close()
    for task in done:
        with contextlib.suppress(_Over):
            task.result()


async def _listen(reader: asyncio.StreamReader, logs: Logs) -> None:
    """Hear the master out; its end is an error to whoever waits for one."""
    messages = MessageReader()
    with contextlib.suppress(OSError, LocalProtocolError):
        while data := await reader.read(65536):
            for message in messages.receive(data):
                if message.kind is Kind.REOPEN:
                    logs.reopen()
    raise _Over


class _Over(Exception):
    """The master has ended."""
