"""What a request costs each proxy, in µs of CPU, measured end to end.

    python bench/e2e.py [--seconds S] [--rounds N] [--connections N] [--only NAME ...]

A backend (nginx), the proxies and wrk run on the loopback interface: the proxy alone
on one core, wrk and the backend on the others. Rounds alternate between the proxies,
so that a disturbance does not hit one of them alone; the table shows medians. CPU
time is counted, not requests per second, because it is what a machine has to give.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

# Run as a script, this knows only its own folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import core, programs
from bench.core import SETTINGS, Setting
from bench.programs import Missing, Program

__all__ = ["main"]

PROXIES: Final = {
    "nginx, one worker": programs.nginx,
    "HAProxy, one thread": programs.haproxy,
    "lb, uvloop": programs.lb("uvloop"),
    "lb, asyncio": programs.lb("asyncio"),
    "lb, threads": programs.lb("threads"),
    "lb, gevent": programs.lb("gevent"),
}
BASE: Final = "nginx, one worker"
PAIR: Final = "two h11.Connections alone"
ALONE: Final = {PAIR: core.two_h11, "the core alone": core.core_alone}
EXCHANGES: Final = 2000
REQUESTS: Final = re.compile(r"(\d+) requests in ([\d.]+)(us|ms|s|m)")
UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class Load(NamedTuple):
    """How hard, how long, and on which cores."""

    seconds: float
    rounds: int
    connections: int
    proxy_cores: Sequence[int]
    other_cores: Sequence[int]


class Sample(NamedTuple):
    """One run: µs of CPU per request, and requests per second."""

    cost: float
    rate: float


def wrk(port: int, setting: Setting, load: Load, seconds: float) -> tuple[int, float]:
    """Ask as often as it goes; return requests and seconds.

    Raises:
        RuntimeError: a response was wrong, or wrk cannot be understood.
    """
    fields = [f"-H{name}: {text}" for name, text in setting.request]
    result = subprocess.run(
        [
            programs.program("wrk"),
            "-t1",
            f"-c{load.connections}",
            f"-d{max(1, round(seconds))}s",
            *fields,
            f"http://127.0.0.1:{port}/",
        ],
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, load.other_cores),
    )
    found = REQUESTS.search(result.stdout)
    if found is None or "Non-2xx" in result.stdout or "Socket errors" in result.stdout:
        raise RuntimeError(f"wrk says:\n{result.stdout}{result.stderr}")
    return int(found[1]), float(found[2]) * UNITS[found[3]]


def sample(proxy: Program, setting: Setting, load: Load) -> Sample:
    """Measure one proxy once."""
    before = programs.cpu_seconds(proxy.process.pid)
    requests, seconds = wrk(proxy.port, setting, load, load.seconds)
    spent = programs.cpu_seconds(proxy.process.pid) - before
    return Sample(spent / requests * core.MICROSECONDS, requests / seconds)


def measure(setting: Setting, load: Load, folder: Path) -> dict[str, list[Sample]]:
    """Measure all proxies that are installed, in turns."""
    samples: dict[str, list[Sample]] = {}
    with contextlib.ExitStack() as stack:

        def start(
            name: str,
            command: programs.Command,
            backend: int,
            cores: Sequence[int],
        ) -> Program:
            place = folder / re.sub(r"\W+", "-", name)
            return stack.enter_context(
                programs.started(name, command, backend, cores, place)
            )

        answering = programs.nginx_backend(setting)
        backend = start("backend", answering, 0, load.other_cores)
        running = []
        for name, command in PROXIES.items():
            try:
                running.append(start(name, command, backend.port, load.proxy_cores))
            except Missing as missing:
                print(f"skipped: {name}: {missing}", file=sys.stderr)
        for proxy in running:
            wrk(proxy.port, setting, load, 1.0)  # connections, caches
        for _ in range(load.rounds):
            for proxy in running:
                samples.setdefault(proxy.name, []).append(sample(proxy, setting, load))
    return samples


def alone(
    relay: Callable[[Setting, int], float], setting: Setting, load: Load
) -> list[Sample]:
    """Measure what needs no sockets, on the core where the proxies were."""
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, load.proxy_cores)
    try:
        costs = [relay(setting, EXCHANGES) for _ in range(max(3, load.rounds))]
    finally:
        os.sched_setaffinity(0, ours)
    return [Sample(cost, core.MICROSECONDS / cost) for cost in costs]


def ratio(cost: float, base: float | None) -> str:
    """Write how many times as much something costs."""
    return "-" if base is None else f"{cost / base:.2f}"


def table(setting: Setting, samples: dict[str, list[Sample]]) -> str:
    """Write the medians of one setting as Markdown."""
    costs = {
        name: statistics.median(one.cost for one in found)
        for name, found in samples.items()
    }
    rows = [
        f"### {setting.name}: {1 + len(setting.request)} fields out,"
        f" {5 + len(setting.response)} back",
        "",
        "| | CPU µs/request | lowest to highest | of nginx | of two h11 | requests/s |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, cost in costs.items():
        found = samples[name]
        spread = sorted(one.cost for one in found)
        rate = statistics.median(one.rate for one in found)
        rows.append(
            f"| {name} | {cost:.1f} | {spread[0]:.1f} to {spread[-1]:.1f}"
            f" | {ratio(cost, costs.get(BASE))} | {ratio(cost, costs.get(PAIR))}"
            f" | {rate if name in PROXIES else 0:.0f} |".replace(" 0 |", " |")
        )
    return "\n".join([*rows, ""])


def load_of(options: argparse.Namespace) -> Load:
    """Divide the cores: the first is the proxy's, the others are for the rest."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        print("only one core: wrk and the proxies disturb each other", file=sys.stderr)
    return Load(
        options.seconds,
        options.rounds,
        options.connections,
        cores[:1],
        cores[1:] or cores,
    )


def main() -> None:
    """Run everything and print the tables."""
    flags = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    flags.add_argument("--seconds", type=float, default=3.0, help="of each run")
    flags.add_argument("--rounds", type=int, default=5, help="runs of each proxy")
    flags.add_argument("--connections", type=int, default=32, help="of wrk")
    flags.add_argument(
        "--only", nargs="+", default=[""], help="proxies whose names have these in them"
    )
    options = flags.parse_args()
    load = load_of(options)
    for name in list(PROXIES):
        if not any(part in name for part in options.only):
            del PROXIES[name]
    # So that a signal, too, ends what was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        programs.program("wrk")
        programs.nginx_binary()
    except Missing as missing:
        print(f"skipped: all proxies: {missing}", file=sys.stderr)
        PROXIES.clear()
    for number, setting in enumerate(SETTINGS):
        samples: dict[str, list[Sample]] = {}
        if PROXIES:
            with tempfile.TemporaryDirectory(prefix="lb-bench-") as folder:
                samples = measure(setting, load, Path(folder))
        for name, relay in ALONE.items():
            samples[name] = alone(relay, setting, load)
        print(("\n" if number else "") + table(setting, samples), end="", flush=True)


if __name__ == "__main__":
    main()
