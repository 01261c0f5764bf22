"""A connection on an event loop: callbacks of a transport become a `Channel`'s."""

from __future__ import annotations

import asyncio
import contextlib
import select
from typing import TYPE_CHECKING, cast

from lbproto.machine.events import Data, WriteBlocked, WriteUnblocked
from lbproto_runtimes.channel import HIGH_WATER, LOW_WATER, Channel
from lbproto_runtimes.dial import describe

if TYPE_CHECKING:
    from lbproto.machine.events import Event
    from lbproto.machine.values import ConnId
    from lbproto_runtimes.loop import Server
    from lbproto_runtimes.perform import Driver

__all__ = ["Link"]


class Link(Channel, asyncio.Protocol):
    """One connection, and the driver that its events go to."""

    __slots__ = ("_server", "cut_off", "dialling", "fd", "poll", "transport")

    def __init__(
        self, server: Server, conn: ConnId, owner: Driver, news: Event
    ) -> None:
        super().__init__(conn, owner, news)
        self._server = server
        self.transport: asyncio.Transport | None = None
        self.dialling: asyncio.Task[None] | None = None
        self.cut_off: asyncio.TimerHandle | None = None
        """Ends the wait for a peer that does not take what we said last."""
        self.fd = -1
        self.poll: select.poll | None = None
        """Tells whether an idle connection has ended; made when that is first asked."""

    # -- asyncio's protocol --------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        self.fd = transport.get_extra_info("socket").fileno()
        if self.owner is None:  # closed while it was being opened
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        # Nearly always it is no TLS and no news: two calls less.
        if self.tls is None and self.news is None:
            if self.owner is not None:
                self.owner.feed(Data(self.conn, data))
        else:
            self.received(data)

    def eof_received(self) -> bool:
        self.ended()
        return True  # the other direction stays open

    def pause_writing(self) -> None:
        if self.owner is not None:
            self.owner.feed(WriteBlocked(self.conn))

    def resume_writing(self) -> None:
        if self.owner is not None:
            self.owner.feed(WriteUnblocked(self.conn))

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.gone(self, describe(exc))

    # -- a channel's socket --------------------------------------------------

    def write(self, data: bytes) -> None:
        """Queue bytes for the socket."""
        if self.transport is not None and not self.transport.is_closing():
            self._server.outbox.write(self.transport, data)

    def write_eof(self) -> None:
        """Send FIN behind what is queued."""
        self._server.outbox.flush()
        if self.transport is not None and not self.transport.is_closing():
            with contextlib.suppress(OSError):  # gone: reading tells
                self.transport.write_eof()

    def shut(self, patience: float) -> None:
        """Forget the connection, flush for at most `patience` seconds, then close."""
        self._server.shut(self, patience)
