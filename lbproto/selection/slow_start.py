"""How much of its weight a backend has that has just come back.

As HAProxy's `slowstart`: in a straight line up to its weight, so that caches warm
and pools fill before the full share comes. It begins with a tenth, or it would never
see a request. A backend starts slowly when it comes back or is added, not when the
process starts: then all are new, and there is nobody else.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LEAST", "ramp"]

LEAST: Final = 0.1


def ramp(since: float, window: float, now: float) -> float:
    """Return the part of the weight that counts, in steps of a hundredth.

    `window` is the length of the slow start in seconds, above 0.
    """
    part = (now - since) / window
    return 1.0 if part >= 1.0 else max(LEAST, round(part, 2))
