"""A stream of bytes and descriptors to another process, without waiting.

What cannot be written at once is queued. Descriptors that are queued are the
sender's until `sent` is called for them: they must stay open that long.
"""

from __future__ import annotations

import select
from collections import deque
from typing import TYPE_CHECKING, Final

from lbproto_runtimes import fdpass
from lbproto_runtimes.dial import describe

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from lbproto_runtimes.watch import Watch

__all__ = ["Courier"]

READ_SIZE: Final = 64 * 1024


class Courier:
    """One end of a connected Unix-domain stream socket, which it owns."""

    def __init__(
        self,
        sock: socket.socket,
        watch: Watch,
        heard: Callable[[bytes, tuple[int, ...]], None],
        ended: Callable[[str], None],
    ) -> None:
        """`heard` gets what comes, and owns the descriptors; `ended` is called once.

        Neither is called after `close`. Once the kernel had to leave descriptors out,
        none is passed on any more: each could be taken for another.
        """
        self._sock = sock
        self._watch = watch
        self._heard = heard
        self._ended = ended
        self._queue: deque[tuple[bytes, tuple[int, ...], Callable[[], None]]] = deque()
        self._short = False
        self.open = True
        """Not closed, by us or by the other end."""
        sock.setblocking(False)
        watch.add(sock.fileno(), self._ready)

    def fileno(self) -> int:
        """The descriptor of the socket; -1 when it is closed."""
        return self._sock.fileno()

    def send(
        self,
        data: bytes,
        fds: Sequence[int] = (),
        sent: Callable[[], None] = lambda: None,
    ) -> None:
        """Queue bytes with descriptors on the first one; `sent` when all have left."""
        if not self.open:
            return
        self._queue.append((data, tuple(fds), sent))
        if len(self._queue) == 1:
            self._write()

    def close(self, *, flush: bool) -> None:
        """Close; what is queued leaves before, as far as it does without waiting."""
        if self.open and flush:
            self._write()
        if self.open:
            self._end()

    def _end(self) -> None:
        self.open = False
        self._queue.clear()
        self._watch.remove(self._sock.fileno())
        self._sock.close()

    def _break(self, detail: str) -> None:
        if self.open:
            self._end()
            self._ended(detail)

    def _ready(self, mask: int) -> None:
        if mask & ~select.POLLOUT:
            self._read()
        if self.open and mask & select.POLLOUT:
            self._write()

    def _read(self) -> None:
        try:
            parcel = fdpass.receive(self._sock, READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._break(describe(error))
            return
        self._take(parcel, "EOF")

    def _take(self, parcel: fdpass.Parcel, end: str) -> None:
        self._short = self._short or parcel.cut
        if self._short or not parcel.data:
            fdpass.close_all(parcel.fds)
        if not parcel.data:
            self._break(end)
        else:
            self._heard(parcel.data, () if self._short else parcel.fds)

    def _write(self) -> None:
        done, broken = [], ""
        try:
            while self._queue:
                data, fds, sent = self._queue[0]
                count = fdpass.send(self._sock, data, fds)
                if count < len(data):
                    self._queue[0] = (data[count:], (), sent)
                else:
                    self._queue.popleft()
                    done.append(sent)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            broken = describe(error)
        mask = select.POLLIN | (select.POLLOUT if self._queue else 0)
        self._watch.add(self._sock.fileno(), self._ready, mask)
        for sent in done:
            sent()
        if broken:
            self.read_out(broken)

    def read_out(self, detail: str = "EOF") -> None:
        """The other end is gone: take what it said before, and close."""
        self._queue.clear()
        while self.open:
            try:
                parcel = fdpass.receive(self._sock, READ_SIZE)
            except OSError:
                self._break(detail)
                return
            self._take(parcel, detail)
