"""What clients notice while the server before them is reloaded and replaced.

    python bench/upgrade.py [--changes N] [--kills N] [--rate F] [--only NAME ...]

The same load (`bench/load`) runs against each server: new connections, kept ones, idle
ones, uploads, downloads, tunnels, some of it over TLS, at a fixed rate. Meanwhile it
is reloaded and upgraded N times each, in turn; `lb` after that takes part in N upgrades
whose new process is killed at some moment of its first second. Last, the time from
the signal to the end of the old process is taken, with 1,000 idle connections.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

# Run as a script, this knows only its own folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.load.clients import SMALL, Load, Mix
from bench.load.swaps import SERVERS, Lb, Server, wait_gone
from bench.load.tally import KINDS, Tally, line
from bench.programs import Missing, free_port
from tests.children import environment

__all__ = ["main", "measured", "serving", "under_load"]

IDLE: Final = 1000


@contextlib.contextmanager
def serving(name: str, folder: Path, **about: str) -> Iterator[tuple[Server, int, int]]:
    """Run a server before a backend; give it, and its two ports.

    Raises:
        Missing: it is not installed.
    """
    folder.mkdir()
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "30"),
            *("-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=localhost"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    backend, ports = free_port(), (free_port(), free_port())
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.load.backend", str(backend)], env=environment()
    )
    server = partial(SERVERS[name], **about)(folder, ports, backend)
    try:
        wait_listening(backend)
        server.start()
        wait_listening(ports[0])
        yield server, *ports
    finally:
        server.stop()
        process.kill()
        process.wait()


def wait_listening(port: int) -> None:
    """Return when somebody listens."""
    for _ in range(1000):
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.01)
    raise TimeoutError(f"nobody listens on {port}")


async def under_load(
    mix: Mix, ports: Sequence[int], steps: Sequence[object], pause: float
) -> Tally:
    """Take steps, one after the other, while clients ask; return what they met."""
    tls = ssl.create_default_context()
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    load = Load(mix, ports[0], ports[1], tls)
    running = asyncio.create_task(load.run())
    await asyncio.sleep(1.0)
    for step in steps:
        await asyncio.to_thread(step)  # type: ignore[arg-type]
        await asyncio.sleep(pause)
    load.stop()
    await running
    return load.tally


def killed(server: Lb, chance: random.Random) -> None:
    """Begin an upgrade, and kill the new process within its first second."""
    old = server.pid()
    new = server.successor()
    os.kill(old, signal.SIGQUIT)
    time.sleep(chance.uniform(0.15, 0.7))
    new.kill()
    new.wait()
    time.sleep(0.5)
    # If it was killed before it came so far, the old one waits for another.
    with contextlib.suppress(ProcessLookupError):
        os.kill(server.pid(), 0)


def seconds_to_the_end(server: Server, port: int) -> tuple[float, int]:
    """Upgrade with idle clients; return seconds, and how many of them go on."""
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(IDLE)]
    for client in clients:
        client.settimeout(20.0)
        ask(client)
    old = server.pid()
    began = time.monotonic()
    server.upgrade()
    wait_gone(old)
    took = time.monotonic() - began
    alive = 0
    for client in clients:
        with contextlib.suppress(OSError, EOFError):
            ask(client)
            alive += 1
        client.close()
    return took, alive


def ask(client: socket.socket) -> None:
    """Ask once on a connection."""
    client.sendall(SMALL)
    answer = b""
    while len(answer.partition(b"\r\n\r\n")[2]) < 100:
        data = client.recv(65536)
        if not data:
            raise EOFError
        answer += data


def measured(name: str, folder: Path, options: argparse.Namespace) -> list[str]:
    """Return the rows of one server."""
    rate = options.rate
    mix = Mix(60 * rate, 120 * rate, 6 * rate, 6 * rate, 2 * rate, 25 * rate)
    rows = []

    def note(what: str, tally: Tally) -> None:
        p99, worst = tally.latency(0.99), tally.latency(1.0)
        rows.append(
            f"| {name}, {what} | {tally.requests} | {line(tally.failed)}"
            f" | {tally.reopened} | {p99 * 1000:.0f} | {worst * 1000:.0f} |"
        )
        for one in tally.first:
            print(f"{name}, {what}: {one}", file=sys.stderr)

    with serving(name, folder) as (server, *ports):
        steps = [server.reload, server.upgrade] * options.changes
        what = f"{options.changes} reloads and {options.changes} upgrades"
        note(what, asyncio.run(under_load(mix, ports, steps, options.pause)))
        if isinstance(server, Lb) and options.kills:
            chance = random.Random(1)
            kills = [lambda: killed(server, chance)] * options.kills
            what = f"{options.kills} new processes killed"
            note(what, asyncio.run(under_load(mix, ports, kills, 0.2)))
    return rows


def main() -> None:
    """Measure all that is asked for, and print the tables."""
    flags = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    flags.add_argument("--changes", type=int, default=20, help="reloads, and upgrades")
    flags.add_argument("--kills", type=int, default=20, help="of new processes")
    flags.add_argument("--pause", type=float, default=0.5, help="seconds between them")
    flags.add_argument("--rate", type=float, default=1.0, help="times the usual load")
    flags.add_argument("--only", nargs="+", default=[""], help="parts of names")
    options = flags.parse_args()
    names = [name for name in SERVERS if any(part in name for part in options.only)]
    ends = ["| | seconds to the end | idle connections that go on |", "|---|---:|---:|"]
    print(f"| | requests | {' | '.join(KINDS)} | closed while idle | p99 ms | max ms |")
    print("|---|" + "---:|" * (len(KINDS) + 4), flush=True)
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            try:
                rows = measured(name, Path(folder) / "load", options)
                print("\n".join(rows), flush=True)
                about = {"bake": "0s"} if name.startswith("lb") else {}
                idle = serving(name, Path(folder) / "idle", **about)
                with idle as (server, port, _):
                    took, alive = seconds_to_the_end(server, port)
                    ends.append(f"| {name} | {took:.2f} | {alive} of {IDLE} |")
            except Missing as missing:
                print(f"skipped: {name}: {missing}", file=sys.stderr)
    print("", *ends, sep="\n")


if __name__ == "__main__":
    main()
