"""Backends and proxies that run together while some rows are measured."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from bench import programs
from bench.load.constant import backend
from bench.peers import PEERS, Work
from bench.programs import Missing, Program, free_port
from bench.rows import Plan, Running

__all__ = ["SCENES", "Cast"]

MANY: Final = 1000
"""Backends."""
POOL: Final = 4096
"""Idle connections that may be kept where there are many backends."""


class Cast:
    """Starts programs, and ends them with the scene."""

    def __init__(
        self,
        plan: Plan,
        names: Sequence[str],
        work: Work,
        folder: Path,
        stack: contextlib.ExitStack,
    ) -> None:
        self.plan = plan
        self.names = names
        self.work = work
        self._folder = folder
        self._stack = stack
        self._told: set[str] = set()

    def backend(self, addresses: Sequence[str] = ("127.0.0.1",)) -> int:
        """Start the backend on these addresses; return its port."""
        room = self.work.connections * 2
        command = backend(room, self.work.places, addresses)
        return self._start("backend", command, self.plan.other_cores).port

    def proxy(self, name: str, cores: Sequence[int], work: Work) -> Program:
        """Start a proxy.

        Raises:
            Missing: it is not installed.
        """
        configure = PEERS[name].configure
        return self._start(
            name, lambda folder, port, _: configure(folder, port, work), cores
        )

    def each(self, start: Callable[[str], Running]) -> Iterator[Running]:
        """Start all proxies; say who is left out."""
        for name in self.names:
            try:
                yield start(name)
            except (Missing, RuntimeError) as error:
                print(f"left out: {name}: {error}", file=sys.stderr)

    def _start(
        self, name: str, command: programs.Command, cores: Sequence[int]
    ) -> Program:
        number = len(list(self._folder.iterdir()))
        place = self._folder / f"{number}-{re.sub(r'[^a-z]+', '-', name.lower())}"
        found = self._stack.enter_context(
            programs.started(name, command, 0, cores, place)
        )
        # To stop in good order takes seconds, and nobody waits for an answer.
        self._stack.callback(os.killpg, found.process.pid, signal.SIGKILL)
        return found


def web(cast: Cast) -> list[Running]:
    """One backend, and one worker of each proxy, all on the proxies' core."""
    port = cast.backend()
    work = cast.work._replace(backends=[f"127.0.0.1:{port}"])
    cores = cast.plan.proxy_cores
    return list(
        cast.each(lambda name: Running(name, cast.proxy(name, cores, work), port))
    )


def streams(cast: Cast) -> list[Running]:
    """The load generator is the backend, too; it comes with each run."""

    def start(name: str) -> Running:
        port = free_port()
        work = cast.work._replace(backends=[f"127.0.0.1:{port}"])
        return Running(name, cast.proxy(name, cast.plan.proxy_cores, work), port)

    return list(cast.each(start))


def workers(cast: Cast) -> list[Running]:
    """Proxies with one worker and with two; nothing is bound to a core."""
    port = cast.backend()
    cores = cast.plan.all_cores
    one = cast.work._replace(backends=[f"127.0.0.1:{port}"])
    two = one._replace(workers=2)

    def start(name: str) -> Running:
        if not PEERS[name].workers:
            raise Missing("its workers are not processes")
        twin = cast.proxy(name, cores, two)
        return Running(name, cast.proxy(name, cores, one), port, twin)

    return list(cast.each(start))


def backends(cast: Cast) -> list[Running]:
    """Proxies with two backends and with many."""
    hosts = [f"127.0.{1 + one // 250}.{1 + one % 250}" for one in range(MANY)]
    port = cast.backend(["127.0.0.1", *hosts])
    cores = cast.plan.proxy_cores
    everyone = [f"{host}:{port}" for host in hosts]
    few = cast.work._replace(backends=everyone[:2], pool=POOL)

    def start(name: str) -> Running:
        many = cast.proxy(name, cores, few._replace(backends=everyone))
        return Running(name, cast.proxy(name, cores, few), port, many)

    return list(cast.each(start))


SCENES: Final[dict[str, Callable[[Cast], list[Running]]]] = {
    "web": web,
    "fresh": web,
    "streams": streams,
    "workers": workers,
    "backends": backends,
}
