"""What a program with all its processes uses: CPU time and memory.

CPU time is read from the kernel's clock of each process, which counts nanoseconds,
also of threads that have ended; `/proc/PID/stat` would count ticks of 10 ms.
"""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path
from typing import Final

__all__ = ["cpu_seconds", "cpu_seconds_of_each", "family", "memory", "threads"]

PSS: Final = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)
SCHEDULED: Final = 2
"""CPUCLOCK_SCHED of the kernel, in the low bits of a clock's number."""


def family(pid: int) -> list[int]:
    """Return a process and all that it started."""
    found = [pid]
    for member in found:  # grows while it is walked, generation by generation
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{member}/task").iterdir():
                children = (task / "children").read_text("ascii").split()
                found += [int(child) for child in children]
    return found


def cpu_seconds_of_each(pid: int) -> dict[int, float]:
    """Return user and system time of a process and of each that it started."""
    spent = {}
    for member in family(pid):
        with contextlib.suppress(OSError):
            spent[member] = time.clock_gettime((~member << 3) | SCHEDULED)
    return spent


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process with all that it started."""
    return sum(cpu_seconds_of_each(pid).values())


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
    return sum(len(list(Path(f"/proc/{one}/task").iterdir())) for one in family(pid))
