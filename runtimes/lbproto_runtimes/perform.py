"""Driving a machine: one queue, one loop, one interpreter of effects.

A transport may call back while an effect is carried out (asyncio calls
`pause_writing` from inside `write`), so events are queued and a machine is never
re-entered. Effects go to a `Wires`, which is all that runtimes differ in.

Every connection has one owner: the driver of the client connection that uses it,
or, while it is idle, the driver of `Housekeeping`. Adopting and parking only
change the owner.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol, assert_never

from lbproto.machine.effects import (
    Access,
    Adopt,
    Await,
    Cancel,
    Close,
    Connect,
    Effect,
    HalfClose,
    Log,
    Park,
    Relay,
    Send,
    SetReading,
    StartTls,
)
from lbproto.machine.errors import LocalProtocolError
from lbproto.machine.events import ConnectError, ConnectFailed, Event, Relayed, Wake
from lbproto_runtimes.alarms import Alarm

if TYPE_CHECKING:
    from lbproto.machine.effects import Target
    from lbproto.machine.env import Machine
    from lbproto.machine.values import ConnId
    from lbproto_runtimes.channel import Channel
    from lbproto_runtimes.hub import Hub
    from lbproto_runtimes.logs import Logs

__all__ = ["Driver", "HubDriver", "Wires"]

SEND: Final = Send
ADOPT: Final = Adopt
PARK: Final = Park
ACCESS: Final = Access
CLOSE: Final = Close
"""A name that another package gives is looked up whenever it is used; these are not."""


class Wires(Protocol):
    """What a runtime can do with connections and time.

    Each call but `send`, `park` and `adopt` names a connection that is open; `knows`
    tells.
    """

    logs: Logs

    def clock(self) -> float:
        """Return monotonic seconds."""
        ...

    def knows(self, conn: ConnId) -> bool:
        """Tell whether a connection is open, or being opened."""
        ...

    def relay(self, conn: ConnId, sink: ConnId) -> None:
        """Pass on what comes from one to the other; the owner reports it."""
        ...

    def connect(
        self, conn: ConnId, target: Target, preface: bytes, owner: Driver
    ) -> None:
        """Start to dial; feed `owner` with the answer."""
        ...

    def start_tls(self, effect: StartTls) -> None:
        """Begin the server's side of a handshake; feed the owner with the answer."""
        ...

    def adopt(self, conn: ConnId, owner: Driver) -> bool:
        """Give an idle connection a new owner, unless it is dead; tell."""
        ...

    def park(self, conn: ConnId) -> bool:
        """Give a connection to housekeeping; false: there is no such connection."""
        ...

    def send(self, conn: ConnId, data: bytes) -> bool:
        """Queue bytes; false: there is no such connection."""
        ...

    def half_close(self, conn: ConnId) -> None:
        """Send FIN behind what is queued."""
        ...

    def close(self, conn: ConnId, patience: float) -> None:
        """Flush for at most `patience` seconds, then close."""
        ...

    def abort(self, conn: ConnId) -> None:
        """Drop what is queued and reset."""
        ...

    def set_reading(self, conn: ConnId, on: bool) -> None:
        """Stop or resume reading."""
        ...

    def await_result(self, effect: Await, owner: Driver) -> None:
        """Await something; feed `owner` with the answer, even at once."""
        ...

    def cancel(self, ticket: int, owner: Driver) -> None:
        """Cancel what is awaited for an owner under a ticket, if it still is."""
        ...

    def arm(self, owner: Driver, at: float) -> None:
        """Call `owner.tick` at a time, or earlier; replaces what was armed."""
        ...

    def crashed(self, owner: Driver, error: Exception) -> None:
        """A machine raised: log it, and reset its connections and no others."""
        ...


class Driver(Alarm):
    """A machine, the events it has yet to see, and its armed deadline."""

    __slots__ = ("_busy", "_queue", "_wires", "clock", "machine", "relayed")

    def __init__(self, machine: Machine, wires: Wires) -> None:
        super().__init__(math.inf)
        self.machine = machine
        self._wires = wires
        self.clock = wires.clock
        self.relayed: list[Channel] | None = None
        """Connections that have sinks."""
        # Seldom longer than two, and a deque would take 600 bytes for each client.
        self._queue: list[Event] = []
        self._busy = False

    def feed(self, event: Event) -> None:
        """Tell the machine a fact and carry out what it orders."""
        if self._busy:
            self._queue.append(event)
            return
        if self.relayed is not None:
            self._report(self.relayed)
            self._queue.append(event)
            self._run()
            self.rearm()
            return
        self._busy = True
        try:
            for effect in self.machine.handle(event, self.clock()):
                self.perform(effect)
        except Exception as error:  # a bug of ours must not spread
            self._queue.clear()
            self._wires.crashed(self, error)
        finally:
            self._busy = False
        if self._queue:
            self._run()
        self.rearm()

    def relays(self, channel: Channel) -> None:
        """Report what passes through a connection from now on."""
        self.relayed = [*(self.relayed or ()), channel]

    def _report(self, relayed: list[Channel]) -> None:
        """Have the machine know first what has passed without it."""
        for one in relayed:
            if one.octets:
                self._queue.append(Relayed(one.conn, one.octets, one.last))
                one.octets = 0

    def _run(self) -> None:
        self._busy = True
        try:
            while self._queue:
                now = self.clock()
                for effect in self.machine.handle(self._queue.pop(0), now):
                    self.perform(effect)
        except Exception as error:  # a bug of ours must not spread
            self._queue.clear()
            self._wires.crashed(self, error)
        finally:
            self._busy = False

    def rearm(self) -> None:
        """Arm the timer if the deadline came nearer; a later one can wait."""
        deadline = self.machine.deadline
        if deadline < self.armed_at:
            self.armed_at = deadline
            self._wires.arm(self, deadline)

    def tick(self) -> None:
        """The armed time has come; the deadline may have moved on since."""
        self.armed_at = math.inf
        if self.relayed is not None:
            self._report(self.relayed)
            self._run()
        now = self.clock()
        if self.machine.deadline > now:
            self.rearm()
            return
        self._queue.append(Wake())
        self._run()
        if self.machine.deadline <= now:
            # Not armed again: it would be woken for ever.
            stuck = LocalProtocolError(f"{self.machine!r} does not advance")
            self._wires.crashed(self, stuck)
        else:
            self.rearm()

    def perform(self, effect: Effect) -> None:
        """Carry out one effect."""
        # What a usual exchange orders comes first, by the quickest of questions.
        wires = self._wires
        if type(effect) is Send:
            if not wires.send(effect.conn, effect.data):
                self.missed(effect)
        elif type(effect) is Adopt:
            if not wires.adopt(effect.conn, self):
                self.stale(effect)
        elif type(effect) is Park:
            if not wires.park(effect.conn):
                self.missed(effect)
        elif type(effect) is Access:
            wires.logs.access(effect.record)
        else:
            self.perform_rare(effect)

    def stale(self, effect: Adopt) -> None:
        """Tell the machine that an idle connection has ended."""
        stale = ConnectFailed(effect.conn, ConnectError.STALE, "closed while idle")
        self._queue.append(stale)

    def perform_rare(self, effect: Effect) -> None:
        """Carry out an effect of another kind than those of a usual exchange."""
        wires = self._wires
        match effect:
            case Log():
                wires.logs.perform(effect)
            case Await():
                wires.await_result(effect, self)
            case Cancel(_, ticket):
                wires.cancel(ticket, self)
            case Connect(conn, target, preface):
                wires.connect(conn, target, preface, self)
            case Access():
                raise AssertionError("performed above")
            case _ if not wires.knows(effect.conn):
                self.missed(effect)
            case Relay(conn, sink):
                wires.relay(conn, sink)
            case SetReading(conn, on):
                wires.set_reading(conn, on)
            case Close(conn, abort, patience):
                if abort:
                    wires.abort(conn)
                else:
                    wires.close(conn, patience)
            case HalfClose(conn):
                wires.half_close(conn)
            case StartTls():
                wires.start_tls(effect)
            case Send() | Adopt() | Park():
                raise AssertionError("performed above")
            case _:
                assert_never(effect)

    def missed(self, effect: Effect) -> None:
        """An effect names a connection that is not there.

        Its end is queued and the machine could not know yet; else the machine named a
        connection that it does not have.
        """
        conn: object = getattr(effect, "conn", None)
        if not any(getattr(it, "conn", None) == conn for it in self._queue):
            raise LocalProtocolError(f"{effect!r}: no such connection")


class HubDriver(Driver):
    """A driver that knows its hub, so that a usual exchange needs no detour."""

    __slots__ = ("_hub",)

    def __init__(self, machine: Machine, hub: Hub) -> None:
        super().__init__(machine, hub)
        self._hub = hub

    def perform(self, effect: Effect) -> None:
        """Carry out one effect."""
        hub = self._hub
        if type(effect) is SEND:
            if not hub.send(effect.conn, effect.data):
                self.missed(effect)
        elif type(effect) is ADOPT:
            if not hub.adopt(effect.conn, self):
                self.stale(effect)
        elif type(effect) is PARK:
            if not hub.park(effect.conn):
                self.missed(effect)
        elif type(effect) is ACCESS:
            hub.logs.access(effect.record)
        elif type(effect) is CLOSE and not effect.abort and hub.knows(effect.conn):
            hub.close(effect.conn, effect.patience)
        else:
            self.perform_rare(effect)
