"""What is wrong with a configuration, and where.

A problem prints as `file:line:column: path: what was seen, what is expected`,
always on one line and always printable: keys and values of the file are shown
quoted and shortened, so that no file can send escape sequences to a terminal.
Lines and columns count from 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, TypeAlias

from lbproto.config.shown import SHOWN, shown
from lbproto.machine.errors import LbError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ConfigProblems",
    "Path",
    "Place",
    "Problem",
    "nearest",
    "path_text",
    "shown_word",
]

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indexes from the root of the file."""


_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_\-]{1,64}+")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in the file, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; `path` is empty where the file is no YAML at all."""

    source: str
    place: Place
    path: Path
    message: str

    def __str__(self) -> str:
        where = f"{self.source}:{self.place.line}:{self.place.column}: "
        path = path_text(self.path)
        return where + (f"{path}: {self.message}" if path else self.message)


class ConfigProblems(LbError):
    """Everything that is wrong with one file, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(
            sorted(problems, key=lambda it: (it.place, path_text(it.path), it.message))
        )
        super().__init__("\n".join(map(str, self.problems)))


def path_text(path: Path) -> str:
    """Write a path as `services[0].limits.header_size`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += "." if text else ""
            text += part if _PLAIN_KEY.fullmatch(part) else shown(part)
    return text


def nearest(word: str, known: Iterable[str]) -> str:
    """Name the nearest known word for the end of a message."""
    choices = list(known)
    # Comparing is quadratic in the length; no known word comes near this one.
    if not choices or len(word) > SHOWN:
        return ""
    if close := get_close_matches(word.lower(), choices, 1):
        return f", did you mean {shown_word(close[0])}?"
    if close := get_close_matches(word.lower(), choices, 1, cutoff=0.0):
        return f", the nearest known one is {shown_word(close[0])}"
    return ""


def shown_word(word: str) -> str:
    """Show a key or a name: bare where that is readable."""
    return word if _PLAIN_KEY.fullmatch(word) else shown(word)
