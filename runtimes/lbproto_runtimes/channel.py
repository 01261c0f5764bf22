"""One connection, whatever carries its bytes.

A runtime moves bytes between a socket and a `Channel`; the channel makes events of
them for the driver that owns the connection. TLS is spoken here, over memory, so
that it is the same in every runtime: handshakes, names, reasons, half-closes.

What comes first is told first. `news` is the event that opens the connection to
its owner (`Opened`, `Connected`); it waits until the runtime announces it, or until
bytes come. A handshake delays it: to a backend, `Connected` comes after it.

The end of a TLS stream is the peer's close_notify. A stream that ends without one
may have been cut by anybody on the way (RFC 9112 9.8), so it is a loss.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Final

from lbproto.machine.events import (
    Connected,
    ConnectError,
    ConnectFailed,
    Data,
    Eof,
    Lost,
    Secured,
)
from lbproto_runtimes.moved import Resting
from lbproto_runtimes.tls_channel import TlsChannel, TlsFailure

if TYPE_CHECKING:
    import ssl
    from collections.abc import Collection

    from lbproto.machine.effects import Target
    from lbproto.machine.events import Event, PeerInfo
    from lbproto.machine.values import ConnId
    from lbproto.proxy.site import Site
    from lbproto_runtimes.contexts import Contexts
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.perform import Driver

__all__ = ["HIGH_WATER", "LOW_WATER", "Channel", "reset_at_close"]

DATA: Final = Data
"""A name that another package gives is looked up whenever it is used; this is not."""

RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time

HIGH_WATER: Final = 64 * 1024
"""Bytes in a write buffer above which its writer is told to wait."""
LOW_WATER: Final = 16 * 1024
"""Bytes below which it may go on."""

ALERT_PATIENCE: Final = 5.0
"""Seconds that a peer has to take the alert which ends a handshake."""


def reset_at_close(sock: socket.socket) -> None:
    """Have a socket send RST in place of what is queued when it is closed."""
    with contextlib.suppress(OSError):  # the peer's reset was first
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


class Channel:
    """A connection, the driver that its events go to, and its TLS."""

    __slots__ = (
        "_contexts",
        "_target",
        "conn",
        "last",
        "listener",
        "news",
        "octets",
        "owner",
        "sink",
        "site",
        "tls",
    )

    def __init__(self, conn: ConnId, owner: Driver, news: Event) -> None:
        self.conn = conn
        self.news: Event | None = news
        """What the owner has to hear first, until it has."""
        self.owner: Driver | None = owner
        """None once we have closed the connection."""
        self.listener: Listener | None = None
        """Where a client was accepted; None for a backend."""
        self.site: Site | None = None
        """The service that a client connected to; None for a backend."""
        self.tls: TlsChannel | None = None
        self.sink: Channel | None = None
        """Where bytes go from here without the owner's doing; None: to the owner."""
        self.octets = 0
        """How many went there of which the owner's machine does not know yet."""
        self.last = 0.0
        """When the last of them came."""
        self._contexts: Contexts | None = None
        self._target: Target | None = None

    # -- what a runtime provides ---------------------------------------------

    def write(self, data: bytes) -> None:
        """Queue bytes for the socket."""
        raise NotImplementedError

    def write_eof(self) -> None:
        """Send FIN behind what is queued."""
        raise NotImplementedError

    def shut(self, patience: float) -> None:
        """Forget the connection, flush for at most `patience` seconds, then close.

        The owner hears nothing of it.
        """
        raise NotImplementedError

    def idle_peer(self, keys: Collection[str]) -> PeerInfo | None:
        """Say who the client is, if it could go on in another process.

        It came through one of these listeners, speaks no TLS and is idle.
        """
        listener, owner = self.listener, self.owner
        if self.tls is not None or self.news is not None:
            return None
        if listener is None or owner is None or listener.key not in keys:
            return None
        machine = owner.machine
        if isinstance(machine, Resting) and machine.idle:
            return machine.peer
        return None

    def depart(self) -> None:
        """The client goes on elsewhere: nothing more is heard of it here."""
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.feed(Lost(self.conn, "goes on in another process"))

    # -- what a runtime tells ------------------------------------------------

    def announce(self) -> None:
        """Tell the owner that the connection is there, once."""
        news, self.news = self.news, None
        if news is not None and self.owner is not None:
            self.owner.feed(news)

    def received(self, data: bytes) -> None:
        """Bytes came from the socket."""
        if self.tls is None and self.news is not None:
            self.announce()  # which may start TLS
        if self.tls is not None:
            self._decrypt(self.tls, data)
        else:
            self.hand_on(data)

    def hand_on(self, data: bytes) -> None:
        """Tell the owner of bytes, or pass them on where it has said they go."""
        owner, sink = self.owner, self.sink
        if owner is None:
            return
        if sink is None:
            owner.feed(DATA(self.conn, data))
            return
        self.octets += len(data)
        self.last = owner.clock()
        sink.send(data)

    def ended(self) -> None:
        """The peer's FIN came."""
        if self.tls is None and self.news is not None:
            self.announce()
        tls = self.tls
        if tls is not None and not (tls.untouched and self.site):
            if tls.ended:
                return
            detail = "TLS stream cut off" if tls.established else "closed by the peer"
            self._give_up(detail)
        elif self.owner is not None:
            self.owner.feed(Eof(self.conn))

    def lost(self, detail: str) -> None:
        """The connection is gone, by its peer's doing or by ours."""
        news, self.news = self.news, None
        owner, self.owner = self.owner, None
        if owner is None:
            return
        if news is None:
            owner.feed(Lost(self.conn, detail))
        elif self.site is None:  # it was never connected, as far as the owner knows
            why = ConnectError.REFUSED if self.tls is None else ConnectError.TLS
            owner.feed(ConnectFailed(self.conn, why, detail))

    # -- what its owner orders -----------------------------------------------

    def send(self, data: bytes) -> None:
        """Queue bytes, in TLS if it is spoken."""
        if self.tls is None:
            self.write(data)
        else:
            self.tls.send(data)
            self._flush(self.tls)

    def relay(self, sink: Channel | None) -> None:
        """Pass on what comes from now on; it may be gone already."""
        if sink is not None and self.owner is not None:
            self.sink = sink
            self.owner.relays(self)

    def half_close(self) -> None:
        """Say that no more comes, behind what is queued."""
        self._notify()
        self.write_eof()

    def close(self, patience: float) -> None:
        """Say so, flush for at most `patience` seconds, then close."""
        self.owner = None
        self._notify()
        self.shut(patience)

    def _notify(self) -> None:
        if self.tls is not None and self.tls.established:
            self.tls.end()
            self._flush(self.tls)

    # -- TLS -----------------------------------------------------------------

    def start_tls(self, context: ssl.SSLContext, early: bytes) -> None:
        """Begin the server's side of a handshake, of which some bytes came."""
        self.tls = TlsChannel.server(context)
        if early:
            self._decrypt(self.tls, early)

    def prepare(self, target: Target, contexts: Contexts) -> None:
        """Before it is dialled: get what a handshake with the target needs.

        Raises:
            LbError: what it needs cannot be had.
        """
        if target.tls is None:
            return
        context = contexts.client(target.tls)
        session = contexts.session(str(target), target.tls)
        name = target.tls.sni or target.host or None
        self._contexts, self._target = contexts, target
        self.tls = TlsChannel.client(context, name, session)

    def greet(self, preface: bytes) -> None:
        """After it was dialled: say the first bytes, and begin the handshake."""
        if preface:
            self.write(preface)
        if self.tls is None:
            self.announce()
            return
        try:
            self.tls.start()
        except TlsFailure as failure:
            self._give_up(failure.reason)
        else:
            self._flush(self.tls)

    def _decrypt(self, tls: TlsChannel, data: bytes) -> None:
        handshaking, had_ended = not tls.established, tls.ended
        try:
            plain = tls.receive(data)
        except TlsFailure as failure:
            self._flush(tls)
            if failure.plain:
                self.hand_on(failure.plain)
            self._give_up(failure.reason)
            return
        self._flush(tls)
        if self.owner is None:
            return
        if handshaking and tls.established:
            self._secured(tls)
        if plain and self.owner is not None:
            if self._contexts is not None:
                self._keep_session(tls)
            self.hand_on(plain)
        if tls.ended and not had_ended and self.owner is not None:
            self.owner.feed(Eof(self.conn))

    def _secured(self, tls: TlsChannel) -> None:
        if self.site is not None:
            self.news = Secured(self.conn, tls.info())
        else:
            self.news = Connected(self.conn, tls.info())
        self.announce()

    def _keep_session(self, tls: TlsChannel) -> None:
        """Remember the session; with TLS 1.3 its ticket came before the first byte."""
        target, contexts, self._contexts = self._target, self._contexts, None
        if contexts is not None and target is not None and target.tls is not None:
            contexts.keep_session(str(target), target.tls, tls.session)

    def _give_up(self, detail: str) -> None:
        """TLS has failed: the alert goes out, and the owner is told."""
        if self.owner is not None:
            self.shut(ALERT_PATIENCE)
            self.lost(detail)

    def _flush(self, tls: TlsChannel) -> None:
        data = tls.take_output()
        if data:
            self.write(data)
