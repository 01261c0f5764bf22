"""The side that is to serve: started with `-u`, it waits for the one that runs.

Until it has said READY it holds nothing that the incumbent does not hold too, so to
give up is to exit with status 3 and the reason. Tokens are kept until all listeners
that were taken have come: either all are bound, or all are dropped.

| stage | waits for | then | EOF | bad frame, ABORT, or no answer in time |
|---|---|---|---|---|
| `IDLE` | `Requested`: the socket listens | | | |
| `WAITING` | `PeerConnected` | the greeting, HELLO | | exit 3 |
| `OFFER` | OFFER | TAKE | exit 3 | exit 3 |
| | Pingora's message, to EOF or a pause | bind, drop strays, start | | exit 3 |
| `FDS` | FDS for all that was taken | bind, start workers | exit 3 | exit 3 |
| `STARTING` | `WorkersReady` | READY | goes on alone | exit 3 |
| | alone: without limit | take the service | | |
| `READY` | COMMIT | take the service | take the service | exit 3, but it waits on |
| `COMMITTED` | IDLE, DONE | adopt connections | over | passed over |
| `OWNER` | EOF: the incumbent's bake is over | | over | passed over |
| `OVER` | nothing | | | |

A failure of its own workers is exit 3 in every stage. In `READY` there is no exit
for lack of an answer: the incumbent may have stopped accepting already, and it would
find out by EOF. From COMMIT on the channel stays open until the incumbent closes it,
since to hang up is to be dead in its eyes. If the service ends before, because the
operator stops it or it goes on to a third process, DONE dismisses the incumbent. A
peer that comes while another is served is turned away with `busy`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

from lbproto.handover.dialect import Inbox, Parcel
from lbproto.handover.effects import (
    AdoptConn,
    BindFd,
    DropFd,
    Effect,
    Exit,
    Hangup,
    Level,
    Log,
    SendBytes,
    StartWorkers,
    Stop,
    TakeService,
    TurnAway,
)
from lbproto.handover.events import (
    Bytes,
    HandedOn,
    Interrupted,
    PeerClosed,
    PeerConnected,
    Requested,
    SuccessorEvent,
    Wake,
    WorkersFailed,
    WorkersReady,
)
from lbproto.handover.keys import FdToken, ListenerKey, check_keys
from lbproto.handover.messages import (
    VERSION,
    Abort,
    Commit,
    Done,
    Fds,
    Hello,
    Idle,
    Message,
    Offer,
    Ready,
    Take,
)
from lbproto.handover.pingora import Table
from lbproto.handover.times import QUIET, Times
from lbproto.handover.wire import GREETING, Received, encode, fits

__all__ = ["Stage", "Successor"]

_FAILED: Final = 3
"""The exit status of a process that could not take over."""


class Stage(Enum):
    """What the successor waits for."""

    IDLE = auto()
    WAITING = auto()
    OFFER = auto()
    FDS = auto()
    STARTING = auto()
    READY = auto()
    COMMITTED = auto()
    OWNER = auto()
    OVER = auto()


_OWNING: Final = (Stage.COMMITTED, Stage.OWNER)


class Successor:
    """One upgrade, seen from the process that is to serve."""

    def __init__(
        self,
        listeners: Sequence[ListenerKey],
        *,
        pid: int,
        generation: int,
        times: Times,
    ) -> None:
        """Make ready to serve on these listeners.

        Raises:
            LocalProtocolError: a key has not the form of one, or is there twice.
        """
        self.stage = Stage.IDLE
        self.generation = generation
        """The incumbent's and one, once it is known."""
        self._listeners = check_keys(listeners)
        self._pid = pid
        self._times = times
        self._inbox = Inbox()
        self._out: list[Effect] = []
        self._limit = math.inf
        self._pause = math.inf
        """When Pingora's message is taken as complete."""
        self._taken: tuple[ListenerKey, ...] = ()
        self._held: dict[ListenerKey, FdToken] = {}
        """What has come of what was taken, and is not bound yet."""
        self._connected = False
        self._deaf = False
        """The service is ours, and the incumbent's words make no sense."""

    @property
    def deadline(self) -> float:
        """When to feed `Wake`; infinity when there is nothing to wait for."""
        return min(self._limit, self._pause)

    @property
    def busy(self) -> bool:
        """The upgrade runs: not the time for another one."""
        return self.stage not in (Stage.IDLE, Stage.OWNER, Stage.OVER)

    @property
    def over(self) -> bool:
        """The machine is done."""
        return self.stage is Stage.OVER

    def handle(self, event: SuccessorEvent, now: float, /) -> list[Effect]:
        """Advance by one fact; never raises for anything that the peer did."""
        self._out = []
        match event:
            case Requested() if self.stage is Stage.IDLE:
                self._requested(now)
            case PeerConnected():
                self._connected_to(now)
            case Bytes():
                self._bytes(event, now)
            case PeerClosed(detail):
                self._closed(detail, now)
            case WorkersReady() if self.stage is Stage.STARTING:
                self._ready(now)
            case WorkersFailed(reason) if self.stage in (Stage.STARTING, Stage.READY):
                self._give_up(f"the workers do not start: {reason}")
            case HandedOn() if self.stage in _OWNING:
                self._dismiss()
            case Interrupted(signal):
                self._interrupted(signal)
            case Wake() if now >= self.deadline:
                self._woken(now)
            case _:
                pass  # it was on its way when the stage changed, or is no news
        return self._out

    # -- what happened ---------------------------------------------------------

    def _requested(self, now: float) -> None:
        if not fits(Take(self._listeners, connections=True)):
            self._give_up("there are too many listeners for one frame")
            return
        self._log(Level.INFO, "upgrade: waiting for the process that runs")
        self._step(Stage.WAITING, now)

    def _connected_to(self, now: float) -> None:
        if self.stage is not Stage.WAITING:
            self._out.append(TurnAway(GREETING + encode(Abort("busy"))))
            return
        self._connected = True
        hello = encode(Hello(VERSION, self._pid, self.generation))
        self._out.append(SendBytes(GREETING + hello))
        self._step(Stage.OFFER, now)

    def _bytes(self, event: Bytes, now: float) -> None:
        if self._deaf or not self._connected:
            self._out += map(DropFd, event.fds)
            return
        for parcel in self._inbox.receive(event.data, event.fds):
            if self.stage is not Stage.OVER:
                self._parcel(parcel, now)
            elif isinstance(parcel, Received):
                self._out += map(DropFd, parcel.fds)
        if self._inbox.pingora and self.stage is Stage.OFFER:
            self._pause = now + QUIET

    def _parcel(self, parcel: Parcel, now: float) -> None:
        if isinstance(parcel, Received):
            self._message(parcel.message, parcel.fds, now)
        elif isinstance(parcel, Table):
            self._pingora(parcel.fds)
        else:
            self._deaf = True
            self._wrong(parcel.reason)

    def _message(self, message: Message, fds: tuple[FdToken, ...], now: float) -> None:
        match message:
            case Abort(reason):
                self._aborted(reason)
            case Offer() if self.stage is Stage.OFFER:
                self._offered(message, now)
            case Fds(keys) if self.stage is Stage.FDS:
                self._got(keys, fds, now)
            case Commit() if self.stage is Stage.READY:
                self._own("upgrade: the incumbent drains")
                self._step(Stage.COMMITTED, now)
            case Idle() if self.stage in _OWNING:
                self._adopt(message, fds)
            case Done(in_flight) if self.stage in _OWNING:
                self._log(Level.INFO, "upgrade: done", in_flight=in_flight)
                self._enter(Stage.OWNER, math.inf)
            case _:
                self._out += map(DropFd, fds)
                self._wrong(f"{type(message).__name__} is out of turn")

    def _offered(self, offer: Offer, now: float) -> None:
        self.generation = offer.generation + 1
        self._taken = tuple(key for key in self._listeners if key in offer.keys)
        self._out.append(SendBytes(encode(Take(self._taken, connections=True))))
        self._step(Stage.FDS, now)
        self._start_if_complete(now)

    def _got(
        self, keys: Sequence[ListenerKey], fds: Sequence[FdToken], now: float
    ) -> None:
        if [key for key in keys if key not in self._taken or key in self._held]:
            self._out += map(DropFd, fds)
            self._wrong("a descriptor for a listener that was not asked for")
            return
        self._held.update(zip(keys, fds, strict=True))
        self._start_if_complete(now)

    def _start_if_complete(self, now: float) -> None:
        if len(self._held) == len(self._taken):
            self._start(now + self._times.timeout)

    def _pingora(self, listeners: Sequence[tuple[ListenerKey, FdToken]]) -> None:
        """A Pingora process has said all that it will ever say."""
        for key, token in listeners:
            if key in self._listeners:
                self._held[key] = token
            else:
                self._log(Level.WARNING, "upgrade: nobody wants a listener", key=key)
                self._out.append(DropFd(token))
        self._log(Level.INFO, "upgrade: listeners came from a Pingora process")
        self._part("")
        self._start(math.inf)

    def _start(self, limit: float) -> None:
        self._out += [BindFd(token, key) for key, token in self._held.items()]
        self._held.clear()
        self._out.append(StartWorkers(self._listeners))
        self._enter(Stage.STARTING, limit)

    def _ready(self, now: float) -> None:
        if not self._connected:
            self._own("upgrade: serving, without a word of the incumbent")
            self._enter(Stage.OVER, math.inf)
            return
        self._out.append(SendBytes(encode(Ready(self._listeners))))
        self._step(Stage.READY, now)

    def _adopt(self, idle: Idle, fds: Sequence[FdToken]) -> None:
        for one, token in zip(idle.peers, fds, strict=True):
            known = one.key in self._taken
            self._out.append(
                AdoptConn(token, one.key, one.peer) if known else DropFd(token)
            )

    def _aborted(self, reason: str) -> None:
        if self.stage in _OWNING:
            self._wrong(f"the incumbent gave up too late: {reason}")
        else:
            self._give_up(f"the incumbent gave up: {reason}", abort=False)

    def _closed(self, detail: str, now: float) -> None:
        self._connected = False
        if self.stage is Stage.OFFER and self._inbox.pingora:
            self._parcel(self._inbox.finish(), now)
            return
        self._out += map(DropFd, self._inbox.unclaimed())
        if self.stage in (Stage.OFFER, Stage.FDS):
            self._give_up(f"the incumbent is gone: {detail}")
        elif self.stage is Stage.STARTING:
            self._log(Level.WARNING, "upgrade: the incumbent is gone", detail=detail)
            self._enter(Stage.STARTING, math.inf)
        elif self.stage is Stage.READY:
            self._own("upgrade: serving, and the incumbent is gone")
            self._enter(Stage.OVER, math.inf)
        elif self.stage in _OWNING:
            self._log(Level.INFO, "upgrade: the incumbent has closed", detail=detail)
            self._enter(Stage.OVER, math.inf)

    def _interrupted(self, signal: str) -> None:
        self._drop_all()
        if self.stage in _OWNING:
            self._dismiss()
        else:
            self._part(f"{signal} came")
        self._out.append(Stop(signal))
        self._enter(Stage.OVER, math.inf)

    def _woken(self, now: float) -> None:
        waited = f"within {self._times.timeout:g} s"
        if now >= self._pause and self.stage is Stage.OFFER:
            self._parcel(self._inbox.finish(), now)
        elif self.stage is Stage.WAITING:
            self._give_up(f"no incumbent came {waited}")
        elif self.stage in (Stage.OFFER, Stage.FDS):
            self._wrong(f"no {self.stage.name} came {waited}")
        elif self.stage is Stage.STARTING:
            self._wrong(f"the workers were not ready {waited}")
        else:
            waits = "COMMIT" if self.stage is Stage.READY else "DONE"
            self._log(
                Level.WARNING, f"upgrade: no {waits} {waited}, serving all the same"
            )
            if self.stage is Stage.COMMITTED:
                self.stage = Stage.OWNER
            self._limit = math.inf

    # -- what follows ----------------------------------------------------------

    def _wrong(self, reason: str) -> None:
        """The incumbent did not do its part."""
        if self.stage not in _OWNING:
            self._give_up(reason)
            return
        self._log(Level.WARNING, "upgrade: odd words passed over", reason=reason)
        if self._deaf:
            self._drop_all()

    def _give_up(self, reason: str, *, abort: bool = True) -> None:
        """The incumbent goes on, this process ends."""
        self._drop_all()
        self._part(reason if abort else "")
        self._log(Level.ERROR, "upgrade failed", reason=reason)
        self._out.append(Exit(_FAILED, reason))
        self._enter(Stage.OVER, math.inf)

    def _own(self, message: str) -> None:
        self._out.append(TakeService())
        self._log(Level.INFO, message)

    def _part(self, reason: str) -> None:
        """Close the channel, if there is one; a reason is for those who can read."""
        if not self._connected:
            return
        self._connected = False
        said = bool(reason) and not self._inbox.pingora
        if said:
            self._out.append(SendBytes(encode(Abort(reason))))
        self._out.append(Hangup(flush=said))

    def _dismiss(self) -> None:
        """The operator has other plans: nobody is to take the service back."""
        self._connected = False
        self._out += [SendBytes(encode(Done(0))), Hangup(flush=True)]
        self._enter(Stage.OVER, math.inf)

    def _drop_all(self) -> None:
        self._out += map(DropFd, self._held.values())
        self._held.clear()
        self._out += map(DropFd, self._inbox.unclaimed())

    def _step(self, stage: Stage, now: float) -> None:
        self._enter(stage, now + self._times.timeout)

    def _enter(self, stage: Stage, limit: float) -> None:
        self.stage = stage
        self._limit, self._pause = limit, math.inf

    def _log(self, level: Level, message: str, **fields: object) -> None:
        self._out.append(Log(level, message, fields))
