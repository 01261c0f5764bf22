"""Facts that a runtime tells the machines of an upgrade.

A machine has one channel, to one peer. Nothing that the peer does makes a machine
raise, and an event that was on its way when the machine changed its mind is ignored;
descriptors are never ignored: whatever comes in `Bytes` is bound, adopted or dropped.
"""

from __future__ import annotations

from typing import TypeAlias

from lbproto.handover.keys import FdToken
from lbproto.handover.messages import IdlePeer
from lbproto.machine.events import Wake
from lbproto.machine.values import ConnId, value

__all__ = [
    "AcceptingStopped",
    "Bytes",
    "HandedOn",
    "IdleOffered",
    "IncumbentEvent",
    "Interrupted",
    "PeerClosed",
    "PeerConnected",
    "PeerRefused",
    "Requested",
    "Sent",
    "SuccessorEvent",
    "Wake",
    "WorkersFailed",
    "WorkersReady",
]


@value
class Requested:
    """The upgrade begins: SIGQUIT came, or the successor's socket listens."""


@value
class PeerConnected:
    """The dial succeeded, or somebody with the right uid connected to us."""

    idle: int = 0
    """How many idle connections could be handed over; the incumbent's runtime knows."""


@value
class PeerRefused:
    """The answer to `Dial` when it failed: the path is missing, nobody listens."""

    detail: str


@value
class Bytes:
    """What one read of the channel gave."""

    data: bytes
    """Never empty."""
    fds: tuple[FdToken, ...] = ()
    """The descriptors that came along, in their order. If the kernel cut them off
    (MSG_CTRUNC), those that are left: the wrong number is what the machine sees."""


@value
class Sent:
    """All bytes of one `SendBytes` are in the kernel: one for each, in their order.

    It comes at once, before any other event: what was sent cannot be taken back.
    """


@value
class PeerClosed:
    """EOF, or an error of a read or a write; the channel is closed. The last of it."""

    detail: str


@value
class AcceptingStopped:
    """The answer to `Accepting(False, ...)`, unless accepting was ordered since.

    No worker accepts on these listeners any more, and each accepted connection has
    its machine. They are still open.
    """


@value
class IdleOffered:
    """The answer to `CollectIdle`; exactly one for each."""

    peers: tuple[tuple[ConnId, IdlePeer], ...]
    """Idle keep-alive connections without TLS, of which nothing is read and nothing
    is queued. They stay as they are until `LetGo` or `Resume`."""
    in_flight: int
    """All other connections of clients."""


@value
class WorkersReady:
    """Every listener of `StartWorkers` is bound, and workers accept."""


@value
class WorkersFailed:
    """They do not: an address is in use, or a descriptor is not what its key says."""

    reason: str


@value
class Interrupted:
    """SIGTERM or SIGINT came; the answer has a `Stop`, in every state."""

    signal: str


@value
class HandedOn:
    """The service has gone on to a third process, while the first one still stays."""


IncumbentEvent: TypeAlias = (
    Requested
    | PeerConnected
    | PeerRefused
    | Bytes
    | Sent
    | PeerClosed
    | AcceptingStopped
    | IdleOffered
    | Interrupted
    | Wake
)

SuccessorEvent: TypeAlias = (
    Requested
    | PeerConnected
    | Bytes
    | Sent
    | PeerClosed
    | WorkersReady
    | WorkersFailed
    | HandedOn
    | Interrupted
    | Wake
)
