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
import re
import select
import signal
import socket
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
from bench.programs import Missing, Program
from lbproto_runtimes.descriptors import raise_descriptor_limit

__all__ = ["main"]

RUNTIMES: Final = ("asyncio", "uvloop", "gevent", "threads")
PACKAGES: Final = ("uvloop", "gevent")
WARM: Final = 50
"""Clients before the first look: what is loaded at first use is no client's cost."""

REQUEST: Final = b"GET / HTTP/1.1\r\nHost: bench.test\r\n\r\n"
PSS: Final = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)
LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
PATIENCE: Final = 30.0
SETTLED: Final = 0.5
"""Seconds of quiet before memory is looked at."""


class Cost(NamedTuple):
    """Memory in KiB: with few clients, with all, and that of one."""

    before: int
    after: int
    each: float
    threads: int


def family(pid: int) -> list[int]:
    """Return a process and all that it started."""
    found = [pid]
    for member in found:  # grows while it is walked, generation by generation
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{member}/task").iterdir():
                children = (task / "children").read_text("ascii").split()
                found += [int(child) for child in children]
    return found


def memory(pid: int) -> int:
    """Return the proportional set size of a process and its children, in KiB."""
    total = 0
    for member in family(pid):
        text = Path(f"/proc/{member}/smaps_rollup").read_text("ascii")
        found = PSS.search(text)
        total += int(found[1]) if found is not None else 0
    return total


def threads(pid: int) -> int:
    """Count the threads of a process and its children."""
    return sum(len(os.listdir(f"/proc/{member}/task")) for member in family(pid))


def ask(port: int) -> socket.socket:
    """Connect, make one request, read its response, and stay connected.

    Raises:
        RuntimeError: the response was wrong, or the connection was closed.
    """
    client = socket.create_connection(("127.0.0.1", port), PATIENCE)
    client.sendall(REQUEST)
    read = b""
    while True:
        head, mark, content = read.partition(b"\r\n\r\n")
        length = LENGTH.search(head + b"\r\n") if mark else None
        if length is not None and len(content) >= int(length[1]):
            break
        data = client.recv(65536)
        if not data:
            raise RuntimeError(f"closed after {read!r}")
        read += data
    if not read.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"not the response of the backend: {read!r}")
    return client


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
