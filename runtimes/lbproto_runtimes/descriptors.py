"""How many descriptors the process may have.

Each client takes one and each exchange another. The soft limit is there for
programs that use `select`, which cannot count beyond 1,024; we can, so we take what
the hard limit allows.
"""

from __future__ import annotations

import contextlib
import resource

__all__ = ["raise_descriptor_limit"]


def raise_descriptor_limit() -> int:
    """Raise the soft limit to the hard one, where that is allowed; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft
