"""The side that serves and would hand over: one SIGQUIT, from the dial to the exit.

Its stages, and what each event does, are the table of `incumbent_stages`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from lbproto.handover import pingora
from lbproto.handover.effects import (
    Accepting,
    BeginDrain,
    CloseListeners,
    CollectIdle,
    Dial,
    DropFd,
    Effect,
    Exit,
    Hangup,
    Level,
    Log,
    SendBytes,
    Stop,
    TakeService,
    YieldService,
)
from lbproto.handover.events import (
    AcceptingStopped,
    Bytes,
    IdleOffered,
    IncumbentEvent,
    Interrupted,
    PeerClosed,
    PeerConnected,
    PeerRefused,
    Requested,
    Sent,
    Wake,
)
from lbproto.handover.idle import IdleMove
from lbproto.handover.incumbent_stages import (
    ASKING,
    CHANNEL,
    COMMITTED,
    EXPECTED,
    STOPPED,
    TALKING,
    Stage,
)
from lbproto.handover.keys import ListenerKey, check_keys
from lbproto.handover.messages import (
    VERSION,
    Abort,
    Commit,
    Done,
    Fds,
    Hello,
    Message,
    Offer,
    Ready,
    Take,
)
from lbproto.handover.times import GREETING_TIME, HELD, LINGER, RETRY, Times
from lbproto.handover.wire import (
    Broken,
    FrameReader,
    Item,
    Received,
    batches,
    encode,
    fits,
)
from lbproto.machine.values import ConnId

__all__ = ["Incumbent"]


class Incumbent:
    """One upgrade, seen from the process that serves."""

    def __init__(
        self,
        path: str,
        listeners: Sequence[ListenerKey],
        *,
        pid: int,
        generation: int,
        times: Times,
        busy: bool = False,
    ) -> None:
        """Make ready; nothing happens before `Requested`.

        `busy`: another upgrade runs, and this one is only there to say so.

        Raises:
            LocalProtocolError: a key has not the form of one, or is there twice.
        """
        self.stage = Stage.IDLE
        self._path = path
        self._listeners = check_keys(listeners)
        self._offer = Offer(pid, generation, self._listeners, 0)
        self._times = times
        self._refuse = busy
        self._reader = FrameReader(greeting=True)
        self._out: list[Effect] = []
        self._limit = math.inf
        """When the stage has lasted too long, or long enough."""
        self._retry = math.inf
        self._bake_end = math.inf
        self._unsent = 0
        """How many `SendBytes` have no `Sent` yet."""
        self._taken = Take((), connections=False)
        self._move = IdleMove(IdleOffered((), 0), ())

    @property
    def deadline(self) -> float:
        """When to feed `Wake`; infinity when there is nothing to wait for."""
        return min(self._limit, self._retry)

    @property
    def busy(self) -> bool:
        """An upgrade runs, or has ended this process's service."""
        return self.stage not in (Stage.IDLE, Stage.OVER)

    @property
    def over(self) -> bool:
        """The machine is done and the process serves: another one may be made."""
        return self.stage is Stage.OVER

    def handle(self, event: IncumbentEvent, now: float, /) -> list[Effect]:
        """Advance by one fact; never raises for anything that the peer did."""
        self._out = []
        match event:
            case Requested():
                self._requested(now)
            case PeerConnected(idle) if self.stage is Stage.DIALLING:
                self._offer = replace(self._offer, connections=idle)
                self._enter(Stage.GREETING, now + GREETING_TIME)
            case PeerRefused() if self.stage is Stage.DIALLING:
                self._retry = now + RETRY
            case Bytes():
                self._bytes(event, now)
            case Sent():
                self._sent(now)
            case PeerClosed(detail):
                self._closed(detail)
            case AcceptingStopped():
                self._stopped(now)
            case IdleOffered():
                self._offered(event, now)
            case Interrupted(signal):
                self._interrupted(signal)
            case Wake() if now >= self.deadline:
                self._woken(now)
            case _:
                pass  # it was on its way when the stage changed
        return self._out

    # -- what happened ---------------------------------------------------------

    def _requested(self, now: float) -> None:
        if self.stage is not Stage.IDLE:
            self._log(Level.WARNING, "an upgrade is under way already")
            return
        self._log(Level.INFO, "upgrade: dialling the successor", path=self._path)
        self._enter(Stage.DIALLING, now + self._times.timeout)
        self._out.append(Dial(self._path))

    def _bytes(self, event: Bytes, now: float) -> None:
        first = self._reader.buffered == 0
        for item in self._reader.receive(event.data, event.fds):
            self._item(item, now)
        # A successor has nothing to hand over.
        self._out += map(DropFd, self._reader.unclaimed())
        if self.stage is Stage.GREETING and first:
            self._limit = now + self._times.timeout  # Pingora says nothing at all

    def _item(self, item: Item, now: float) -> None:
        if isinstance(item, Broken):
            self._wrong(item.reason)
        elif isinstance(item, Received):
            self._out += map(DropFd, item.fds)
            self._message(item.message, now)
        elif self.stage is Stage.GREETING:
            self._step(Stage.HELLO, now)

    def _message(self, message: Message, now: float) -> None:
        match message:
            case Abort(reason) if self.stage in TALKING:
                self._give_up(f"the successor gave up: {reason}")
            case Hello(version) if self.stage is Stage.HELLO:
                self._hello(version, now)
            case Take() if self.stage is Stage.TAKE:
                self._take(message, now)
            case Ready(keys) if self.stage is Stage.READY:
                self._ready(keys, now)
            case Done() if self.stage in COMMITTED:
                self._log(Level.INFO, "upgrade: dismissed by the successor")
                self._finish()
            case _:
                self._wrong(f"{type(message).__name__} is out of turn")

    def _hello(self, version: int, now: float) -> None:
        if version != VERSION:
            self._wrong(f"version {version} of LBUP is not spoken here")
        elif self._refuse:
            self._give_up("busy", abort=True)
        elif not fits(self._offer):
            self._wrong("there are too many listeners for one frame")
        else:
            self._send(encode(self._offer))
            self._step(Stage.TAKE, now)

    def _take(self, take: Take, now: float) -> None:
        if not set(take.keys) <= set(self._listeners):
            self._wrong("a listener is taken that was not offered")
            return
        self._taken = take
        # Of a path each byte may need a backslash in JSON.
        for part in batches(take.keys, lambda key: len(key.encode()) * 2):
            self._send(encode(Fds(part)), part)
        self._step(Stage.READY, now)

    def _ready(self, keys: Sequence[ListenerKey], now: float) -> None:
        if not set(self._taken.keys) <= set(keys):
            self._wrong("a listener was taken, and nobody accepts on it")
            return
        self._out.append(Accepting(False, self._taken.keys))
        self._step(Stage.STOPPING, now)

    def _stopped(self, now: float) -> None:
        if self.stage is Stage.STOPPING:
            self._send(encode(Commit()))
            self._step(Stage.COMMITTING, now)
        elif self.stage is Stage.RETIRING:
            self._retire()

    def _sent(self, now: float) -> None:
        self._unsent -= 1
        if self._unsent > 0:
            return
        if self.stage is Stage.COMMITTING:
            self._log(Level.INFO, "upgrade: the successor has taken over")
            self._bake_end = now + self._times.bake
            self._out += [YieldService(), CollectIdle(self._taken.connections)]
            self._step(Stage.COLLECTING, now)
        elif self.stage is Stage.HANDING:
            self._move.sent()
            self._hand_over(now)
        elif self.stage is Stage.TABLE:
            self._log(Level.INFO, "upgrade: listeners sent to a Pingora process")
            self._out.append(Hangup(flush=False))
            self._enter(Stage.LINGERING, now + LINGER)

    def _offered(self, event: IdleOffered, now: float) -> None:
        if self.stage is not Stage.COLLECTING:
            self._out += IdleMove(event, ()).stay()
            return
        self._move = IdleMove(event, self._taken.keys)
        self._out += [BeginDrain(), *self._move.stay()]
        self._step(Stage.HANDING, now)
        self._hand_over(now)

    def _closed(self, detail: str) -> None:
        self._out += map(DropFd, self._reader.unclaimed())
        if self.stage in CHANNEL:
            self._give_up(f"the successor is gone: {detail}", closed=True)

    def _interrupted(self, signal: str) -> None:
        if self.stage in ASKING:
            self._send(encode(Abort(f"{signal} came")))
        elif self.stage in (Stage.COMMITTING, Stage.LINGERING, Stage.RETIRING):
            # Perhaps COMMIT has left; if not, the successor goes on alone.
            self._out.append(YieldService())
        self._out += self._move.end()
        if self.stage in CHANNEL:
            self._out.append(Hangup(flush=self.stage in ASKING))
        self._out.append(Stop(signal))
        self._enter(Stage.LEFT, math.inf)

    def _woken(self, now: float) -> None:
        stage, waited = self.stage, f"within {self._times.timeout:g} s"
        if now < self._limit:
            self._retry = math.inf
            self._out.append(Dial(self._path))
        elif stage is Stage.DIALLING:
            self._give_up(f"no successor came {waited}")
        elif stage is Stage.GREETING and not self._reader.buffered:
            self._speak_pingora(now)
        elif stage is Stage.BAKING and now < self._bake_end:
            self._out += self._move.let_go()
            self._enter(Stage.BAKING, self._bake_end)
        elif stage in COMMITTED:
            self._finish()
        elif stage is Stage.LINGERING:
            self._out.append(Accepting(False, self._listeners))
            self._step(Stage.RETIRING, now)
        elif stage is Stage.RETIRING:
            self._retire()
        elif stage is Stage.STOPPING:
            self._wrong(f"accepting did not stop {waited}")
        elif stage in EXPECTED:
            self._wrong(f"no {EXPECTED[stage].__name__} came {waited}")
        else:
            self._give_up(f"the successor took nothing {waited}")

    # -- what follows ----------------------------------------------------------

    def _speak_pingora(self, now: float) -> None:
        data = pingora.encode(self._listeners)
        if self._refuse:
            self._give_up("busy")
        elif isinstance(data, pingora.Unfit):
            self._give_up(data.reason)
        else:
            self._send(data, self._listeners)
            self._step(Stage.TABLE, now)

    def _hand_over(self, now: float) -> None:
        frame = self._move.next()
        if frame is not None:
            self._send(frame.data, frame.fds)
            return
        self._send(encode(Done(self._move.in_flight)))
        self._enter(Stage.BAKING, min(now + HELD, self._bake_end))

    def _finish(self) -> None:
        """The successor has stood the test, or needs nobody behind it: leave."""
        if self.stage is Stage.COLLECTING:
            self._out.append(BeginDrain())
        if self.stage is not Stage.BAKING:
            self._log(Level.WARNING, "upgrade: idle connections were not handed over")
        self._out += self._move.end()
        taken = self._taken.keys
        left = tuple(key for key in self._listeners if key not in taken)
        self._out.append(CloseListeners(taken, emptied=False))
        self._out += [CloseListeners(left, emptied=True), Hangup(flush=False)]
        self._leave()

    def _retire(self) -> None:
        """A Pingora process serves by now, for all that can be known: leave."""
        self._out += [YieldService(), BeginDrain()]
        self._out.append(CloseListeners(self._listeners, emptied=False))
        self._leave()

    def _leave(self) -> None:
        self._out.append(Exit(0, "the successor serves"))
        self._enter(Stage.LEFT, math.inf)

    def _wrong(self, reason: str) -> None:
        """The successor did not do its part."""
        if self.stage in ASKING:
            self._give_up(reason, abort=True)
        elif self.stage is Stage.GREETING:
            self._give_up(reason)
        elif self.stage in TALKING:
            # It owns the service. That it is alive is all that still matters.
            self._log(Level.WARNING, "upgrade: odd words passed over", reason=reason)

    def _give_up(
        self, reason: str, *, abort: bool = False, closed: bool = False
    ) -> None:
        """Serve on, or again."""
        if self.stage in (*STOPPED, *COMMITTED):
            self._out.append(Accepting(True, self._taken.keys))
        if self.stage in (Stage.COMMITTING, *COMMITTED):
            self._out.append(TakeService())
            self._out += self._move.end(undone=True)
            self._log(Level.ERROR, "upgrade undone: serving again", reason=reason)
        elif self._refuse:
            self._log(Level.WARNING, "upgrade refused", reason=reason)
        else:
            self._log(Level.ERROR, "upgrade failed: serving goes on", reason=reason)
        if abort:
            self._send(encode(Abort(reason)))
        if not closed:
            self._out.append(Hangup(flush=abort))
        self._enter(Stage.OVER, math.inf)

    def _send(self, data: bytes, fds: tuple[ListenerKey | ConnId, ...] = ()) -> None:
        self._unsent += 1
        self._out.append(SendBytes(data, fds))

    def _step(self, stage: Stage, now: float) -> None:
        """Go on to a stage that may last as long as the operator says."""
        self._enter(stage, now + self._times.timeout)

    def _enter(self, stage: Stage, limit: float) -> None:
        self.stage = stage
        self._limit, self._retry = limit, math.inf

    def _log(self, level: Level, message: str, **fields: object) -> None:
        self._out.append(Log(level, message, fields))
