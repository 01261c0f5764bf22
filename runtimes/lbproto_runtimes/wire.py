"""A connection over a socket that somebody polls.

A `Wire` reads when it may, writes what the socket takes and keeps the rest, says when
that is too much, and closes when all is written. Who polls it (a `Hub`, or an
`Attendant`) may have what is written wait until all others have had their turn: then
`flush` is called, and small pieces have become one.

No socket needs to be non-blocking for that: each call says that it will not wait
(MSG_DONTWAIT), so what another process does to the same socket does not matter.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
from typing import TYPE_CHECKING, Final, Protocol

from lbproto.machine.events import WriteBlocked, WriteUnblocked
from lbproto_runtimes.channel import HIGH_WATER, LOW_WATER, Channel, reset_at_close
from lbproto_runtimes.dial import describe
from lbproto_runtimes.moved import Moved
from lbproto_runtimes.polls import READ, WRITE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from lbproto.machine.events import Event
    from lbproto.machine.values import ConnId
    from lbproto_runtimes.perform import Driver
    from lbproto_runtimes.polled_dial import Dial

__all__ = ["Poller", "Wire"]

DONTWAIT: Final = int(socket.MSG_DONTWAIT)

SMALL: Final = 16 * 1024
"""Bytes of a read, until one is full."""
LARGE: Final = 160 * 1024
"""Bytes of a read while they are full: below what a peer may have held for it, and the
best of several sizes."""

READS: Final = 4
"""Large reads of one connection in a turn, while they are full and welcome."""

MOST: Final = 16 * 1024
"""Bytes that may wait for the end of the turn; more are written at once, so that
back-pressure is not late."""


class Turn:
    """What is done at a time: those who have something to say are heard first."""

    __slots__ = ("due", "on")

    def __init__(self) -> None:
        self.on = False
        """One is under way; never, where each wire writes at once."""
        self.due: list[Wire] = []
        """To be flushed at its end."""


class Poller(Protocol):
    """What polls wires."""

    @property
    def current(self) -> Turn:
        """The turn of all its wires."""
        ...

    def clock(self) -> float:
        """Return monotonic seconds."""
        ...

    def aside(self, work: Callable[[], None]) -> None:
        """Run this in a thread of the system, since it blocks.

        Raises:
            RuntimeError: the system has no room for more.
        """
        ...

    def wait_for(self, descriptor: int, mask: int, wire: Wire) -> None:
        """Wait for a descriptor on behalf of a wire; 0 is nothing."""
        ...

    def let_go(self, wire: Wire) -> None:
        """Forget the connection of a wire that has yet to write."""
        ...

    def forget(self, wire: Wire) -> None:
        """Forget a wire."""
        ...


class Wire(Channel):
    """One socket, and what waits to be written to it."""

    __slots__ = (
        "_blocked",
        "_due",
        "_eof_came",
        "_eof_due",
        "_failure",
        "_mask",
        "_out",
        "_poll",
        "_queued",
        "_reading",
        "_size",
        "_turn",
        "attendant",
        "cut_at",
        "dial",
        "sock",
    )

    def __init__(
        self, attendant: Poller, conn: ConnId, owner: Driver, news: Event
    ) -> None:
        super().__init__(conn, owner, news)
        self.attendant = attendant
        self._turn = attendant.current
        self.sock: socket.socket | None = None
        self.dial: Dial | None = None
        """How far the connection is, while it is being made."""
        self.cut_at = math.inf
        """We have closed it, and cut it off then if the rest is not written."""
        self._out: list[memoryview | bytes] = []
        self._queued = 0  # bytes in it
        self._due = False  # it will be flushed at the end of the turn
        self._blocked = False  # as the owner was told
        self._reading = True
        self._eof_came = False
        self._eof_due = False
        self._failure = ""  # why nothing can be written any more
        self._mask = 0
        self._size = SMALL
        self._poll: select.poll | None = None  # made when first asked for life

    def use(self, sock: socket.socket) -> None:
        """Carry bytes over this connected socket from now on."""
        self.sock = sock
        self.dial = None
        self._watch()

    def move(self, attendant: Poller) -> None:
        """Be polled by another attendant from now on."""
        assert self.sock is not None, "only open connections move"
        self.attendant.wait_for(self.sock.fileno(), 0, self)
        self.attendant.forget(self)
        self.attendant, self._mask = attendant, 0
        self._turn = attendant.current
        self._watch()

    # -- what the attendant does ---------------------------------------------

    def ready(self, mask: int) -> None:
        """The socket is ready for something, or broken, which reading will tell."""
        # Reading first: what a peer said before it broke off still counts.
        if mask & ~WRITE:
            reads = READS if self._turn.on else 1  # it may be another's by then
            while reads and self._mask & READ and self.sock is not None:
                reads = reads - 1 if self._read() else 0
        if self._out and mask & ~READ and self.sock is not None:
            self.flush()

    def set_reading(self, on: bool) -> None:
        """Stop or resume reading."""
        self._reading = on
        if self._failure and not on:  # nobody would notice the end
            self.break_off(self._failure)
        else:
            self._watch()

    def is_dead(self) -> bool:
        """Tell whether an idle connection has ended, or has unread bytes."""
        assert self.sock is not None, "only open connections are parked"
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.sock.fileno(), READ)
        return bool(self._poll.poll(0))

    def give_up(self, keys: Collection[str]) -> Moved | None:
        """Give the client away, if it is an idle one of these listeners."""
        peer, sock, listener = self.idle_peer(keys), self.sock, self.listener
        if peer is None or sock is None or listener is None or self._out:
            return None
        self.sock = None
        self.depart()
        self.attendant.wait_for(sock.fileno(), 0, self)
        self.attendant.forget(self)
        return Moved(listener.key, peer, listener.listen.proxy_protocol, sock)

    def abort(self) -> None:
        """Drop what the socket does not take at once, and reset; tell nobody."""
        self.owner = None
        if self._due:  # what the peer gets must not depend on the turn
            self.flush()
            if self.sock is None:
                return  # it was gone
        if self.sock is not None:
            reset_at_close(self.sock)
        self._dispose()

    def _dispose(self) -> None:
        if self.dial is not None:
            self.dial.cancel()
            self.dial = None
        self._out.clear()
        self.sink = None
        self.attendant.forget(self)
        sock, self.sock = self.sock, None
        if sock is not None:
            self.attendant.wait_for(sock.fileno(), 0, self)
            sock.close()

    # -- reading -------------------------------------------------------------

    def _read(self) -> bool:
        """Read once; tell whether there seems to be more."""
        assert self.sock is not None, "only open connections are watched"
        size = self._size
        try:
            data = self.sock.recv(size, DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self.break_off(describe(error))
            return False
        count = len(data)
        if count == size:
            self._size = LARGE
        elif count < SMALL:
            self._size = SMALL
        if not count:
            self._end()
        elif self.tls is None and self.news is None:
            # Nearly always it is no TLS and no news: a call less.
            self.hand_on(data)
        else:
            self.received(data)
        return count == LARGE

    def _end(self) -> None:
        if self._failure:  # a reset, of which writing was told first
            self.break_off(self._failure)
            return
        self._eof_came = True
        self._watch()
        self.ended()

    def break_off(self, detail: str) -> None:
        """The connection is gone, by its peer's doing or by ours: tell its owner."""
        self._dispose()
        self.lost(detail)

    # -- writing -------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Queue bytes for the socket."""
        if self.sock is None or self._eof_due or self._failure:
            return
        if self.cut_at < math.inf:
            return
        out = self._out
        waiting = len(out) > 0
        out.append(data)
        self._queued += len(data)
        if waiting and not self._due:  # for the socket
            self._tell()
        elif self._queued > MOST:
            self.flush()
        elif not self._due:
            turn = self._turn
            if turn.on:
                self._due = True
                turn.due.append(self)
            else:
                self.flush()

    def flush(self) -> None:
        """Write what the socket takes of what waits."""
        self._due = False
        sock, out = self.sock, self._out
        if sock is None:
            return
        try:
            while out:
                data = out[0]
                if len(out) > 1 and len(data) <= MOST:
                    data = b"".join(out)
                    out[:] = [data]
                sent = sock.send(data, DONTWAIT)
                self._queued -= sent
                if sent < len(data):
                    out[0] = memoryview(data)[sent:]
                    break
                if len(out) == 1:
                    out.clear()
                else:
                    del out[0]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._cannot_write(describe(error))
            return
        if out or self._mask & WRITE or self._eof_due or self.cut_at < math.inf:
            self._leave_off()
        self._tell()

    def _leave_off(self) -> None:
        """Go on when there is room, or do what waited for the last byte."""
        if not self._out:
            self._written()
        elif not self._mask & WRITE:
            self._watch()

    def _tell(self) -> None:
        """Tell the owner when much is queued, and when it is little again."""
        if self._blocked:
            if self._queued <= LOW_WATER:
                self._blocked = False
                if self.owner is not None:
                    self.owner.feed(WriteUnblocked(self.conn))
        elif self._queued > HIGH_WATER:
            self._blocked = True
            if self.owner is not None:
                self.owner.feed(WriteBlocked(self.conn))

    def _cannot_write(self, detail: str) -> None:
        """The peer takes no more; what it has said before that still counts."""
        self._out.clear()
        self._queued = 0
        if self._mask & READ and self.cut_at == math.inf:
            self._failure = detail
            self._watch()
        else:
            self.break_off(detail)

    def _written(self) -> None:
        """Nothing is queued any more: do what waited for that."""
        if self.cut_at < math.inf:
            self._dispose()
            return
        if self._mask & WRITE:
            self._watch()
        if self._eof_due and self.sock is not None:
            with contextlib.suppress(OSError):  # gone: reading tells
                self.sock.shutdown(socket.SHUT_WR)

    def write_eof(self) -> None:
        """Send FIN behind what is queued."""
        self._eof_due = True
        if self._due:
            self.flush()
        elif not self._out:
            self._written()

    def shut(self, patience: float) -> None:
        """Forget the connection, flush for at most `patience` seconds, then close."""
        if self._due:
            self.flush()
        if not self._out:
            self._dispose()
            return
        self.cut_at = self.attendant.clock() + patience
        self._watch()
        self.attendant.let_go(self)

    def _watch(self) -> None:
        """Tell the poll what we wait for, when that changes."""
        reading = self._reading and not self._eof_came and self.cut_at == math.inf
        writing = self._out and not self._due
        mask = (READ if reading else 0) | (WRITE if writing else 0)
        if mask != self._mask and self.sock is not None:
            self._mask = mask
            self.attendant.wait_for(self.sock.fileno(), mask, self)
