"""What the prober does: probes, looks for backends, and runs what a program has.

It has an event loop, whatever the runtime of the workers is, and is one process, so
that there is one set of probes however many workers there are. What it finds it tells
the master; when that closes the channel it is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING

from lbproto.machine.effects import Level
from lbproto.machine.errors import LocalProtocolError
from lbproto.processes.bulletin import Follower, backends_message, health_messages
from lbproto.processes.channel import Kind, MessageReader, encode
from lbproto.selection.balancer import Balancer
from lbproto_runtimes.env import WallClockEnv
from lbproto_runtimes.finding import Finder
from lbproto_runtimes.logs import log_crash
from lbproto_runtimes.probing import Probing
from lbproto_runtimes.upkeep import Upkeep

if TYPE_CHECKING:
    import socket
    from collections.abc import Coroutine, Sequence

    from lbproto.config import Backend
    from lbproto.health.monitor import Report
    from lbproto.processes.bulletin import Bulletin
    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.worker import Setup

__all__ = ["serve_probes"]


def serve_probes(
    setup: Setup,
    logs: Logs,
    channel: socket.socket,
    bulletin: Bulletin,
    patience: float,
) -> int:
    """Be the prober until the master ends; return the status.

    `patience`: seconds that services of a program have to end.
    """
    # Not `asyncio.run`: a thread in a function of the program must not hold up the end.
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(_Prober(setup, logs, bulletin).serve(channel, patience))
    except BaseException as error:
        log_crash(logs, error)
        return 4
    return 0


class _Over(Exception):
    """The master has ended."""


class _Prober:
    """The work of one process."""

    def __init__(self, setup: Setup, logs: Logs, bulletin: Bulletin) -> None:
        self._setup = setup
        self._logs = logs
        self._bulletin = bulletin
        self._shutdown = asyncio.Event()
        self._shutdown_of_threads = threading.Event()

    async def serve(self, channel: socket.socket, patience: float) -> None:
        setup, bulletin, logs = self._setup, self._bulletin, self._logs
        reader, writer = await asyncio.open_connection(sock=channel)

        def report(reports: Sequence[Report]) -> None:
            writer.writelines(map(encode, health_messages(reports)))

        def tell(upstream: str, backends: tuple[Backend, ...]) -> None:
            message = backends_message(upstream, backends)
            bulletin.note(message)
            writer.write(encode(message))  # before what is found of their health

        def found(upstream: str, backends: tuple[Backend, ...]) -> None:
            tell(upstream, backends)
            probing.watch(bulletin.upstreams(setup.config).values())

        upstreams = bulletin.upstreams(setup.config)
        probing = Probing(logs, report, setup.contexts)
        probing.watch(upstreams.values(), bulletin.health)
        finder = Finder(logs, found, setup.read_backends)
        work = [finder.follow(it) for it in upstreams.values()]
        self._recall()
        for name, balancer in setup.program.looked_after.items():
            upkeep = Upkeep(
                name, balancer, logs, setup.contexts, reported=report, found=tell
            )
            work.append(self._guarded(name, upkeep.run()))
        services = [
            asyncio.ensure_future(self._guarded(name, self._run(name, task)))
            for name, task in setup.program.tasks.items()
        ]
        # The one that listens ends with the master; that another one fails is a bug.
        jobs = [asyncio.ensure_future(it) for it in (*work, _listen(reader, logs))]
        done, rest = await asyncio.wait(jobs, return_when=asyncio.FIRST_EXCEPTION)
        await self._end(services, patience)
        for task in rest:
            task.cancel()
        probing.close()
        writer.close()
        for task in done:
            with contextlib.suppress(_Over):
                task.result()

    def _recall(self) -> None:
        """Tell the load balancers what one before us has found."""
        setup, now = self._setup, time.monotonic()
        nobody = Balancer(setup.config, WallClockEnv())
        follower = Follower(setup.config, nobody, setup.program.looked_after)
        for message in self._bulletin.messages():
            follower.take(message, now)

    async def _run(self, name: str, task: object) -> None:
        """Run a service of the program."""
        start = getattr(task, "start")  # noqa: B009 - checked when it was added
        if iscoroutinefunction(start):
            await start(self._shutdown)
            return
        # Not of the pool of threads: it is meant to go on.
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()

        def ended(error: Exception | None) -> None:
            over.set_exception(error) if error else over.set_result(None)

        def run() -> None:
            failure = None
            try:
                start(self._shutdown_of_threads)
            except Exception as error:
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop is over
                loop.call_soon_threadsafe(ended, failure)

        threading.Thread(target=run, name=name, daemon=True).start()
        await over

    async def _guarded(self, name: str, job: Coroutine[None, None, None]) -> None:
        """Keep a bug of the program from what others do here."""
        try:
            await job
        except Exception as error:
            fields = {"service": name, "traceback": error}
            self._logs.log(Level.ERROR, "background service failed", fields)

    async def _end(
        self, services: Sequence[asyncio.Future[None]], patience: float
    ) -> None:
        """Let services of the program end by themselves."""
        self._shutdown.set()
        self._shutdown_of_threads.set()
        if services:
            _, late = await asyncio.wait(services, timeout=patience)
            for one in late:
                one.cancel()


async def _listen(reader: asyncio.StreamReader, logs: Logs) -> None:
    """Hear the master out; its end is an error to whoever waits for one."""
    messages = MessageReader()
    with contextlib.suppress(OSError, LocalProtocolError):
        while data := await reader.read(65536):
            for message in messages.receive(data):
                if message.kind is Kind.REOPEN:
                    logs.reopen()
    raise _Over
