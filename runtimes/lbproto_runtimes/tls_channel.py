"""TLS of one connection, over memory.

OpenSSL can read from a buffer in place of a socket and write to another one. Then it
never waits: bytes that came from a socket are put into the one, OpenSSL is asked to
go on, and what it has to say is taken from the other and sent, whoever does that.
So TLS becomes what HTTP is here: a function of what has arrived.

Three things follow from how OpenSSL works.

* Whatever it is asked, it may have something to send: a handshake's next flight, an
  alert, a ticket. `take_output` comes after every call, also after one that failed.
* It is asked to read until it wants more, since records do not end where reads end.
* `unwrap` sends close_notify and then looks for the peer's, which is not there yet;
  that it wants to read is no failure. Reading goes on after that: TLS 1.3 has
  half-closed connections (RFC 8446 6.1), and OpenSSL grants them for 1.2.
"""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Mapping
from typing import Any, Final

from lbproto.machine.events import TlsInfo
from lbproto_runtimes.subject import subject_of

__all__ = ["NamedObject", "TlsChannel", "TlsFailure"]

READ_SIZE: Final = 64 * 1024

WORDS: Final = {
    "HTTP_REQUEST": "plain HTTP in place of TLS",
    "HTTPS_PROXY_REQUEST": "plain HTTP in place of TLS",
    "WRONG_VERSION_NUMBER": "no TLS, or a version of it that is not supported",
    "UNSUPPORTED_PROTOCOL": "a version of TLS that is not supported",
    "NO_SHARED_CIPHER": "no cipher that both sides support",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client shows no certificate",
}
"""What OpenSSL means, where its own words are dark."""


class TlsFailure(Exception):
    """The peer broke TLS, or is not who it should be."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NamedObject(ssl.SSLObject):
    """An `SSLObject` that remembers which name the client asked for."""

    asked = ""


class TlsChannel:
    """One side of a TLS connection."""

    __slots__ = (
        "_inward",
        "_notified",
        "_object",
        "_outward",
        "ended",
        "established",
        "untouched",
    )

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self._inward = ssl.MemoryBIO()
        self._outward = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._inward, self._outward, server_side, server_hostname, session
        )
        self._notified = False
        self.established = False
        """The handshake is over."""
        self.ended = False
        """The peer's close_notify came."""
        self.untouched = True
        """Nothing came yet."""

    @classmethod
    def server(cls, context: ssl.SSLContext) -> TlsChannel:
        """Make the side that waits for a client's hello."""
        return cls(context, server_side=True)

    @classmethod
    def client(
        cls,
        context: ssl.SSLContext,
        server_hostname: str | None,
        session: ssl.SSLSession | None = None,
    ) -> TlsChannel:
        """Make the side that begins; a session of another context is not used."""
        with contextlib.suppress(ValueError):
            return cls(
                context,
                server_side=False,
                server_hostname=server_hostname,
                session=session,
            )
        return cls(context, server_side=False, server_hostname=server_hostname)

    def start(self) -> None:
        """Say hello, if it is ours to begin.

        Raises:
            TlsFailure: it cannot be.
        """
        if not self._object.server_side:
            self._shake()

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the socket; return the plaintext that came of them.

        Raises:
            TlsFailure: this is the end; an alert may be in `take_output`.
        """
        if self.ended:
            return b""  # RFC 8446 6.1: nothing counts after a close_notify
        self.untouched = False
        self._inward.write(data)
        if not self.established:
            self._shake()
            if not self.established:
                return b""
        pieces: list[bytes] = []
        try:
            while piece := self._object.read(READ_SIZE):
                pieces.append(piece)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            raise TlsFailure(_reason(error)) from None
        return b"".join(pieces)

    def send(self, data: bytes) -> None:
        """Encrypt bytes.

        Raises:
            TlsFailure: the connection is broken.
        """
        left = memoryview(data)
        try:
            while left:
                left = left[self._object.write(left) :]
        except ssl.SSLError as error:
            raise TlsFailure(_reason(error)) from None

    def end(self) -> None:
        """Say that no more comes; the peer may go on."""
        if self.established and not self._notified:
            self._notified = True
            with contextlib.suppress(ssl.SSLError):
                self._object.unwrap()

    def take_output(self) -> bytes:
        """Return what is to be written to the socket now."""
        return self._outward.read()

    def info(self) -> TlsInfo:
        """Say what the handshake agreed on."""
        tls = self._object
        return TlsInfo(
            alpn=tls.selected_alpn_protocol() or "",
            sni=getattr(tls, "asked", None) or tls.server_hostname or "",
            version=tls.version() or "",
            peer_cert=subject_of(self.certificate()),
        )

    def certificate(self) -> Mapping[str, Any]:
        """Return what the peer's certificate says; empty if none was verified."""
        return self._object.getpeercert() or {}

    @property
    def session(self) -> ssl.SSLSession | None:
        """What another connection to the same server may begin with."""
        return self._object.session

    def _shake(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return
        except (ssl.SSLError, OSError) as error:
            raise TlsFailure(_reason(error)) from None
        self.established = True


def _reason(error: OSError) -> str:
    """Say in plain words what went wrong, without places in somebody's sources."""
    if isinstance(error, ssl.SSLCertVerificationError):
        message = error.verify_message
        return message[:1].lower() + message[1:].rstrip(".")
    reason = getattr(error, "reason", None)
    if isinstance(reason, str) and reason:
        return WORDS.get(reason) or reason.lower().replace("_", " ")
    text = re.sub(r"\s*\(_ssl\.c:[0-9]+\)", "", error.strerror or str(error))
    return text[:1].lower() + text[1:]
