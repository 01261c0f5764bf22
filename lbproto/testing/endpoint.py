"""The far ends of a simulated network: clients, and the servers behind.

What a peer sends waits in its inbox until the load balancer reads; what it is sent it
reads at once, unless it pauses, and then the load balancer's buffer fills.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lbproto.machine.events import (
    ConnectError,
    Data,
    Eof,
    Event,
    Lost,
    TlsInfo,
    WriteBlocked,
    WriteUnblocked,
)
from lbproto.machine.values import ConnId

if TYPE_CHECKING:
    from lbproto.testing.sim import Sim

__all__ = ["Endpoint", "SimBackend"]

HIGH_WATER = 64 * 1024
LOW_WATER = 16 * 1024
READ_SIZE = 64 * 1024


class Endpoint:
    """The far end of a connection: a client's, or a backend's."""

    def __init__(self, sim: Sim, conn: ConnId) -> None:
        self.conn = conn
        self.received = b""
        """Everything the load balancer sent here and was read."""
        self.eof = False
        """The load balancer sent FIN (it half-closed, or closed)."""
        self.closed = False
        self.reset = False
        """The load balancer closed with a reset."""
        self.on_data: Callable[[Endpoint, bytes], None] | None = None
        """Called with what is read, to answer it."""
        self._sim = sim
        self._queue = b""  # sent by the load balancer, not read here yet
        self._reading = True
        self.blocked = False  # the load balancer was told to wait
        self.inbox: deque[Event] = deque()  # on its way to the load balancer
        self.listened = True  # the load balancer reads
        self.slack = sim.slack
        self.gone = False  # we have closed or reset
        self.preface = b""
        """What opened a connection to a backend."""
        self.tls: TlsInfo | None = None
        """What a client's TLS handshake agrees on; None: it stops in the midst."""

    def send(self, data: bytes, pieces: Sequence[bytes] | None = None) -> None:
        """Send bytes, in these pieces if given; each is one read over there."""
        if pieces is None:
            places = range(0, len(data), READ_SIZE)
            pieces = [data[i : i + READ_SIZE] for i in places]
        self.inbox.extend(Data(self.conn, piece) for piece in pieces)
        self._sim.run()

    def half_close(self) -> None:
        """Send FIN; go on reading."""
        self.inbox.append(Eof(self.conn))
        self._sim.run()

    def close(self) -> None:
        """Send FIN; nothing will be read any more."""
        self.gone = True
        self.half_close()

    def abort(self) -> None:
        """Reset the connection: what nobody reads there is lost."""
        self.gone = True
        if not self.listened:
            self.inbox.clear()
        self.inbox.append(Lost(self.conn, "connection reset by peer"))
        self._sim.run()

    def pause(self) -> None:
        """Stop reading: the load balancer's buffer fills."""
        self._reading = False

    def resume(self, limit: float = math.inf) -> None:
        """Read what waits, at most `limit` bytes; all that comes if unlimited."""
        self._reading = limit == math.inf
        size = len(self._queue) if self._reading else int(limit)
        data, self._queue = self._queue[:size], self._queue[size:]
        self._read(data)
        if self.blocked and len(self._queue) <= LOW_WATER:
            self.blocked = False
            self._sim.tell(WriteUnblocked(self.conn))
        self._sim.run()

    @property
    def waiting(self) -> int:
        """How many bytes the load balancer has sent that are not read yet."""
        return len(self._queue)

    def _read(self, data: bytes) -> None:
        if data:
            self.received += data
            if self.on_data is not None:
                self.on_data(self, data)

    def arrive(self, data: bytes) -> None:
        """Take what the load balancer sends."""
        if self._reading:
            self._read(data)
            return
        self._queue += data
        if len(self._queue) > HIGH_WATER and not self.blocked:
            self.blocked = True
            self._sim.tell(WriteBlocked(self.conn))


class SimBackend:
    """A server at an address; `answer` is called for each read of a connection."""

    def __init__(self, answer: Callable[[Endpoint, bytes], None] | None) -> None:
        self.answer = answer
        self.mode: ConnectError | None = None
        """How it refuses; TIMEOUT never answers a dial."""
        self.connections: list[Endpoint] = []
        self.tls: TlsInfo | None = None
        """What a TLS handshake with it agrees on."""

    @property
    def received(self) -> bytes:
        """All bytes of all connections, in the order of the connections."""
        return b"".join(one.received for one in self.connections)
