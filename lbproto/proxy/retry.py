"""When a request may be sent again.

A request is repeated only if nobody can have acted on it, or if acting twice is
the same as acting once (RFC 9110 9.2.2), and only while we still hold all of it.
After the first byte of a response went to the client it never is. The second
column is the word of `retry.on`; a row whose word is not there does not count.

| the try | word | any method | idempotent, held whole |
|---|---|---|---|
| no connection | `connect_failure` | another backend | another backend |
| idle one, dead before a byte went out | (always) | the same, once | the same, once |
| idle one, closed, no response | `reused_connection_closed` | no | the same, once |
| new one, closed, no response | `connection_closed` | no | another backend |
| no response in time | `timeout` | no | another backend |
| a response with such a status | the status | no | another backend |

The same backend is asked on a fresh connection. Other backends are asked at most
`max_retries` times, after a pause if there is a back-off; how many requests may be
repeated at all is the affair of `budget`. The first three rows are on by default:
the backend has not seen the request, or closed an idle connection just when it came.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from lbproto.config import Backoff, Retry
from lbproto.machine.errors import ErrorCode
from lbproto.machine.events import ConnectError

__all__ = ["CONNECT_CODES", "IDEMPOTENT", "Failure", "Remedy", "pause", "remedy"]

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
"""RFC 9110 9.2.2; TRACE is refused before it gets here."""


CONNECT_CODES: Final = {
    ConnectError.REFUSED: ErrorCode.CONNECT_REFUSED,
    ConnectError.TIMEOUT: ErrorCode.CONNECT_TIMEOUT,
    ConnectError.UNREACHABLE: ErrorCode.CONNECT_UNREACHABLE,
    ConnectError.DNS: ErrorCode.CONNECT_DNS,
    ConnectError.TLS: ErrorCode.CONNECT_TLS,
    ConnectError.LOCAL: ErrorCode.CONNECT_LOCAL,
}


class Failure(Enum):
    """How an attempt ended before a byte of a response went to the client."""

    UNREACHABLE = auto()
    """No connection could be made."""
    STALE = auto()
    """An idle connection was dead before anything was written to it."""
    REUSED_CLOSED = auto()
    """An idle connection ended after the request was written to it."""
    FRESH_CLOSED = auto()
    """A new connection ended after the request was written to it."""
    SILENT = auto()
    """The backend took too long."""
    STATUS = auto()
    """The backend answered, with a status for which another one is asked."""


class Remedy(Enum):
    """Who gets the request next."""

    SAME = auto()
    """The same backend, on a fresh connection."""
    OTHER = auto()


def remedy(
    failure: Failure, rules: Retry, method: bytes, *, held: bool, complete: bool
) -> Remedy | None:
    """Decide whether the request goes out again.

    `held`: every byte of it received so far is still here. `complete`: it was
    received whole. That a status is one of the rules' is the caller's to see.
    """
    whole = held and complete and method in IDEMPOTENT
    match failure:
        case Failure.UNREACHABLE:
            return Remedy.OTHER if "connect_failure" in rules.on else None
        case Failure.STALE:
            return Remedy.SAME if held else None
        case Failure.REUSED_CLOSED:
            allowed = whole and "reused_connection_closed" in rules.on
            return Remedy.SAME if allowed else None
        case Failure.FRESH_CLOSED:
            allowed = whole and "connection_closed" in rules.on
        case Failure.SILENT:
            allowed = whole and "timeout" in rules.on
        case _:
            allowed = whole
    return Remedy.OTHER if allowed else None


def pause(backoff: Backoff | None, number: int, chance: float) -> float:
    """Return the seconds before a retry, the first of which is number 1.

    Full jitter: anything up to the bound, so that clients that failed together do
    not come back together (Brooker, "Exponential Backoff And Jitter", 2015).
    """
    if backoff is None:
        return 0.0
    # The exponent is bounded, since the bound is.
    return chance * min(backoff.max, backoff.base * 2.0 ** min(number - 1, 64))
