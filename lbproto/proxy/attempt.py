"""One attempt of an exchange: a lease on a backend and a connection to it.

An attempt begins, perhaps after a pause, on an idle connection or by dialling,
carries the request, and ends in exactly one way: the connection is parked for the
next exchange, or it is closed; and the lease is released, once.
"""

from __future__ import annotations

from lbproto.framing.codec import ClientCodec
from lbproto.framing.messages import Body, End, HttpEvent, RequestHead
from lbproto.machine.effects import (
    Adopt,
    Close,
    Connect,
    Effect,
    Park,
    Send,
    SetReading,
)
from lbproto.machine.events import PeerInfo, TlsInfo
from lbproto.machine.values import ConnId, leaf
from lbproto.proxy.preface import proxy_header
from lbproto.proxy.site import Site
from lbproto.selection.balancer import Lease, Outcome
from lbproto.selection.leases import UNKNOWN
from lbproto.selection.pool import NOBODY

__all__ = ["Attempt"]


@leaf
class Attempt:
    """A backend connection at work for one exchange."""

    __slots__ = (
        "_codec",
        "_open",
        "_preface",
        "_reading",
        "_site",
        "answered",
        "blocked",
        "conn",
        "connected",
        "early",
        "lease",
        "reused",
        "tls",
    )

    def __init__(self, site: Site, lease: Lease, peer: PeerInfo) -> None:
        """Hold a lease; there is no connection before `begin`."""
        version = lease.proxy_protocol
        self._preface = b"" if version is None else proxy_header(version, peer)
        self._site = site
        self._codec: ClientCodec = site.client_codec()
        self._open = False
        self._reading = True
        self.lease = lease
        self.conn: ConnId = NOBODY
        self.answered = False
        """A byte of a response has come."""
        self.blocked = False
        """The backend does not keep up with the request."""
        self.early = False
        """It answered before it had all of the request, or may have: whether it will
        take the rest for content or for another request is open."""
        self.reused = False
        self.connected = False
        """There is a connection, as far as is known."""
        self.tls: TlsInfo | None = None
        """What the handshake of a new connection agreed on."""

    def begin(self, out: list[Effect], *, fresh: bool) -> None:
        """Take an idle connection, or dial when there is none or `fresh` asks."""
        balancer = self._site.balancer
        lease = self.lease
        idle = NOBODY
        if not fresh:
            idle, lease.idle = lease.idle, UNKNOWN
            if idle == UNKNOWN:
                idle = balancer.checkout(lease, self._preface) or NOBODY
        self._open = True
        self.reused = self.connected = idle != NOBODY
        if idle != NOBODY:
            self.conn = idle
            out.append(Adopt(idle))
        else:
            self.conn = balancer.mint()
            out.append(Connect(self.conn, lease.target, self._preface))

    def transmit(
        self,
        head: RequestHead | None,
        pieces: list[Body | End],
        out: list[Effect],
    ) -> None:
        """Write (the head and) pieces of content in one go."""
        if head is not None:
            self._codec.send(head)
        for piece in pieces:
            self._codec.send(piece)
        data = self._codec.take_output()
        if not (len(data) and self._open):
            return
        if out:
            last = out[-1]
            if isinstance(last, Send) and last.conn == self.conn:
                # Head and content of one read leave in one system call.
                out[-1] = Send(self.conn, last.data + data)
                return
        out.append(Send(self.conn, data))

    def receive(self, data: bytes) -> list[HttpEvent]:
        """Take bytes of the response."""
        self.answered = True
        return self._codec.receive(data)

    def straight(self, data: bytes) -> int:
        """Take a read that is one whole chunk; see `ClientCodec`."""
        return self._codec.straight(data)

    def receive_eof(self) -> list[HttpEvent]:
        """Take the end of the backend's stream."""
        return self._codec.receive_eof()

    def switch(self) -> bytes:
        """After a 101: return what the backend has already sent for the tunnel."""
        return self._codec.switch()

    @property
    def buffered(self) -> int:
        """How many received bytes the codec keeps."""
        return self._codec.buffered

    def set_reading(self, on: bool, out: list[Effect]) -> None:
        """Ask the runtime to stop or resume reading, when that changes."""
        if self.connected and self._open and on != self._reading:
            self._reading = on
            out.append(SetReading(self.conn, on))

    def end(self, outcome: Outcome, now: float, out: list[Effect]) -> None:
        """Release the lease; park the connection if it is clean, else close it."""
        site, conn = self._site, self.conn
        broken = outcome is not Outcome.OK
        unclean = self.blocked or self.early or not self._codec.reusable
        if broken or unclean or not self._open:
            out.extend(site.balancer.release(self.lease, outcome, now).log)
            if self._open:
                # What is not complete must not look complete to the backend either.
                self._open = False
                out.append(Close(conn, abort=broken))
            return
        self._open = False
        expires = now + site.upstream_keepalive
        lease, preface = self.lease, self._preface
        kept = site.balancer.give_back(lease, conn, expires, preface, now, out)
        if not self._reading:
            out.append(SetReading(conn, True))
        if kept:
            out.append(Park(conn))
        else:
            out.append(Close(conn))

    def drop(self, out: list[Effect]) -> None:
        """Close the connection, keep the lease: the request goes out again."""
        if self._open:
            self._open = False
            out.append(Close(self.conn, abort=True))

    def lost(self) -> None:
        """The connection is gone; no order may name it any more."""
        self._open = self.connected = False
