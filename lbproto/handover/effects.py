"""Orders of the machines of an upgrade; each is a few lines of a runtime.

They are carried out in order, like every machine's. What names a descriptor names it
by its listener's key, its connection's id, or the token under which it came.
"""

from __future__ import annotations

from typing import TypeAlias

from lbproto.handover.keys import FdToken, ListenerKey
from lbproto.machine.effects import Level, Log
from lbproto.machine.events import PeerInfo
from lbproto.machine.values import ConnId, value

__all__ = [
    "Accepting",
    "AdoptConn",
    "BeginDrain",
    "BindFd",
    "CloseListeners",
    "CollectIdle",
    "Dial",
    "DropFd",
    "Effect",
    "Exit",
    "Hangup",
    "LetGo",
    "Level",
    "Log",
    "Reclaim",
    "Resume",
    "SendBytes",
    "StartWorkers",
    "Stop",
    "TakeService",
    "TurnAway",
    "YieldService",
]

# -- the channel ---------------------------------------------------------------


@value
class Dial:
    """Connect to this path, once; answer with `PeerConnected` or `PeerRefused`."""

    path: str


@value
class SendBytes:
    """Queue these bytes for the peer, with descriptors on the first one.

    Answer with `Sent` when the last byte has left. A failure is a `PeerClosed`.
    """

    data: bytes
    fds: tuple[ListenerKey | ConnId, ...] = ()


@value
class Hangup:
    """Close the channel, or give up the dial; no event of it comes any more."""

    flush: bool
    """Send what is queued first, as far as it leaves without waiting; else drop it:
    what it offers is not to be had any more."""


@value
class TurnAway:
    """Send this to the peer that has just connected, and close its connection.

    The channel that was there before stays.
    """

    data: bytes


# -- descriptors that were received --------------------------------------------


@value
class BindFd:
    """Take this descriptor as this listener.

    One that is not a listening socket of that address is for `WorkersFailed` to tell.
    """

    token: FdToken
    key: ListenerKey


@value
class AdoptConn:
    """Take this descriptor as an accepted, idle connection of this listener.

    What a listener asks of a new client (a PROXY header) it has done already.
    """

    token: FdToken
    key: ListenerKey
    peer: PeerInfo
    """An empty `local` is what getsockname(2) says."""


@value
class DropFd:
    """Close this descriptor; never shut it down, which others would feel."""

    token: FdToken


# -- serving -------------------------------------------------------------------


@value
class StartWorkers:
    """Serve on these listeners: bind those that no `BindFd` gave, start accepting.

    Answer with `WorkersReady` or `WorkersFailed`.
    """

    keys: tuple[ListenerKey, ...]


@value
class Accepting:
    """Stop or resume accepting on these listeners; all of them stay open.

    Answer to a stop with `AcceptingStopped`.
    """

    on: bool
    keys: tuple[ListenerKey, ...]


@value
class TakeService:
    """The service is this process's: write the pid file, and at the end remove it and
    the paths of Unix-domain listeners. Connections that come are served in full.
    """


@value
class YieldService:
    """The service is another process's: the pid file and the paths are left alone from
    now on. Connections that still come here are drained like the others.
    """


@value
class CollectIdle:
    """Say which connections could be handed over, and leave these alone meanwhile.

    Answer with `IdleOffered`; without `wanted` there are none to hand over.
    """

    wanted: bool


@value
class LetGo:
    """Close our side of these connections without a word: they are the successor's."""

    conns: tuple[ConnId, ...]


@value
class Resume:
    """Go on with these connections after all; they drain if the others do."""

    conns: tuple[ConnId, ...]


@value
class Reclaim:
    """Go on with those of these connections that no process of the successor serves.

    The others are let go. Whoever serves a connection that was handed over has to leave
    a mark on it that its copies show.
    """

    conns: tuple[ConnId, ...]


@value
class BeginDrain:
    """Feed `Drain` to every connection but those collected.

    Idle ones stay open until they speak or time out. The process does not end for
    that alone: that is `Exit`.
    """


@value
class CloseListeners:
    """Close these listeners; with `emptied` accept what is in their queues before."""

    keys: tuple[ListenerKey, ...]
    emptied: bool


@value
class Stop:
    """Do what the signal asks for, as if there was no upgrade."""

    signal: str


@value
class Exit:
    """End the process with this status, once what is in flight is over.

    Accepting ends now, connections drain, and the operator's time for it holds.
    """

    code: int
    reason: str


Effect: TypeAlias = (
    Dial
    | SendBytes
    | Hangup
    | TurnAway
    | BindFd
    | AdoptConn
    | DropFd
    | StartWorkers
    | Accepting
    | TakeService
    | YieldService
    | CollectIdle
    | LetGo
    | Resume
    | Reclaim
    | BeginDrain
    | CloseListeners
    | Stop
    | Exit
    | Log
)
