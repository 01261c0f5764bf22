"""What is measured: each row asks one proxy for one kind of work, once.

The cost is CPU time of the proxy with all its processes, in µs for each request (or
event, or echo), because that is what a machine has to give; requests per second would
measure the load generator, too. Rows that are no cost are so because of what they
say: how long the slowest wait, how costs grow, what memory is held.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench import programs
from bench.core import SETTINGS
from bench.load.hold import ask, idle_clients, slow_readers
from bench.programs import ROOT, Program
from bench.usage import cpu_seconds, cpu_seconds_of_each, memory

__all__ = ["ROWS", "Plan", "Row", "Running", "Sample"]

MICROSECONDS: Final = 1e6
REQUESTS: Final = re.compile(r"(\d+) requests in ([\d.]+)(us|ms|s|m)")
SLOWEST: Final = re.compile(r"^ +99% +([\d.]+)(us|ms|s|m) *$", re.MULTILINE)
WRONG: Final = re.compile(r"(?:connect|read|write|timeout) (\d+)|responses: (\d+)")
TOLERATED: Final = 0.001
"""Part of the answers that may be wrong; it is told."""
UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
PAUSE: Final = 10
"""Milliseconds between the requests of a connection, where the rate is fixed."""
FEW_CONNECTIONS: Final = 10
WARM: Final = 50
"""Clients before the first look: what is loaded at first use is no client's cost."""
SLOW: Final = 50
SETTLED: Final = 0.5
"""Seconds of quiet before memory is looked at."""
UPLOAD: Final = 'wrk.method = "POST"\nwrk.body = string.rep("x", 1048576)\n'
DELAY: Final = "function delay() return math.random(0, {most}) end\n"


class Plan(NamedTuple):
    """How hard, how long, and on which cores."""

    seconds: float
    connections: int
    """Of the load generator, each with one request under way."""
    idle: int
    """Connections that stay open in the row of growth."""
    clients: int
    """Idle clients in the row of memory."""
    proxy_cores: Sequence[int]
    other_cores: Sequence[int]
    all_cores: Sequence[int]
    folder: Path


class Running(NamedTuple):
    """A proxy that runs, and the same again where something has grown."""

    name: str
    proxy: Program
    backend: int
    """The port where its backend is, or should be."""
    grown: Program | None = None


class Sample(NamedTuple):
    """One look: the figure of the row, and others that explain it."""

    value: float
    notes: dict[str, float]


class Load(NamedTuple):
    """What wrk counted."""

    requests: int
    seconds: float
    slowest: float
    """The 99th percentile of latency, in seconds."""


Measure = Callable[[Plan, Running], Sample]


class Row(NamedTuple):
    """One row of the table."""

    title: str
    unit: str
    measure: Measure
    scene: str = "web"
    once: bool = False
    """A second look at the same process would see the first."""
    goal: str = ""
    percent: bool = False
    """The figure is a multiple already; that of nginx is no measure for it."""


def wrk(
    port: int,
    path: str,
    plan: Plan,
    *,
    fields: Sequence[tuple[str, str]] = (),
    connections: int | None = None,
    script: str = "",
    cores: Sequence[int] | None = None,
) -> Load:
    """Ask as often as it goes.

    Raises:
        RuntimeError: a response was wrong, or wrk cannot be understood.
    """
    command = [programs.program("wrk"), "-t1", "--latency", "-d1h"]
    command.append(f"-c{connections or plan.connections}")
    if script:
        file = plan.folder / "wrk.lua"
        file.write_text(script, "utf-8")
        command += ["-s", str(file)]
    command += [f"-H{name}: {text}" for name, text in fields]
    with subprocess.Popen(
        [*command, f"http://127.0.0.1:{port}{path}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores or plan.other_cores),
    ) as running:
        time.sleep(plan.seconds)
        running.send_signal(signal.SIGINT)  # it takes whole seconds only
        said, _ = running.communicate()
    found = REQUESTS.search(said)
    slowest = SLOWEST.search(said)
    wrong = sum(int(count) for group in WRONG.findall(said) for count in group if count)
    if found is None or slowest is None or wrong > int(found[1]) * TOLERATED:
        raise RuntimeError(f"wrk says:\n{said}")
    if wrong:
        print(f"{path}, port {port}: {wrong} of {found[1]} went wrong", file=sys.stderr)
    if not int(found[1]):
        raise RuntimeError("no answer came")
    return Load(
        int(found[1]),
        float(found[2]) * UNITS[found[3]],
        float(slowest[1]) * UNITS[slowest[2]],
    )


def cost(
    path: str, *, fields: Sequence[tuple[str, str]] = (), script: str = ""
) -> Measure:
    """Make a row that asks for one thing and counts the CPU time of each request."""

    def measure(plan: Plan, running: Running) -> Sample:
        proxy = running.proxy
        before = cpu_seconds(proxy.process.pid)
        load = wrk(proxy.port, path, plan, fields=fields, script=script)
        spent = cpu_seconds(proxy.process.pid) - before
        each = spent / load.requests * MICROSECONDS
        return Sample(each, {"per second": load.requests / load.seconds})

    return measure


few: Final = cost("/few")


def stream(kind: str) -> Measure:
    """Make a row of many small messages on connections that stay."""

    def measure(plan: Plan, running: Running) -> Sample:
        proxy = running.proxy
        words = [str(proxy.port), str(running.backend), str(plan.seconds)]
        with subprocess.Popen(
            [sys.executable, "-m", "bench.load.streams", kind, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            preexec_fn=lambda: os.sched_setaffinity(0, plan.other_cores),
        ) as driver:
            assert driver.stdin is not None
            assert driver.stdout is not None
            if driver.stdout.readline() != "ready\n":
                raise RuntimeError(f"{running.name} does not do {kind}")
            before = cpu_seconds(proxy.process.pid)
            driver.stdin.write("go\n")
            driver.stdin.flush()
            line = driver.stdout.readline()
            spent = cpu_seconds(proxy.process.pid) - before
            if not line:
                raise RuntimeError(f"{running.name} broke {kind} off")
        seen = json.loads(line)
        notes = {
            "per second": seen["messages"] / seen["seconds"],
            "in one read": seen["messages"] / max(1, seen["reads"]),
        }
        return Sample(spent / seen["messages"] * MICROSECONDS, notes)

    return measure


def latency(plan: Plan, running: Running) -> Sample:
    """Ask at half of the rate that is reached at most; return the p99 in µs."""
    full = wrk(running.proxy.port, "/few", plan)
    rate = full.requests / full.seconds / 2
    connections = max(2, round(rate * PAUSE / 1000))
    script = DELAY.format(most=2 * PAUSE)
    load, floor = (
        wrk(port, "/few", plan, connections=connections, script=script)
        for port in (running.proxy.port, running.backend)
    )
    notes = {
        "per second": load.requests / load.seconds,
        "without a proxy": floor.slowest * MICROSECONDS,
    }
    return Sample(load.slowest * MICROSECONDS, notes)


def connections(plan: Plan, running: Running) -> Sample:
    """Compare the cost of a request with few connections and with many more."""
    small = plan._replace(connections=FEW_CONNECTIONS)
    alone = few(small, running).value
    with idle_clients(running.proxy.port, plan.idle, b"/few"):
        crowded = few(small, running).value
    time.sleep(SETTLED)  # all those connections end now
    notes = {"few": alone, "many": crowded, "open": float(plan.idle)}
    return Sample(crowded / alone, notes)


def backends(plan: Plan, running: Running) -> Sample:
    """Compare the cost of a request with few backends and with many."""
    assert running.grown is not None
    few(plan._replace(seconds=1), running._replace(proxy=running.grown))  # connects
    small = few(plan, running).value
    large = few(plan, running._replace(proxy=running.grown)).value
    return Sample(large / small, {"few": small, "many": large})


def capacity(plan: Plan, proxy: Program) -> float:
    """Return requests per second of CPU time of the worker that had most to do."""
    before = cpu_seconds_of_each(proxy.process.pid)
    load = wrk(proxy.port, "/few", plan, cores=plan.all_cores)
    after = cpu_seconds_of_each(proxy.process.pid)
    return load.requests / max(after[one] - before.get(one, 0.0) for one in after)


def workers(plan: Plan, running: Running) -> Sample:
    """Compare what one worker and two can answer before one of them is full."""
    assert running.grown is not None
    one, two = capacity(plan, running.proxy), capacity(plan, running.grown)
    return Sample(two / one, {"one": one, "two": two})


def idle(plan: Plan, running: Running) -> Sample:
    """Return the memory of a client that has asked and stays, in KiB."""
    port, pid = running.proxy.port, running.proxy.process.pid
    with idle_clients(port, WARM, b"/few"):
        time.sleep(SETTLED)
        before = memory(pid)
        with idle_clients(port, plan.clients, b"/few"):
            time.sleep(SETTLED)
            after = memory(pid)
    return Sample((after - before) / plan.clients, {"before": before})


def slow(plan: Plan, running: Running) -> Sample:
    """Return the memory for a client that does not read its 16 MiB, in KiB."""
    port, pid = running.proxy.port, running.proxy.process.pid
    with idle_clients(port, WARM, b"/few"):
        ask(port, b"/large").close()
        time.sleep(SETTLED)
        before = memory(pid)
        with slow_readers(port, SLOW, b"/huge"):
            time.sleep(4 * SETTLED)
            after = memory(pid)
    return Sample((after - before) / SLOW, {"before": before})


CPU: Final = "CPU µs/request"
ROWS: Final = {
    "small": Row(
        "small exchange, browser-like fields",
        CPU,
        cost("/browser", fields=SETTINGS[1].request),
        goal="uvloop at most 1.6 times nginx; threads 1.5 and gevent 2.2 times uvloop",
    ),
    "few": Row(
        "small exchange, few fields",
        CPU,
        few,
        goal="uvloop at most 1.4 times nginx",
    ),
    "response": Row(
        "response of 1 MiB", CPU, cost("/large"), goal="below nginx and HAProxy"
    ),
    "upload": Row(
        "upload of 1 MiB",
        CPU,
        cost("/upload", script=UPLOAD),
        goal="below nginx and HAProxy",
    ),
    "chunked": Row(
        "chunked stream of 100-byte events",
        "CPU µs/event",
        stream("events"),
        "streams",
        goal="at most 1.5 times nginx",
    ),
    "connect": Row(
        "new connection per request",
        CPU,
        cost("/few", fields=[("Connection", "close")]),
        goal="at most 1.4 times nginx",
    ),
    "websocket": Row(
        "WebSocket echo of 100 bytes",
        "CPU µs/echo",
        stream("echo"),
        "streams",
        goal="at most 1.2 times nginx",
    ),
    "latency": Row(
        "p99 latency at half of saturation",
        "µs",
        latency,
        goal="at most 1.5 times nginx",
    ),
    "threads": Row(
        "two workers",
        "times one worker",
        workers,
        "workers",
        goal="at least 1.8",
        percent=True,
    ),
    "connections": Row(
        "growth: 10 to 10,000 open connections",
        "times the CPU/request",
        connections,
        goal="at most 1.1",
        percent=True,
    ),
    "backends": Row(
        "growth: 2 to 1,000 backends",
        "times the CPU/request",
        backends,
        "backends",
        goal="at most 1.1",
        percent=True,
    ),
    "idle": Row("memory of an idle client", "KiB", idle, "fresh", once=True),
    "slow": Row(
        "memory of a slow reader", "KiB", slow, "fresh", once=True, goal="at most 256"
    ),
}
