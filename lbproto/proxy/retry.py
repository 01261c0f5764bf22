"""When a request may be sent again.

A request is repeated only if nobody can have acted on it, or if acting twice is
the same as acting once (RFC 9110 9.2.2), and only while we still hold all of it.
After the first byte of a response it never is. A timeout is not a reason: the
backend may be at work.

| the connection | any method | idempotent, whole request held |
|---|---|---|
| could not be made | another backend, `max_retries` times | the same |
| idle one, closed before a byte was written | another connection | the same |
| idle one, closed after that, no response byte | no | once, on a fresh connection |
| fresh one, closed without a response byte | no | no |
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

__all__ = ["IDEMPOTENT", "Failure", "may_replay"]

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
"""RFC 9110 9.2.2; TRACE is refused before it gets here."""


class Failure(Enum):
    """How an attempt ended before the first byte of a response."""

    STALE = auto()
    """An idle connection was dead before anything was written to it."""
    REUSED_CLOSED = auto()
    """An idle connection ended after the request was written to it."""
    FRESH_CLOSED = auto()
    """A new connection ended after the request was written to it."""


def may_replay(
    failure: Failure, method: bytes, *, held: bool, complete: bool, replayed: bool
) -> bool:
    """Decide whether the request goes out again on a fresh connection.

    `held`: every byte of it received so far is still here. `complete`: it was
    received whole. `replayed`: it has been repeated before.
    """
    if not held or replayed:
        return False
    if failure is Failure.REUSED_CLOSED:
        return complete and method in IDEMPOTENT
    return failure is Failure.STALE
