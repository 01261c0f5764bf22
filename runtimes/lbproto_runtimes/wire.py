"""A connection over a non-blocking socket that somebody polls.

A `Wire` does what a transport of asyncio does: it writes at once what the socket
takes and keeps the rest, says when that is too much, reads when it may, and closes
when all is written. An `Attendant` (in `attend`) polls it.
"""

from __future__ import annotations

import contextlib
import math
import socket
from collections import deque
from typing import TYPE_CHECKING, Final

from lbproto.machine.events import WriteBlocked, WriteUnblocked
from lbproto_runtimes.channel import HIGH_WATER, LOW_WATER, Channel, reset_at_close
from lbproto_runtimes.dial import describe
from lbproto_runtimes.moved import Moved
from lbproto_runtimes.polls import READ, WRITE

if TYPE_CHECKING:
    from collections.abc import Collection

    from lbproto.machine.events import Event
    from lbproto.machine.values import ConnId
    from lbproto_runtimes.attend import Attendant
    from lbproto_runtimes.perform import Driver
    from lbproto_runtimes.polled_dial import Dial

__all__ = ["Wire"]

READ_SIZE: Final = 64 * 1024
"""Below malloc's threshold for mapping memory, which would cost two system calls."""


class Wire(Channel):
    """One socket, and what waits to be written to it."""

    __slots__ = (
        "_blocked",
        "_eof_came",
        "_eof_due",
        "_mask",
        "_out",
        "_queued",
        "_reading",
        "attendant",
        "cut_at",
        "dial",
        "sock",
    )

    def __init__(
        self, attendant: Attendant, conn: ConnId, owner: Driver, news: Event
    ) -> None:
        super().__init__(conn, owner, news)
        self.attendant = attendant
        self.sock: socket.socket | None = None
        self.dial: Dial | None = None
        """How far the connection is, while it is being made."""
        self.cut_at = math.inf
        """We have closed it, and cut it off then if the rest is not written."""
        self._out: deque[memoryview | bytes] = deque()
        self._queued = 0
        self._blocked = False
        self._reading = True
        self._eof_came = False
        self._eof_due = False
        self._mask = 0

    def use(self, sock: socket.socket) -> None:
        """Carry bytes over this connected socket from now on."""
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.dial = None
        self._watch()

    def move(self, attendant: Attendant) -> None:
        """Be polled by another attendant from now on."""
        assert self.sock is not None, "only open connections move"
        self.attendant.wait_for(self.sock.fileno(), 0, self)
        self.attendant.forget(self)
        self.attendant, self._mask = attendant, 0
        self._watch()

    # -- what the attendant does ---------------------------------------------

    def ready(self, mask: int) -> None:
        """The socket is ready for something, or broken, which reading will tell."""
        # Reading first: what a peer said before it broke off still counts.
        if self.sock is not None and self._mask & READ and mask & ~WRITE:
            self._read()
        if self.sock is not None and self._out and mask & ~READ:
            self._write_on()

    def set_reading(self, on: bool) -> None:
        """Stop or resume reading."""
        self._reading = on
        self._watch()

    def is_dead(self) -> bool:
        """Tell whether an idle connection has ended, or has unread bytes."""
        assert self.sock is not None, "only open connections are parked"
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

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
        """Drop what is queued and reset; tell nobody."""
        self.owner = None
        if self.sock is not None:
            reset_at_close(self.sock)
        self._dispose()

    def _dispose(self) -> None:
        if self.dial is not None:
            self.dial.cancel()
            self.dial = None
        self._out.clear()
        self.attendant.forget(self)
        sock, self.sock = self.sock, None
        if sock is not None:
            self.attendant.wait_for(sock.fileno(), 0, self)
            sock.close()

    # -- reading -------------------------------------------------------------

    def _read(self) -> None:
        assert self.sock is not None, "only open connections are watched"
        try:
            data = self.sock.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._break(describe(error))
            return
        if data:
            self.received(data)
        else:
            self._eof_came = True
            self._watch()
            self.ended()

    def _break(self, detail: str) -> None:
        self._dispose()
        self.lost(detail)

    # -- writing -------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Queue bytes for the socket."""
        sock = self.sock
        if sock is None or self._eof_due or self.cut_at < math.inf:
            return
        if not self._out:
            try:
                sent = sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._break(describe(error))
                return
            if sent == len(data):
                return
            self._out.append(memoryview(data)[sent:] if sent else data)
            self._queued = len(data) - sent
            self._watch()
        else:
            self._out.append(data)
            self._queued += len(data)
        if self._queued > HIGH_WATER and not self._blocked:
            self._blocked = True
            if self.owner is not None:
                self.owner.feed(WriteBlocked(self.conn))

    def _write_on(self) -> None:
        assert self.sock is not None, "only open connections are watched"
        try:
            while self._out:
                data = self._out[0]
                sent = self.sock.send(data)
                self._queued -= sent
                if sent < len(data):
                    self._out[0] = memoryview(data)[sent:]
                    break
                self._out.popleft()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._break(describe(error))
            return
        if not self._out:
            self._written()
        if self._blocked and self._queued <= LOW_WATER:
            self._blocked = False
            if self.owner is not None:
                self.owner.feed(WriteUnblocked(self.conn))

    def _written(self) -> None:
        """Nothing is queued any more: do what waited for that."""
        if self.cut_at < math.inf:
            self._dispose()
            return
        self._watch()
        if self._eof_due and self.sock is not None:
            with contextlib.suppress(OSError):  # gone: reading tells
                self.sock.shutdown(socket.SHUT_WR)

    def write_eof(self) -> None:
        """Send FIN behind what is queued."""
        self._eof_due = True
        if not self._out:
            self._written()

    def shut(self, patience: float) -> None:
        """Forget the connection, flush for at most `patience` seconds, then close."""
        if not self._out:
            self._dispose()
            return
        self.cut_at = self.attendant.clock() + patience
        self._watch()
        self.attendant.let_go(self)

    def _watch(self) -> None:
        """Tell the poll what we wait for, when that changes."""
        reading = self._reading and not self._eof_came and self.cut_at == math.inf
        mask = (READ if reading else 0) | (WRITE if self._out else 0)
        if self.sock is not None and mask != self._mask:
            self._mask = mask
            self.attendant.wait_for(self.sock.fileno(), mask, self)
