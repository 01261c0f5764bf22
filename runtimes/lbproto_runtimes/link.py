"""A connection on an event loop: callbacks become events for its owner."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from lbproto.machine.events import Data, Eof, WriteBlocked, WriteUnblocked
from lbproto_runtimes.dial import describe

if TYPE_CHECKING:
    from lbproto.machine.events import Event
    from lbproto.machine.values import ConnId
    from lbproto.proxy.site import Site
    from lbproto_runtimes.aio import Server
    from lbproto_runtimes.perform import Driver

__all__ = ["HIGH_WATER", "LOW_WATER", "Link"]

HIGH_WATER: Final = 64 * 1024
"""Bytes in a write buffer above which its writer is told to wait."""
LOW_WATER: Final = 16 * 1024
"""Bytes below which it may go on."""


class Link(asyncio.Protocol):
    """One connection, and the driver that its events go to."""

    __slots__ = (
        "_server",
        "conn",
        "cut_off",
        "dialling",
        "news",
        "owner",
        "site",
        "transport",
    )

    def __init__(
        self, server: Server, conn: ConnId, owner: Driver, news: Event
    ) -> None:
        self._server = server
        self.conn = conn
        self.news: Event | None = news
        """`Opened` or `Connected`, until the owner has heard it: it comes first."""
        self.owner: Driver | None = owner
        """None once we have closed the connection."""
        self.transport: asyncio.Transport | None = None
        self.dialling: asyncio.Task[None] | None = None
        self.cut_off: asyncio.TimerHandle | None = None
        """Ends the wait for a peer that does not take what we said last."""
        self.site: Site | None = None
        """The service that a client connected to; None for a backend."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        if self.owner is None:  # closed while it was being opened
            self.transport.abort()

    def announce(self) -> None:
        """Tell the owner that the connection is there, once."""
        news, self.news = self.news, None
        if news is not None and self.owner is not None:
            self.owner.feed(news)

    def data_received(self, data: bytes) -> None:
        if self.news is not None:
            self.announce()
        if self.owner is not None:
            self.owner.feed(Data(self.conn, data))

    def eof_received(self) -> bool:
        if self.news is not None:
            self.announce()
        if self.owner is not None:
            self.owner.feed(Eof(self.conn))
        return True  # the other direction stays open

    def pause_writing(self) -> None:
        if self.owner is not None:
            self.owner.feed(WriteBlocked(self.conn))

    def resume_writing(self) -> None:
        if self.owner is not None:
            self.owner.feed(WriteUnblocked(self.conn))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.news is not None:
            self.announce()
        self._server.lost(self, describe(exc))
