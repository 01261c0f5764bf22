"""The command line of `lb`.

One line of help for each flag, within 80 columns. Exit statuses are in
`ExitStatus`; argparse itself exits with 2 when the command line is wrong.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
from enum import IntEnum
from typing import TYPE_CHECKING, Final, TypeVar

from lbproto.config.addresses import backend_target, listen_target
from lbproto.machine.effects import Level, Target

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ExitStatus", "Options", "level_of", "parser", "program_parser"]

T = TypeVar("T")


class ExitStatus(IntEnum):
    """What `lb` tells the shell."""

    DONE = 0
    CONFIGURATION = 1
    """The configuration is wrong."""
    USAGE = 2
    """The command line is wrong."""
    LISTEN = 3
    """It could not bind or take over."""
    OTHER = 4


class Options(argparse.Namespace):
    """The command line, parsed."""

    conf: str | None
    daemon: bool
    upgrade: bool
    test: bool
    runtime: str | None
    threads: int | None
    listen: list[Target]
    backend: list[Target]
    log_level: Level | None
    demo: bool


_LEVELS: Final = {level.name.lower(): level for level in Level}
_THREADS: Final = re.compile(r"[0-9]{1,4}+")
MAX_THREADS: Final = 1024

_EPILOG: Final = """\
signals:  SIGTERM stops gracefully, SIGINT at once, SIGHUP reads the file
          again, SIGQUIT hands over to lb -u, SIGUSR1 reopens error_log
exit:     0 done, 1 wrong configuration, 2 wrong flags, 3 cannot bind, 4 other
"""


def level_of(text: str) -> Level:
    """Read the name of a log level, in any case.

    Raises:
        ValueError: there is no such level.
    """
    try:
        return _LEVELS[text.lower()]
    except KeyError:
        expected = ", ".join(_LEVELS)
        raise ValueError(f"got {text[:64]!a}, expected {expected}") from None


def _threads(text: str) -> int:
    if _THREADS.fullmatch(text) is None or int(text) > MAX_THREADS:
        expected = f"expected a whole number of 0-{MAX_THREADS}"
        raise ValueError(f"got {text[:64]!a}, {expected}")
    return int(text)


def _reader(read: Callable[[str], T]) -> Callable[[str], T]:
    """Let argparse repeat the reader's message instead of its own."""

    def convert(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _version() -> str:
    try:
        return importlib.metadata.version("lbproto")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _formatter(prog: str) -> argparse.HelpFormatter:
    # The width of a terminal must not change what the manual shows.
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=24, width=79)


def _add_running(built: argparse.ArgumentParser) -> None:
    add = built.add_argument
    add("-c", "--conf", metavar="FILE", help="the configuration; - is standard input")
    add(
        "-d",
        "--daemon",
        action="store_true",
        help="run in the background; return when it listens",
    )
    add(
        "-u",
        "--upgrade",
        action="store_true",
        help="take the listening sockets over from the one that runs",
    )
    add("-t", "--test", action="store_true", help="check the configuration, then exit")
    add(
        "--runtime",
        metavar="NAME",
        help="uvloop (default), asyncio, gevent, threads",
    )
    add(
        "--threads",
        metavar="N",
        type=_reader(_threads),
        help="parallel workers; 0 is one for each core",
    )


def _add_level(built: argparse.ArgumentParser) -> None:
    add = built.add_argument
    add(
        "--log-level",
        metavar="LEVEL",
        type=_reader(level_of),
        help="debug, info (default), warning, error; or set LB_LOG",
    )


def program_parser() -> argparse.ArgumentParser:
    """Build the parser of a program that brings its own services."""
    built = argparse.ArgumentParser(formatter_class=_formatter, allow_abbrev=False)
    _add_running(built)
    _add_level(built)
    return built


def parser() -> argparse.ArgumentParser:
    """Build the parser."""
    built = argparse.ArgumentParser(
        prog="lb",
        add_help=False,
        usage="lb -c FILE [options] | lb --listen ADDR --backend ADDR ... | lb --demo",
        description="An HTTP/1.1 load balancer.",
        epilog=_EPILOG,
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    add = built.add_argument
    add("-h", "--help", action="help", help="print this help, then exit")
    _add_running(built)
    add(
        "--listen",
        metavar="ADDR",
        action="append",
        default=[],
        type=_reader(listen_target),
        help="serve on host:port, [v6]:port or unix:/path; repeat",
    )
    add(
        "--backend",
        metavar="ADDR",
        action="append",
        default=[],
        type=_reader(backend_target),
        help="send requests to this server; repeat for more",
    )
    _add_level(built)
    add(
        "--demo",
        action="store_true",
        help="two backends and a balancer on 127.0.0.1:6188",
    )
    add(
        "--version",
        action="version",
        help="print the version, then exit",
        version=f"lb {_version()}",
    )
    return built
