"""TLS at the other ends, over memory, so that each direction ends on its own.

`ssl.SSLSocket` cannot do what is checked here: say goodbye (close_notify) and go on
reading, or tell a goodbye from a stream that was cut. Nothing is verified: whom a
runtime believes is the matter, not whom we do.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from lbproto_runtimes.contract.peers import Peer

if TYPE_CHECKING:
    from lbproto.machine.tls import Certificate
    from lbproto_runtimes.contract.peers import Script

__all__ = ["Cut", "TlsStream", "secured", "speaks_tls"]

PIECE: Final = 64 * 1024


class Cut(EOFError):
    """The stream ended without close_notify."""


class TlsStream:
    """TLS over a socket; reading ends where the peer's close_notify is."""

    def __init__(
        self, sock: socket.socket, make: Callable[..., ssl.SSLObject], name: str | None
    ) -> None:
        """Do the handshake.

        Raises:
            ssl.SSLError: it failed; the alert was sent.
            EOFError: the peer closed meanwhile.
        """
        self._sock = sock
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls = make(self._in, self._out, server_hostname=name)
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            except ssl.SSLError:
                self._flush()
                raise
            else:
                self._flush()
                return

    def recv(self, size: int, /) -> bytes:
        """Read what is there; empty after close_notify.

        Raises:
            Cut: the connection ended without it.
        """
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            except ssl.SSLZeroReturnError:
                return b""

    def sendall(self, data: bytes, /) -> None:
        """Write all of it."""
        for at in range(0, len(data), PIECE):
            self._tls.write(data[at : at + PIECE])
            self._flush()

    def shutdown(self, how: int, /) -> None:
        """Send close_notify and FIN; go on reading."""
        # The peer's is not here yet, and need not be.
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush()
        self._sock.shutdown(how)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def _flush(self) -> None:
        data = self._out.read()
        if data:
            self._sock.sendall(data)

    def _fill(self) -> None:
        data = self._sock.recv(PIECE)
        if not data:
            raise Cut("no close_notify")
        self._in.write(data)


def secured(peer: Peer, name: str | None = None) -> Peer:
    """Speak TLS as a client from now on, and ask for this name.

    Raises:
        ssl.SSLError: the handshake failed.
        EOFError: the other end closed meanwhile.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return Peer(peer.sock, TlsStream(peer.sock, context.wrap_bio, name))


def speaks_tls(certificate: Certificate, script: Script) -> Script:
    """Play a script as a server that speaks TLS; a client may break off early."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)

    def make(
        incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, server_hostname: str | None
    ) -> ssl.SSLObject:
        return context.wrap_bio(incoming, outgoing, server_side=True)

    def play(peer: Peer) -> None:
        try:
            stream = TlsStream(peer.sock, make, None)
        except ssl.SSLError:
            return  # it does not want us
        script(Peer(peer.sock, stream))

    return play
