"""What a client goes through before it may speak HTTP.

A listener may ask for a PROXY header of a trusted proxy, and after that for TLS.
Both are over before the first byte of HTTP, and both have a deadline. Who does
not pass is told apart by one log line; a PROXY header from anybody but a trusted
proxy would be a client's claim about itself, so such a peer is turned away.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lbproto.framing.proxy_protocol import ProxyHeader, ProxyHeaderReader
from lbproto.machine.effects import Level, StartTls
from lbproto.machine.errors import LocalProtocolError, RemoteProtocolError
from lbproto.machine.timers import Timer
from lbproto.proxy.presence import enter
from lbproto.rewriting.trust import is_trusted

if TYPE_CHECKING:
    from lbproto.config import Listen
    from lbproto.machine.events import PeerInfo, TlsInfo
    from lbproto.proxy.connection import ProxyConnection

__all__ = ["Entrance"]


class Entrance:
    """The steps before HTTP, for one client connection."""

    __slots__ = ("_client", "_listen", "_reader")

    def __init__(self, client: ProxyConnection, listen: Listen) -> None:
        self._client = client
        self._listen = listen
        self._reader: ProxyHeaderReader | None = None

    @property
    def buffered(self) -> int:
        """How many received bytes are kept."""
        return 0 if self._reader is None else self._reader.buffered

    def opened(self, now: float) -> None:
        """The client was accepted; its `peer` is known."""
        client = self._client
        service = client.site.service
        if not self._listen.proxy_protocol:
            self._secure(b"", now)
        elif is_trusted(client.peer, service):
            self._reader = ProxyHeaderReader()
            client.timers.set(Timer.ENTRANCE, now + service.timeouts.proxy_protocol)
        else:
            self._refuse("not from a trusted proxy")

    def data(self, data: bytes, now: float) -> None:
        """Take bytes of the PROXY header, and what may follow it.

        Raises:
            LocalProtocolError: the runtime passes on bytes of a TLS handshake.
        """
        reader = self._reader
        if reader is None:
            raise LocalProtocolError("bytes of a TLS handshake in place of its result")
        try:
            header = reader.receive(data)
        except RemoteProtocolError as error:
            self._refuse(error.detail)
            return
        if header is not None:
            self._reader = None
            self._client.peer = _spoken_for(self._client.peer, header)
            self._secure(reader.rest, now)

    def secured(self, tls: TlsInfo, now: float) -> None:
        """The TLS handshake is over."""
        self._client.peer = replace(self._client.peer, tls=tls)
        self._client.admit(b"", now)

    def ended(self) -> None:
        """The client says no more, before it said enough."""
        # Whoever only looks whether the port is open does this all day long.
        self._fail(Level.DEBUG, "closed by the client")
        self._client.close()

    def lost(self, detail: str) -> None:
        """The connection is gone; TLS may be the reason."""
        self._fail(Level.INFO, detail)

    def timed_out(self) -> None:
        """The time for a step is over."""
        self._fail(Level.INFO, "not complete in time")
        self._client.close()

    def _secure(self, early: bytes, now: float) -> None:
        client, tls = self._client, self._listen.tls
        if not enter(client):
            return
        if tls is None:
            client.admit(early, now)
            return
        patience = client.site.service.timeouts.tls_handshake
        client.timers.set(Timer.ENTRANCE, now + patience)
        client.out.append(StartTls(client.conn, tls, early))

    def _fail(self, level: Level, detail: str) -> None:
        step = "TLS handshake" if self._reader is None else "PROXY header"
        self._client.log(level, f"{step} failed", {"detail": detail})

    def _refuse(self, detail: str) -> None:
        message = "PROXY header refused"
        self._client.log(Level.WARNING, message, {"detail": detail})
        self._client.close()


def _spoken_for(peer: PeerInfo, header: ProxyHeader) -> PeerInfo:
    """Return the client that a proxy speaks for; its own connections name none."""
    source, destination = header.source, header.destination
    if source is None or destination is None:
        return peer
    host = f"[{destination.host}]" if ":" in destination.host else destination.host
    local = f"{host}:{destination.port}"
    return replace(peer, address=source.host, port=source.port, local=local)
