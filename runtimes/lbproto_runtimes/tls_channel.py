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

from lbproto.machine.errors import LbError
from lbproto.machine.events import TlsInfo
from lbproto_runtimes.subject import subject_of

__all__ = ["NamedObject", "TlsChannel", "TlsFailure"]

READ_SIZE: Final = 16 * 1024
"""OpenSSL hands out one record at a time, which holds no more (RFC 8446 5.1)."""

WORDS: Final = {
    "HTTP_REQUEST": "plain HTTP in place of TLS",
    "HTTPS_PROXY_REQUEST": "plain HTTP in place of TLS",
    "WRONG_VERSION_NUMBER": "no TLS, or a version of it that is not supported",
    "UNSUPPORTED_PROTOCOL": "a version of TLS that is not supported",
    "NO_SHARED_CIPHER": "no cipher that both sides support",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client shows no certificate",
}
"""What OpenSSL means, where its own words are dark."""

_ALERT: Final = re.compile(r"(?:SSLV3|TLSV1|TLSV13)_ALERT_")
"""The prefix tells when OpenSSL learnt of an alert, not what is spoken."""


class TlsFailure(LbError):
    """The peer broke TLS, or is not who it should be."""

    def __init__(self, reason: str, plain: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.plain = plain
        """What it had said before that, in order."""


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
    ) -> None:
        self._inward = ssl.MemoryBIO()
        self._outward = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._inward, self._outward, server_side, server_hostname
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
        """Make the side that begins; a session of another context is not used.

        Raises:
            TlsFailure: there is no name to look for, or it cannot be one.
        """
        # Over memory, unlike over a socket, ssl would let any name pass then.
        if context.check_hostname and not server_hostname:
            raise TlsFailure("there is no name to look for in the certificate")
        try:
            made = cls(context, server_side=False, server_hostname=server_hostname)
        except (ssl.SSLError, ValueError):
            reason = f"{server_hostname!r} cannot be the name of a server"
            raise TlsFailure(reason) from None
        if session is not None:
            with contextlib.suppress(ValueError):
                made._object.session = session
        return made

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
            raise TlsFailure(_reason(error), b"".join(pieces)) from None
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
        tls, certificate = self._object, self.certificate()
        return TlsInfo(
            alpn=tls.selected_alpn_protocol() or "",
            sni=getattr(tls, "asked", None) or tls.server_hostname or "",
            version=tls.version() or "",
            peer_cert=subject_of(certificate),
            verified=bool(certificate),
        )

    def certificate(self) -> Mapping[str, Any]:
        """Return what the peer's certificate says; empty if none was verified.

        Raises:
            TlsFailure: it holds what no certificate should; once established, never.
        """
        try:
            return self._object.getpeercert() or {}
        except (ssl.SSLError, ValueError):  # an authority signed text that is none
            raise TlsFailure("the certificate cannot be read") from None

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
        self.certificate()
        self.established = True


def _reason(error: OSError) -> str:
    """Say in plain words what went wrong, without places in somebody's sources."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _lowered(error.verify_message.rstrip("."))
    reason = getattr(error, "reason", None)
    if isinstance(reason, str) and reason:
        words = _ALERT.sub("the peer's alert: ", reason)
        return WORDS.get(reason) or words.lower().replace("_", " ")
    text = re.sub(r"\s*\(_ssl\.c:[0-9]+\)", "", error.strerror or str(error))
    return _lowered(text)


def _lowered(text: str) -> str:
    """Begin with a small letter, unless it is an abbreviation."""
    return text if text[:2].isupper() else text[:1].lower() + text[1:]
