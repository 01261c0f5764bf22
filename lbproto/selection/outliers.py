"""When a backend is left alone because it fails: passive health.

As Envoy's outlier detection by consecutive errors: so many failures in a row, and it
is ejected; not if too many others are. The n-th ejection lasts n times the first, at
most `LONGEST`; each stretch of calm as long as the first ejection takes one off the
count. A failure is a dial that failed, a response that did not come or was cut or was
wrong, or one that says so itself: 5xx but 501 and 505, which are about the request
(HAProxy's `observe layer7`).
"""

from __future__ import annotations

from typing import Final

from lbproto.config import OutlierDetection
from lbproto.selection.backend import BackendState

__all__ = ["LONGEST", "blames_itself", "eject", "may_eject"]

LONGEST: Final = 300.0
"""Seconds; a longer `base_ejection` is its own cap."""


def blames_itself(status: int) -> bool:
    """Tell whether a status says that the backend failed."""
    return status >= 500 and status not in (501, 505)


def may_eject(rule: OutlierDetection, ejected: int, backends: int) -> bool:
    """Tell whether one more may be ejected of so many backends."""
    return (ejected + 1) * 100 <= rule.max_ejected_percent * backends


def eject(backend: BackendState, rule: OutlierDetection, now: float) -> float:
    """Note one more ejection; return how many seconds it lasts."""
    base = rule.base_ejection
    if backend.ejections:
        calm = max(now - backend.ejected_until, 0.0)
        forgiven = min(int(calm // base), backend.ejections)
        backend.ejections -= forgiven
    backend.ejections += 1
    seconds = min(base * backend.ejections, max(LONGEST, base))
    backend.ejected_until = now + seconds
    return seconds
