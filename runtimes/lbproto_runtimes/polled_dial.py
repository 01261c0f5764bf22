"""Dialling a backend without blocking, over a poll.

A host name is resolved beside the caller, who waits for a pipe meanwhile; its
addresses are tried in turn. A step ends when the descriptor that is waited for is
ready.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING

from lbproto.machine.events import ConnectError, ConnectFailed
from lbproto_runtimes.dial import connect_error, describe
from lbproto_runtimes.logs import log_crash
from lbproto_runtimes.polls import READ, WRITE

if TYPE_CHECKING:
    from lbproto.machine.effects import Target
    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.wire import Poller, Wire

__all__ = ["Dial", "is_numeric"]


def is_numeric(host: str) -> bool:
    """Tell whether a host is an address, which needs no resolver."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, host)
            return True
    return False


class Dial:
    """A connection that is being made."""

    __slots__ = (
        "_begun",
        "_found",
        "_left",
        "_pipe",
        "_preface",
        "_sock",
        "_target",
        "_wire",
    )

    def __init__(self, wire: Wire, target: Target, preface: bytes) -> None:
        self._wire = wire
        self._target = target
        self._preface = preface
        self._begun = False
        self._left: list[tuple[int, object]] = []
        self._sock: socket.socket | None = None
        self._pipe: tuple[int, int] | None = None
        self._found: list[tuple[int, object]] | OSError | UnicodeError = []

    @property
    def _attendant(self) -> Poller:
        return self._wire.attendant

    def _watch(self, descriptor: int, mask: int) -> None:
        self._attendant.wait_for(descriptor, mask, self._wire)

    def advance(self, logs: Logs) -> None:
        """Begin, or go on since the descriptor is ready; the wire learns the result."""
        step = self._go_on if self._begun else self._begin
        self._begun = True
        try:
            sock = step()
        except (OSError, UnicodeError) as error:  # the latter: no host name at all
            self._fail(connect_error(error), error)
        except Exception as error:  # nobody may wait for an answer in vain
            log_crash(logs, error)
            self._fail(ConnectError.LOCAL, error)
        else:
            if sock is not None:
                self._wire.use(sock)
                self._wire.greet(self._preface)

    def _fail(self, why: ConnectError, error: Exception) -> None:
        wire = self._wire
        owner = wire.owner
        wire.abort()
        if owner is not None:
            owner.feed(ConnectFailed(wire.conn, why, describe(error)))

    def _begin(self) -> socket.socket | None:
        """Start; return the socket if it is connected already.

        Raises:
            OSError: it cannot be reached.
        """
        target = self._target
        if target.path:
            self._left = [(socket.AF_UNIX, target.path)]
        elif is_numeric(target.host):
            family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
            self._left = [(family, (target.host, target.port))]
        else:
            self._pipe = os.pipe()
            self._watch(self._pipe[0], READ)
            try:
                self._attendant.aside(self._resolve)
            except RuntimeError as error:  # no thread left
                os.close(self._pipe[1])
                raise OSError(errno.EAGAIN, str(error)) from None
            return None
        return self._next()

    def _go_on(self) -> socket.socket | None:
        """The descriptor is ready: go on; return the socket once it is connected.

        Raises:
            OSError: none of its addresses can be reached.
            UnicodeError: its name is none.
        """
        if self._pipe is not None:
            self._forget_pipe()
            if isinstance(self._found, OSError | UnicodeError):
                raise self._found
            self._left = self._found
            return self._next()
        sock = self._sock
        assert sock is not None, "called only while something is waited for"
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0:
            self._sock = None
            return sock  # still watched: the wire goes on with that
        self.cancel()
        if not self._left:
            raise OSError(code, os.strerror(code))
        return self._next()

    def cancel(self) -> None:
        """Give up."""
        if self._pipe is not None:
            self._forget_pipe()
        sock, self._sock = self._sock, None
        if sock is not None:
            self._watch(sock.fileno(), 0)
            sock.close()

    def _next(self) -> socket.socket | None:
        while True:
            family, address = self._left.pop(0)
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = sock.connect_ex(address)  # type: ignore[arg-type]
            if code == 0:
                return sock
            if code == errno.EINPROGRESS:
                self._sock = sock
                self._watch(sock.fileno(), WRITE)
                return None
            sock.close()
            if not self._left:
                raise OSError(code, os.strerror(code))

    def _resolve(self) -> None:
        """Beside the attendant: find the addresses, then end its wait."""
        target, pipe = self._target, self._pipe
        assert pipe is not None, "made before this was started"
        try:
            found = socket.getaddrinfo(
                target.host, target.port, type=socket.SOCK_STREAM
            )
            self._found = [(family, address) for family, _, _, _, address in found]
            if not found:
                raise socket.gaierror(socket.EAI_NONAME, "no address")
        except (OSError, UnicodeError) as error:
            self._found = error
        except Exception as error:  # nobody may wait for an answer in vain
            self._found = OSError(errno.EIO, describe(error))
        os.close(pipe[1])  # makes the other end readable

    def _forget_pipe(self) -> None:
        assert self._pipe is not None, "called only with one"
        self._watch(self._pipe[0], 0)
        os.close(self._pipe[0])
        self._pipe = None
