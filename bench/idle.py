"""What an idle keep-alive client costs `lb` in memory, for each runtime.

    python bench/idle.py [--clients N] [--runtime NAME ...]

A client connects, makes one request and stays. The proportional set size of `lb`
with all its processes (`Pss` of /proc/PID/smaps_rollup) is taken with a few clients
and with all of them; the difference, divided, is the cost of one. What the kernel
keeps for a socket is not in it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import select
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

# Run as a script, this knows only its own folder.
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "runtimes"))

from bench import programs
from bench.core import SETTINGS
from bench.load.hold import ask
from bench.programs import Missing, Program
from bench.usage import memory, threads
from lbproto_runtimes.descriptors import raise_descriptor_limit

__all__ = ["main"]

RUNTIMES: Final = ("asyncio", "uvloop", "gevent", "threads")
PACKAGES: Final = ("uvloop", "gevent")
WARM: Final = 50
"""Clients before the first look: what is loaded at first use is no client's cost."""

SETTLED: Final = 0.5
"""Seconds of quiet before memory is looked at."""


class Cost(NamedTuple):
    """Memory in KiB: with few clients, with all, and that of one."""

    before: int
    after: int
    each: float
    threads: int


def measure(proxy: Program, count: int) -> Cost:
    """Connect clients, one after the other, and see what they cost.

    Raises:
        RuntimeError: one of them was not idle, but closed.
    """
    poll = select.poll()
    with contextlib.ExitStack() as clients:
        for _ in range(WARM):
            clients.enter_context(ask(proxy.port))
        time.sleep(SETTLED)
        before = memory(proxy.process.pid)
        for _ in range(count):
            poll.register(clients.enter_context(ask(proxy.port)), select.POLLIN)
        time.sleep(SETTLED)
        after = memory(proxy.process.pid)
        running = threads(proxy.process.pid)
        if poll.poll(0):
            raise RuntimeError(f"{proxy.name} has closed connections")
    return Cost(before, after, (after - before) / count, running)


def run(runtime: str, count: int, folder: Path) -> Cost:
    """Start a backend and `lb`, and measure.

    Raises:
        Missing: something is not installed.
    """
    if runtime in PACKAGES and importlib.util.find_spec(runtime) is None:
        raise Missing(f"{runtime} is not installed")
    cores = sorted(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        backend = stack.enter_context(
            programs.started(
                "backend",
                programs.nginx_backend(SETTINGS[0]),
                0,
                cores,
                folder / f"backend-{runtime}",
            )
        )
        proxy = stack.enter_context(
            programs.started(
                f"lb, {runtime}",
                programs.lb(runtime),
                backend.port,
                cores,
                folder / runtime,
            )
        )
        return measure(proxy, count)


def main() -> None:
    """Measure every runtime and print the table."""
    flags = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    flags.add_argument("--clients", type=int, default=2000, help="that stay")
    flags.add_argument("--runtime", action="append", choices=RUNTIMES)
    options = flags.parse_args()
    # So that a signal, too, ends what was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    allowed = raise_descriptor_limit()  # children have it, too
    if allowed < options.clients + WARM + 100:
        sys.exit(f"{options.clients} clients need more than {allowed} descriptors")
    rows = [
        f"{options.clients} idle clients",
        "",
        "| runtime | Pss before, KiB | after, KiB | KiB a client | threads |",
        "|---|---:|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory(prefix="lb-bench-") as folder:
        for runtime in options.runtime or RUNTIMES:
            try:
                cost = run(runtime, options.clients, Path(folder))
            except Missing as missing:
                print(f"skipped: {runtime}: {missing}", file=sys.stderr)
                continue
            rows.append(
                f"| {runtime} | {cost.before} | {cost.after}"
                f" | {cost.each:.1f} | {cost.threads} |"
            )
    print("\n".join(rows))


if __name__ == "__main__":
    main()
