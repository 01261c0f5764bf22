"""Values of the file that are not text: switches, numbers, durations, sizes.

Every function takes a value of the tree, whatever it is, and returns what it
stands for or raises `ValueError` with a message that shows it and says what is
expected. Durations are seconds, sizes bytes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from lbproto.config.shown import shown

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["body_size", "bound", "duration", "file_mode", "flag", "size", "whole"]

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"([0-9]{1,9}+(?:\.[0-9]{1,9}+)?+)(ms|s|m|h|d)")
LONGEST: Final = 365 * 86400.0

_SIZES: Final = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
_MODE: Final = re.compile(r"0?[67][0-7]{2}")
_SIZE: Final = re.compile(r"([0-9]{1,15}+)(B|KB|MB|GB|KiB|MiB|GiB)")
LARGEST: Final = 2**50
"""One PiB: more is a slip of the pen."""

_LOOKS_BOOLEAN: Final = frozenset({"yes", "no", "on", "off", "y", "n"})


def flag(value: object) -> bool:
    """Read `true` or `false`.

    Raises:
        ValueError: it is neither; the message says why.
    """
    if isinstance(value, bool):
        return value
    message = f"got {shown(value)}, expected true or false"
    if isinstance(value, str) and value.lower() in _LOOKS_BOOLEAN:
        message += " (yes, no, on and off are text here)"
    raise ValueError(message)


def file_mode(value: object) -> int:
    """Read the mode of a file that its owner uses.

    Raises:
        ValueError: it is none; the message says why.
    """
    if isinstance(value, str) and _MODE.fullmatch(value):
        return int(value, 8)
    message = f'got {shown(value)}, expected a mode such as "0600", in quotes'
    raise ValueError(f"{message}, with 6 or 7 for the owner")


def whole(lowest: int, highest: int) -> Callable[[object], int]:
    """Make a reader of whole numbers, both bounds included."""

    def read(value: object) -> int:
        if type(value) is int and lowest <= value <= highest:
            return value
        numbers = f"a whole number of {lowest}-{highest}"
        expected = str(lowest) if lowest == highest else numbers
        message = f"got {shown(value)}, expected {expected}"
        raise ValueError(message)

    return read


def whole_or_null(lowest: int, highest: int) -> Callable[[object], int | None]:
    """Make a reader of whole numbers as `whole` does, and of null."""

    def read(value: object) -> int | None:
        if value is None or (type(value) is int and lowest <= value <= highest):
            return value
        expected = f"expected a whole number of {lowest}-{highest}, or null"
        raise ValueError(f"got {shown(value)}, {expected}")

    return read


def bound(highest: int) -> Callable[[object], int | None]:
    """Make a reader of bounds; null and, as in nginx and HAProxy, 0 are none."""

    def read(value: object) -> int | None:
        if value is None or (type(value) is int and 0 <= value <= highest):
            return value or None
        expected = f"expected a whole number of 1-{highest}, or 0 or null for no limit"
        raise ValueError(f"got {shown(value)}, {expected}")

    return read


def duration(*, zero: bool) -> Callable[[object], float]:
    """Make a reader of durations; `zero` says whether none is one."""
    bound = "of 0 or more" if zero else "above 0"

    def read(value: object) -> float:
        seconds = _seconds(value)
        if seconds is None:
            message = f"got {shown(value)}, expected a duration: seconds, or a number"
            raise ValueError(f"{message} with ms, s, m, h or d, such as 250ms")
        if seconds < 0 or (seconds == 0 and not zero):
            raise ValueError(f"got {shown(value)}, expected a duration {bound}")
        if seconds > LONGEST:
            raise ValueError(f"got {shown(value)}, expected at most 365d")
        return seconds

    return read


def size(*, zero: bool) -> Callable[[object], int]:
    """Make a reader of sizes; `zero` says whether none is one."""
    bound = "of 0 or more" if zero else "above 0"

    def read(value: object) -> int:
        count = _bytes(value)
        if count is None:
            message = f"got {shown(value)}, expected a size: bytes, or a number with"
            raise ValueError(f"{message} B, KiB, MiB, GiB, KB, MB or GB, such as 64KiB")
        if count < 0 or (count == 0 and not zero):
            raise ValueError(f"got {shown(value)}, expected a size {bound}")
        if count > LARGEST:
            raise ValueError(f"got {shown(value)}, expected at most 1048576GiB")
        return count

    return read


def body_size(value: object) -> int | None:
    """Read a limit of content; null and, as in nginx, 0 are none.

    Raises:
        ValueError: it is neither; the message says why.
    """
    return None if value is None else size(zero=True)(value) or None


def _seconds(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        number, unit = match.groups()
        # 250 / 1000 is nearer to a quarter than 250 * 0.001 is in general.
        return float(number) / 1000 if unit == "ms" else float(number) * _UNITS[unit]
    return None


def _bytes(value: object) -> int | None:
    if type(value) is int:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        number, unit = match.groups()
        return int(number) * _SIZES[unit]
    return None
