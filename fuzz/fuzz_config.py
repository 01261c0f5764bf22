"""Whatever a configuration file holds: it is accepted, or all that is wrong is said.

The input is the file. Only `ConfigProblems` may come out, never without a problem,
and each problem is one printable line that begins with the file's name.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Run as a script, this knows only its own folder.
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(1, str(Path(__file__).parents[1] / "cli"))

from lbproto_cli.load import parse
from lbproto_cli.problems import ConfigProblems

__all__ = ["one_input"]


def one_input(data: bytes) -> None:
    """Check one file."""
    problems = None
    try:
        parse(data, "conf.yaml", ("asyncio", "uvloop"))
    except ConfigProblems as error:
        problems = error.problems
    assert problems != (), "refused without a reason"
    for problem in problems or ():
        line = str(problem)
        assert line.startswith("conf.yaml:"), line
        assert line.isprintable(), line


if __name__ == "__main__":
    from fuzz import engine

    engine.run("fuzz_config")
