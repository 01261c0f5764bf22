"""What each kind of work costs each proxy, measured end to end, all in one run.

    python -m bench.e2e [--quick] [--rows A,B] [--only NAME ...] [--programs DIR]
                        [--rounds N] [--seconds N]
                        [--json FILE] [--svg FILE] [--page FILE]

Backends, proxies and load generators run on the loopback interface: the proxies on
one core, the rest on the others. Rounds go from proxy to proxy, so that a disturbance
does not hit one of them alone; the tables show medians. bench/README.md has more.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

# Run as a script, this knows only its own folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import chart, programs
from bench.peers import BASE, PEERS, Work, find, versions
from bench.programs import Missing
from bench.report import Result, Results, into_page, summary, table
from bench.rows import ROWS, Plan, Row, Running, Sample
from bench.scenes import SCENES, Cast

__all__ = ["main"]

DESCRIPTORS: Final = 25_000
"""What ten thousand clients and the backends of a thousand connections need."""


def descriptors() -> int:
    """Raise the limit of open files as far as allowed, for children, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(hard, DESCRIPTORS), hard):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return limit
    return soft


def one_row(
    key: str, row: Row, plan: Plan, running: list[Running], rounds: int
) -> Result:
    """Measure one row, in turns; who fails has no figure, and a line."""
    samples: dict[str, list[Sample]] = {}
    for _ in range(1 if row.once else rounds):
        for one in running:
            try:
                sample = row.measure(plan, one)
            except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
                print(f"no figure: {one.name}: {key}: {error}", file=sys.stderr)
                continue
            samples.setdefault(one.name, []).append(sample)
    return Result(
        key,
        row.title,
        row.unit,
        row.goal,
        row.percent,
        {name: [sample.value for sample in found] for name, found in samples.items()},
        {
            name: {
                note: statistics.median(sample.notes[note] for sample in found)
                for note in found[0].notes
            }
            for name, found in samples.items()
        },
    )


def run(
    options: argparse.Namespace, plan: Plan, work: Work, known: dict[str, str]
) -> list[Result]:
    """Measure all rows, scene by scene; print each table when it is there."""
    found: dict[str, Result] = {}
    scene = running = None
    stack = contextlib.ExitStack()
    for key in sorted(
        options.rows, key=lambda key: list(SCENES).index(ROWS[key].scene)
    ):
        row = ROWS[key]
        if row.once or row.scene != scene:
            stack.close()
            scene = row.scene
            folder = Path(tempfile.mkdtemp(prefix=f"{key}-", dir=plan.folder))
            cast = Cast(plan, options.names, work, folder, stack)
            running = SCENES[scene](cast)
        assert running is not None
        found[key] = one_row(key, row, plan, running, options.rounds)
        print(table(found[key], BASE), flush=True)
        if options.json is not None:  # also if a later row should fail
            so_far = [found[key] for key in ROWS if key in found]
            results = Results(machine(), known, options.rounds, plan.seconds, so_far)
            text = json.dumps(results.plain(), indent=1)
            options.json.write_text(text + "\n", "utf-8")
    stack.close()
    return [found[key] for key in ROWS if key in found]


def plan_of(options: argparse.Namespace, folder: Path) -> Plan:
    """Divide the cores: the first is the proxy's, the others are for the rest."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        print("only one core: load and proxies disturb each other", file=sys.stderr)
    idle = min(10_000, int((descriptors() - 1000) * 0.9) // 2)
    if idle < 10_000:
        print(f"open connections: {idle}; the limit of files is low", file=sys.stderr)
    if options.quick:
        idle = min(idle, 2000)
    return Plan(
        seconds=0.5 if options.quick else options.seconds,
        connections=options.connections,
        idle=idle,
        clients=500 if options.quick else 2000,
        proxy_cores=cores[:1],
        other_cores=cores[1:] or cores,
        all_cores=cores,
        folder=folder,
    )


def machine() -> dict[str, str]:
    """Describe the machine in general terms."""
    release = ".".join(platform.release().split(".")[:2])
    return {
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {release}",
        "processor": platform.machine(),
        "python": platform.python_version(),
    }


def arguments() -> argparse.Namespace:
    """Read the command line."""
    flags = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    flags.add_argument("--quick", action="store_true", help="one round, three minutes")
    flags.add_argument("--rows", default=",".join(ROWS), help="some of the default")
    flags.add_argument(
        "--only", nargs="+", default=[""], help="proxies whose names have these in them"
    )
    flags.add_argument(
        "--programs", type=Path, action="append", default=[], help="where to look, too"
    )
    flags.add_argument("--seconds", type=float, default=2, help="of each run")
    flags.add_argument("--rounds", type=int, default=5, help="runs of each proxy")
    flags.add_argument("--connections", type=int, default=32, help="under load")
    flags.add_argument("--json", type=Path, help="write all figures there")
    flags.add_argument("--page", type=Path, help="put the figures into a page")
    flags.add_argument("--svg", type=Path, help="draw a chart there")
    options = flags.parse_args()
    options.rows = options.rows.split(",")
    for row in options.rows:
        if row not in ROWS:
            flags.error(f"no row {row!r}; there are {', '.join(ROWS)}")
    options.names = [
        name for name in PEERS if any(part in name for part in options.only)
    ]
    if options.quick:
        options.rounds = 1
    return options


def main() -> None:
    """Run everything and print the tables."""
    options = arguments()
    places = [place.absolute() for place in options.programs]
    # So that a signal, too, ends what was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        programs.program("wrk")
        find("nginx", places)  # is the backend, too
    except Missing as missing:
        sys.exit(f"{missing}; without it nothing can be measured")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lb-bench-") as folder:
        plan = plan_of(options, Path(folder))
        os.sched_setaffinity(0, plan.other_cores)
        room = plan.idle + 500
        work = Work(backends=(), places=places, connections=room)
        known = versions(options.names, work)
        rows = run(options, plan, work, known)
    results = Results(machine(), known, options.rounds, plan.seconds, rows)
    if options.svg is not None:
        options.svg.write_text(chart.draw(results.plain()), "utf-8")
    print("### All rows\n\n" + summary(results.plain(), BASE))
    if options.page is not None:
        page = options.page.read_text("utf-8")
        options.page.write_text(into_page(page, results.plain(), BASE), "utf-8")
    print(f"{time.monotonic() - started:.0f} seconds", file=sys.stderr)


if __name__ == "__main__":
    main()
