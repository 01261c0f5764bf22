"""Orders that a machine gives its runtime.

Names are imperative verbs. A runtime carries effects out in order, all of one
batch before it feeds the next event. A new effect must be implementable in
about five lines in every runtime; anything longer is policy and belongs here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from enum import IntEnum
from typing import TypeAlias

from lbproto.machine.tls import ClientTls, ServerTls
from lbproto.machine.values import ConnId, value

__all__ = [
    "Access",
    "AccessRecord",
    "Adopt",
    "Await",
    "Cancel",
    "Close",
    "Connect",
    "Effect",
    "HalfClose",
    "Level",
    "Log",
    "Park",
    "Relay",
    "Send",
    "SetReading",
    "StartTls",
    "Target",
]


class Level(IntEnum):
    """How loud a log line is; the numbers are those of `logging`."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


@value
class Target:
    """Where to connect: a TCP address, or a Unix-domain socket if `path` is set."""

    host: str
    port: int
    path: str = ""
    tls: ClientTls | None = None
    """TLS to speak once connected; None: none."""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        if ":" in self.host:
            return f"[{self.host}]:{self.port}"
        return f"{self.host}:{self.port}"


@value
class AccessRecord:
    """One exchange, as an access log tells it. Times are seconds."""

    conn: ConnId
    peer: str
    """The address of who asks; behind a trusted proxy, of whom it names."""
    method: str
    target: str
    authority: str
    version: str
    status: int
    """0 when no response head was sent."""
    received: int
    """Bytes of the request's content."""
    sent: int
    """Bytes of the response's content."""
    started: float
    duration: float
    backend: str
    """The last backend tried; empty when there was none."""
    tries: int
    reused: bool
    """The backend connection came from the pool."""
    error: str
    """Empty, or the name of an `ErrorCode`."""


@value
class Connect:
    """Dial; answer with `Connected` or `ConnectFailed`, unless closed first.

    If the target says so, the answer comes after the TLS handshake.
    """

    conn: ConnId
    target: Target
    preface: bytes = b""
    """The first bytes on the wire, before TLS."""


@value
class Adopt:
    """Take this connection out of the idle set; its events are mine from now on."""

    conn: ConnId


@value
class Park:
    """Give this connection to the idle set; I am done with it."""

    conn: ConnId


@value
class StartTls:
    """Begin the server's side of a TLS handshake; answer with `Secured` or `Lost`."""

    conn: ConnId
    tls: ServerTls
    early: bytes = b""
    """The first bytes of the handshake, which had arrived already."""


@value
class Send:
    """Queue these bytes; never empty."""

    conn: ConnId
    data: bytes


@value
class Relay:
    """What comes from this connection may go to another as it is, to its end.

    It is as if each `Data` were answered by a `Send` to `sink`; back-pressure is told
    and ordered as ever, and the end of the stream is an event. A runtime that does it
    reports how much it was by `Relayed`. One that does not goes on with `Data`, or
    does now the one, now the other.
    """

    conn: ConnId
    sink: ConnId


@value
class HalfClose:
    """Send FIN after what is queued; go on reading."""

    conn: ConnId


@value
class Close:
    """Flush what is queued, then close. `abort`: wait for nothing, and reset.

    A peer that does not take what is queued within `patience` seconds is cut off.
    """

    conn: ConnId
    abort: bool = False
    patience: float = 60.0


@value
class SetReading:
    """Stop or resume reading. A request, not a barrier: one read may follow."""

    conn: ConnId
    on: bool


@value
class Await:
    """Await what an application has returned; answer with `Settled`.

    A runtime without an event loop answers at once, with an error.
    """

    conn: ConnId
    """The client's, whose machine asks; it may have been closed."""
    ticket: int
    """Names the answer; the machine uses each number once."""
    awaitable: Awaitable[object]


@value
class Cancel:
    """Cancel what is awaited under this ticket; there is no answer any more."""

    conn: ConnId
    ticket: int


@value
class Log:
    """A line for the error log."""

    level: Level
    message: str
    fields: Mapping[str, object]


@value
class Access:
    """One exchange has ended; emitted once for each."""

    record: AccessRecord


Effect: TypeAlias = (
    Connect
    | StartTls
    | Adopt
    | Park
    | Send
    | Relay
    | HalfClose
    | Close
    | SetReading
    | Await
    | Cancel
    | Log
    | Access
)
