"""Who polls the connections of one machine, and carries out its effects.

An `Attendant` is the `Wires` of one driver: a client connection's machine, the
client's socket and those to backends, one poll for all of them, one thread or
greenlet that runs `run`. Nothing of it is touched from outside.

The `Keeper` is the attendant of `Housekeeping`. Connections move to it and away
from it in the threads of others, so it has a lock, held for as long as an event is
dealt with. A machine may hand over a connection in the pool's books before its
thread does so in the keeper's: who asks for it meanwhile waits a moment. What
nobody waits for any more is closed when it arrives.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Protocol

from lbproto.machine.errors import LbError
from lbproto.machine.events import (
    Connected,
    ConnectError,
    ConnectFailed,
    Drain,
    Wake,
)
from lbproto_runtimes.awaiting import refuse
from lbproto_runtimes.logs import log_crash
from lbproto_runtimes.perform import Driver
from lbproto_runtimes.polled_dial import Dial
from lbproto_runtimes.wire import Turn, Wire

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from lbproto.machine.effects import Await, StartTls, Target
    from lbproto.machine.env import Machine
    from lbproto.machine.values import ConnId
    from lbproto_runtimes.contexts import Contexts
    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.polled import PolledServer
    from lbproto_runtimes.polls import Platform, Poll, SharedPoll

__all__ = ["Attendant", "House", "Idle", "Keeper"]

ARRIVAL: Final = 0.05
"""Seconds to wait for an idle connection that is in the books and not here."""

REMEMBERED: Final = 1024
"""Connections that did not come in time, and are closed when they do."""


class Idle(Protocol):
    """Where connections are that nobody uses."""

    def take_in(self, wire: Wire) -> None:
        """Keep a connection that is idle now."""
        ...

    def give_out(self, conn: ConnId, attendant: Attendant) -> Wire | None:
        """Return an idle connection, unless it has ended."""
        ...


class House(Protocol):
    """What attendants share."""

    logs: Logs
    platform: Platform
    contexts: Contexts

    @property
    def keeper(self) -> Idle:
        """Where connections are that nobody uses."""
        ...


class Attendant:
    """Polls some connections for the driver that owns them."""

    __slots__ = (
        "_armed_at",
        "_closing",
        "_house",
        "_watched",
        "_wires",
        "current",
        "driver",
        "logs",
        "platform",
        "poll",
    )

    def __init__(self, house: House, machine: Machine, poll: Poll) -> None:
        self.logs = house.logs
        self.platform = house.platform
        self.poll = poll
        self.current = Turn()  # wires write at once: few have much to say
        self.driver = Driver(machine, self)
        self._house = house
        self._wires: dict[ConnId, Wire] = {}
        self._watched: dict[int, Wire] = {}
        self._closing: list[Wire] = []
        self._armed_at = math.inf

    # -- its thread ----------------------------------------------------------

    def busy(self) -> bool:
        """Tell whether there is a connection left."""
        return bool(self._wires or self._closing)

    def turn(self) -> None:
        """Wait for something, and deal with all that has come."""
        until = self._armed_at
        for wire in self._closing:
            until = min(until, wire.cut_at)
        found = self.poll.wait(max(0.0, until - self.clock()))
        self.deal_with(found)

    def deal_with(self, found: list[tuple[int, int]]) -> None:
        """Carry on with what is ready, and with what time has brought."""
        # Looked up before: a number may mean another socket a moment later.
        for wire, mask in [(self._watched.get(it), mask) for it, mask in found]:
            if wire is None or wire.attendant is not self:
                continue
            if wire.dial is not None:
                wire.dial.advance(self.logs)
            else:
                wire.ready(mask)
        now = self.clock()
        if now >= self._armed_at:
            self._armed_at = math.inf
            self.wake_up()
        for wire in [wire for wire in self._closing if wire.cut_at <= now]:
            wire.abort()

    def wake_up(self) -> None:
        """The armed time has come."""
        self.driver.tick()

    def abort_all(self) -> None:
        """Reset every connection."""
        for wire in [*self._wires.values(), *self._closing]:
            wire.abort()

    # -- what wires ask for --------------------------------------------------

    def aside(self, work: Callable[[], None]) -> None:
        """Run this in a thread of the system, since it blocks."""
        self.platform.aside(work)

    def wait_for(self, descriptor: int, mask: int, wire: Wire) -> None:
        """Wait for a descriptor on behalf of a wire."""
        if mask:
            self._watched[descriptor] = wire
        elif self._watched.pop(descriptor, None) is None:
            return
        self.poll.watch(descriptor, mask)

    def let_go(self, wire: Wire) -> None:
        """Forget the connection of a wire that has yet to write."""
        self._wires.pop(wire.conn, None)
        self._closing.append(wire)

    def forget(self, wire: Wire) -> None:
        """Forget a wire."""
        self._wires.pop(wire.conn, None)
        if wire in self._closing:
            self._closing.remove(wire)

    # -- Wires ---------------------------------------------------------------

    def clock(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def knows(self, conn: ConnId) -> bool:
        """Tell whether a connection is open, or being opened."""
        return conn in self._wires

    def begin(self, wire: Wire, sock: socket.socket) -> None:
        """Begin with a client's socket."""
        self._wires[wire.conn] = wire
        wire.use(sock)
        wire.announce()

    def connect(
        self, conn: ConnId, target: Target, preface: bytes, owner: Driver
    ) -> None:
        """Start to dial; feed `owner` with the answer."""
        wire = Wire(self, conn, owner, Connected(conn))
        try:
            wire.prepare(target, self._house.contexts)
        except LbError as error:
            owner.feed(ConnectFailed(conn, ConnectError.TLS, str(error)))
            return
        self._wires[conn] = wire
        wire.dial = Dial(wire, target, preface)
        wire.dial.advance(self.logs)

    def start_tls(self, effect: StartTls) -> None:
        """Begin the server's side of a handshake."""
        context = self._house.contexts.server(effect.tls)
        self._wires[effect.conn].start_tls(context, effect.early)

    def adopt(self, conn: ConnId, owner: Driver) -> bool:
        """Give an idle connection a new owner, unless it is dead; tell."""
        wire = self._house.keeper.give_out(conn, self)
        if wire is None:
            return False
        self._wires[conn] = wire
        wire.owner = owner
        return True

    def park(self, conn: ConnId) -> bool:
        """Give a connection to housekeeping; false: there is none."""
        wire = self._wires.get(conn)
        if wire is None:
            return False
        self._house.keeper.take_in(wire)
        return True

    def send(self, conn: ConnId, data: bytes) -> bool:
        """Queue bytes; false: there is no such connection."""
        wire = self._wires.get(conn)
        if wire is None:
            return False
        wire.send(data)
        return True

    def relay(self, conn: ConnId, sink: ConnId) -> None:
        """Pass on what comes from one to the other; the owner reports it."""
        self._wires[conn].relay(self._wires.get(sink))

    def half_close(self, conn: ConnId) -> None:
        """Send FIN behind what is queued."""
        self._wires[conn].half_close()

    def close(self, conn: ConnId, patience: float) -> None:
        """Flush for at most `patience` seconds, then close."""
        self._wires[conn].close(patience)

    def abort(self, conn: ConnId) -> None:
        """Drop what is queued and reset."""
        self._wires[conn].abort()

    def set_reading(self, conn: ConnId, on: bool) -> None:
        """Stop or resume reading."""
        self._wires[conn].set_reading(on)

    def arm(self, owner: Driver, at: float) -> None:
        """Tick at a time; replaces what was armed."""
        self._armed_at = at

    def await_result(self, effect: Await, owner: Driver) -> None:
        """Say that there is no loop to await anything on."""
        refuse(effect, owner)

    def cancel(self, ticket: int, owner: Driver) -> None:
        """Cancel nothing: nothing is awaited."""

    def crashed(self, owner: Driver, error: Exception) -> None:
        """A machine raised: log it, and reset its connections and no others."""
        log_crash(self.logs, error)
        self.abort_all()


class Keeper(Attendant):
    """Polls the connections that nobody uses."""

    __slots__ = ("_awaited", "_lock", "_server", "_shared", "_waits_until")

    def __init__(
        self, server: PolledServer, machine: Machine, poll: SharedPoll
    ) -> None:
        super().__init__(server, machine, poll)
        self._server = server
        self._shared = poll
        self._lock = self.platform.lock()
        self._awaited: OrderedDict[ConnId, None] = OrderedDict()
        self._waits_until = math.inf

    def run(self) -> None:
        """Keep idle connections until the server is over."""
        while not self._server.over:
            # Infinite while it is computed: whoever parks meanwhile wakes us.
            self._waits_until = math.inf
            self.driver.rearm()
            self._waits_until = self._armed_at
            found = self.poll.wait(max(0.0, self._armed_at - self.clock()))
            with self._lock:
                self.deal_with(found)
        with self._lock:
            self.driver.feed(Drain(0.0, 0.0))
            self.abort_all()
            self.poll.close()

    def wake_up(self) -> None:
        """The armed time has come; more may be due at once by others' doing."""
        self.driver.armed_at = math.inf
        self.driver.feed(Wake())

    def wake(self) -> None:
        """Make it look at the time and the server again."""
        self._shared.wake()

    def take_in(self, wire: Wire) -> None:
        """Keep a connection that is idle now."""
        with self._lock:
            wire.move(self)
            if self._awaited.pop(wire.conn, 0) is None:
                wire.close(0.0)
                return
            wire.owner = self.driver
            self._wires[wire.conn] = wire
            self._lock.notify_all()
        if self.driver.machine.deadline < self._waits_until:
            self.wake()

    def give_out(self, conn: ConnId, attendant: Attendant) -> Wire | None:
        """Return an idle connection, unless it has ended."""
        with self._lock:
            until = self.clock() + ARRIVAL
            while (wire := self._wires.get(conn)) is None:
                if not self._lock.wait(until - self.clock()):
                    break
            if wire is None:
                self._await(conn)
            elif wire.is_dead():
                wire.abort()
            else:
                wire.move(attendant)
                return wire
            return None

    def knows(self, conn: ConnId) -> bool:
        """Whatever is in the pool is here, or on its way."""
        return True

    def close(self, conn: ConnId, patience: float) -> None:
        """Close an idle connection, or note to do it once it comes."""
        if conn in self._wires:
            super().close(conn, patience)
        else:
            self._await(conn)

    def _await(self, conn: ConnId) -> None:
        self._awaited[conn] = None
        if len(self._awaited) > REMEMBERED:
            self._awaited.popitem(last=False)
