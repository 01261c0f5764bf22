"""Many machines over one epoll: the `Wires` of all drivers of a thread.

A hub has the sockets of all its clients and backends. A turn finds who is ready, lets
each of them be heard, and then writes what they had to say: a write to a peer on the
same machine wakes it up, which costs more than the bytes, and one to whom several
speak one after the other is woken once.

It runs wherever something can wait for a descriptor: its epoll is one, and is readable
when a turn has something to do. On an event loop that is a reader, in gevent a watcher
of the hub, in a thread of its own the turn itself waits (`Host`). What other threads
want of it are errands, and an eventfd tells of them.

A turn never blocks, and no machine here calls what might: an application whose phases
may block has a thread, or a greenlet, for each client instead (`polled`).
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from lbproto.machine.errors import LbError
from lbproto.machine.events import Connected, ConnectError, ConnectFailed, Drain
from lbproto_runtimes.alarms import Alarms, Call
from lbproto_runtimes.awaiting import refuse
from lbproto_runtimes.dial import describe
from lbproto_runtimes.logs import log_crash
from lbproto_runtimes.perform import HubDriver
from lbproto_runtimes.polled_dial import Dial
from lbproto_runtimes.polls import READ
from lbproto_runtimes.wire import Turn, Wire

if TYPE_CHECKING:
    import select
    import socket
    from collections.abc import Callable

    from lbproto.machine.effects import Await, StartTls, Target
    from lbproto.machine.env import Machine
    from lbproto.machine.values import ConnId
    from lbproto_runtimes.awaiting import Awaiting
    from lbproto_runtimes.contexts import Contexts
    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.perform import Driver

__all__ = ["Host", "Hub"]

KEPT: Final = 2 * 1024 * 1024
"""Bytes of memory that malloc keeps for large reads, for each process.

It gives large blocks back to the system when they are freed, and takes them anew, page
by page, for the next read: a fifth of the cost of a large response. Having freed one of
this size it raises its thresholds (mallopt(3), M_MMAP_THRESHOLD).
"""

BURST: Final = 256
"""Descriptors that a turn deals with, so that others on the loop get theirs."""


class Host(Protocol):
    """What runs a hub."""

    def epoll(self) -> select.epoll:
        """Make one."""
        ...

    def ring_at(self, at: float) -> None:
        """Have a turn at this time, at the latest; replaces what was said before."""
        ...

    def aside(self, work: Callable[[], None]) -> None:
        """Run this in a thread of the system, since it blocks.

        Raises:
            RuntimeError: the system has no room for more.
        """
        ...

    @property
    def awaiting(self) -> Awaiting | None:
        """Who awaits what applications return; None: nobody can."""
        ...


class Hub:
    """The connections of one thread, and the drivers that own them."""

    def __init__(
        self, housekeeping: Machine, logs: Logs, contexts: Contexts, host: Host
    ) -> None:
        bytes(KEPT)
        self.logs = logs
        self.clock: Callable[[], float] = time.monotonic
        """Seconds; not a method, since each event asks for them."""
        self.current = Turn()
        """Of all its wires."""
        self.housekeeping = HubDriver(housekeeping, self)
        self.forgotten: Callable[[Wire], None] = lambda wire: None
        """Called when a connection is gone."""
        self._contexts = contexts
        self._host = host
        self._epoll = host.epoll()
        self._wires: dict[ConnId, Wire] = {}
        self._watched: dict[int, Wire] = {}
        self._others: dict[int, Callable[[], None]] = {}  # listeners, the bell
        self._closing: dict[Wire, None] = {}
        self._parked = False
        self._alarms = Alarms()
        self._rings_at = math.inf
        self._errands: deque[Callable[[], None]] = deque()
        self._lock = threading.RLock()  # a signal's handler may come in between
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._watch_descriptor(self._bell, self._heard)

    # -- turns ---------------------------------------------------------------

    def fileno(self) -> int:
        """Return what is readable when a turn has something to do."""
        return self._epoll.fileno()

    def patience(self) -> float:
        """Return for how many seconds nothing is due by time alone."""
        return max(0.0, self._alarms.next - self.clock())

    def turn(self, seconds: float = 0.0) -> None:
        """Wait for at most these seconds, and deal with what has come."""
        self._deal_with(self._epoll.poll(seconds, BURST))
        while self._errands:
            try:
                self._errands.popleft()()
            except Exception as error:
                self._give_up(None, error)

    def look(self) -> None:
        """Deal with all that has come already."""
        self._deal_with(self._epoll.poll(0.0, len(self._watched) + BURST))

    def ring(self) -> None:
        """The time has come that the host was told."""
        self._rings_at = math.inf
        self._deal_with([])
        self._set_host()

    def _deal_with(self, found: list[tuple[int, int]]) -> None:
        # Looked up before: a number may mean another socket a moment later.
        watched, others = self._watched, self._others
        ready = [
            (watched.get(descriptor) or others.get(descriptor), mask)
            for descriptor, mask in found
        ]
        self.current.on = True
        for one, mask in ready:
            try:
                if isinstance(one, Wire):
                    self._hear(one, mask)
                elif one is not None:
                    one()
            except Exception as error:  # a bug of ours must not spread
                self._give_up(one, error)
        try:
            if self._alarms.next <= self.clock():
                self._alarms.ring(self.clock())
        except Exception as error:
            self._give_up(None, error)
        self._end_turn()

    def _hear(self, wire: Wire, mask: int) -> None:
        if wire.dial is None:
            wire.ready(mask)
        else:
            wire.dial.advance(self.logs)

    def _give_up(self, one: object, error: Exception) -> None:
        """Log what should not have happened; its connection is lost, and no other."""
        log_crash(self.logs, error)
        if not isinstance(one, Wire):
            return
        owner = one.owner
        try:
            one.break_off(describe(error))
        except Exception as another:  # its machine is broken, too
            if owner is not None:
                self.crashed(owner, another)

    def _end_turn(self) -> None:
        due = self.current.due
        for wire in due:  # grows, when a full buffer makes a machine speak
            try:
                wire.flush()
            except Exception as error:
                self._give_up(wire, error)
        due.clear()
        self.current.on = False
        if self._parked:
            self._parked = False
            self.housekeeping.rearm()

    def _set_host(self) -> None:
        first = self._alarms.next
        if first < self._rings_at:
            self._rings_at = first
            self._host.ring_at(first)

    def ask(self, errand: Callable[[], None]) -> None:
        """Have something done in the hub's thread; any thread may ask."""
        with self._lock:  # closed, its number may be another's
            if self._bell >= 0:
                self._errands.append(errand)
                os.eventfd_write(self._bell, 1)

    def _heard(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._bell)

    def end(self) -> None:
        """Close everything; nothing is done after that."""
        self.housekeeping.feed(Drain(0.0, 0.0))
        for wire in [*self._wires.values(), *self._closing]:
            wire.abort()
        self._alarms.clear()
        self._epoll.close()
        with self._lock:
            os.close(self._bell)
            self._bell = -1

    # -- what is watched beside connections ----------------------------------

    def watch(self, sock: socket.socket, ready: Callable[[], None]) -> None:
        """Call `ready` when a client waits."""
        self._watch_descriptor(sock.fileno(), ready)

    def _watch_descriptor(self, descriptor: int, ready: Callable[[], None]) -> None:
        self._others[descriptor] = ready
        self._epoll.register(descriptor, READ)

    def ignore(self, sock: socket.socket) -> None:
        """Call nothing any more."""
        del self._others[sock.fileno()]
        self._epoll.unregister(sock.fileno())

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        """Call after a while."""
        at = self.clock() + seconds
        self._alarms.arm(Call(at, call), at)
        self._set_host()

    # -- what wires ask for --------------------------------------------------

    def aside(self, work: Callable[[], None]) -> None:
        """Run this in a thread of the system, since it blocks."""
        self._host.aside(work)

    def wait_for(self, descriptor: int, mask: int, wire: Wire) -> None:
        """Wait for a descriptor on behalf of a wire."""
        if not mask:
            if self._watched.pop(descriptor, None) is not None:
                self._epoll.unregister(descriptor)
        elif descriptor in self._watched:
            self._watched[descriptor] = wire
            self._epoll.modify(descriptor, mask)
        else:
            self._watched[descriptor] = wire
            self._epoll.register(descriptor, mask)

    def let_go(self, wire: Wire) -> None:
        """Forget the connection of a wire that has yet to write."""
        self._wires.pop(wire.conn, None)
        self._closing[wire] = None
        self.later(wire.cut_at - self.clock(), partial(self._cut, wire))

    def _cut(self, wire: Wire) -> None:
        if wire in self._closing:
            wire.abort()

    def forget(self, wire: Wire) -> None:
        """Forget a wire."""
        if self._wires.pop(wire.conn, None) is None:
            self._closing.pop(wire, None)
        self.forgotten(wire)

    # -- Wires ---------------------------------------------------------------

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
            wire.prepare(target, self._contexts)
        except LbError as error:
            owner.feed(ConnectFailed(conn, ConnectError.TLS, str(error)))
            return
        self._wires[conn] = wire
        wire.dial = Dial(wire, target, preface)
        wire.dial.advance(self.logs)

    def start_tls(self, effect: StartTls) -> None:
        """Begin the server's side of a handshake."""
        context = self._contexts.server(effect.tls)
        self._wires[effect.conn].start_tls(context, effect.early)

    def adopt(self, conn: ConnId, owner: Driver) -> bool:
        """Give an idle connection a new owner, unless it is dead; tell."""
        wire = self._wires.get(conn)
        if wire is None or wire.sock is None:
            return False
        if wire.is_dead():
            wire.abort()
            return False
        wire.owner = owner
        return True

    def park(self, conn: ConnId) -> bool:
        """Give a connection to housekeeping; false: there is none."""
        wire = self._wires.get(conn)
        if wire is None:
            return False
        wire.owner = self.housekeeping
        if self.current.on:
            self._parked = True
        else:
            self.housekeeping.rearm()
        return True

    def send(self, conn: ConnId, data: bytes) -> bool:
        """Queue bytes; false: there is no such connection."""
        wire = self._wires.get(conn)
        if wire is None:
            return False
        if wire.tls is None:
            wire.write(data)
        else:
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
        """Call `owner.tick` at a time; replaces what was armed."""
        self._alarms.arm(owner, at)
        self._set_host()

    def await_result(self, effect: Await, owner: Driver) -> None:
        """Await what an application has returned, if there is a loop for it."""
        awaiting = self._host.awaiting
        if awaiting is None:
            refuse(effect, owner)
        else:
            awaiting.begin(effect, owner)

    def cancel(self, ticket: int, owner: Driver) -> None:
        """Cancel what is awaited, if it still is."""
        if self._host.awaiting is not None:
            self._host.awaiting.cancel(ticket, owner)

    def crashed(self, owner: Driver, error: Exception) -> None:
        """A machine raised: log it, and reset its connections and no others."""
        log_crash(self.logs, error)
        for wire in [wire for wire in self._wires.values() if wire.owner is owner]:
            wire.abort()
