"""The contexts of TLS: keys, authorities and names, read from files.

The core names files; here they are read, once, and made into an `SSLContext` for
each record. To change them `reload` reads all of them again, all or none: new
connections get the new ones, those that run keep theirs.

A listener has a context for each certificate. OpenSSL asks which one it shall be
when it has read the client's name (SNI), and goes on with that one; tickets stay
those of the first, so a session may be resumed under any name. What must be true of
a client (`client_auth`) is set on each of them.

The names in a certificate are OpenSSL's to read, and the standard library shows
those of a peer only. So a handshake is made in memory, between the certificate and
a client that trusts nothing but it; which proves at the same time that certificate
and key are fit to serve.
"""

from __future__ import annotations

import errno
import os
import re
import ssl
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from lbproto.machine.errors import LbError
from lbproto.selection.certificates import CertificateChoice
from lbproto_runtimes.tls_channel import NamedObject, TlsChannel, TlsFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lbproto.machine.tls import Certificate, ClientTls, ServerTls

__all__ = ["Contexts", "TlsConfigError"]

ALPN: Final = ["http/1.1"]

SESSIONS: Final = 1024
"""Sessions with backends that are kept, the newest."""

NO_CHECK_TIME: Final = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python has no name for."""

VERIFY: Final = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "require": ssl.CERT_REQUIRED,
}

_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----[^-]++-----END CERTIFICATE-----")


class TlsConfigError(LbError):
    """A file cannot be used for TLS."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Contexts:
    """The contexts of one configuration, made when they are first asked for."""

    def __init__(self) -> None:
        self._servers: dict[ServerTls, ssl.SSLContext] = {}
        self._clients: dict[ClientTls, ssl.SSLContext] = {}
        self._expiries: dict[Certificate, float] = {}
        self._sessions: OrderedDict[tuple[str, ClientTls], ssl.SSLSession] = (
            OrderedDict()
        )
        self._lock = threading.Lock()

    def server(self, tls: ServerTls) -> ssl.SSLContext:
        """Return the context of a listener.

        Raises:
            TlsConfigError: one of its files cannot be used.
        """
        found = self._servers.get(tls)
        if found is None:
            found, expiries = _server_context(tls)
            self._expiries.update(expiries)
            self._servers[tls] = found
        return found

    def client(self, tls: ClientTls) -> ssl.SSLContext:
        """Return the context for backends.

        Raises:
            TlsConfigError: one of its files cannot be used.
        """
        found = self._clients.get(tls)
        if found is None:
            found = self._clients[tls] = _client_context(tls)
        return found

    def expires(self, certificate: Certificate) -> float | None:
        """Return when a listener's certificate expires, in seconds of the epoch."""
        return self._expiries.get(certificate)

    def reload(self) -> None:
        """Read all files again.

        Raises:
            TlsConfigError: one cannot be used; everything stays as it was.
        """
        fresh = Contexts()
        for server in list(self._servers):  # other threads may add to them meanwhile
            fresh.server(server)
        for client in list(self._clients):
            fresh.client(client)
        with self._lock:
            self._servers, self._clients = fresh._servers, fresh._clients
            self._expiries = fresh._expiries
            self._sessions.clear()

    # -- sessions with backends ----------------------------------------------

    def session(self, target: str, tls: ClientTls) -> ssl.SSLSession | None:
        """Return what a new connection to a backend may begin with."""
        with self._lock:
            return self._sessions.get((target, tls))

    def keep_session(
        self, target: str, tls: ClientTls, session: ssl.SSLSession | None
    ) -> None:
        """Keep it for the next connection to the same backend, as the same client."""
        if session is None:
            return
        with self._lock:
            self._sessions[target, tls] = session
            self._sessions.move_to_end((target, tls))
            if len(self._sessions) > SESSIONS:
                self._sessions.popitem(last=False)


def _server_context(
    tls: ServerTls,
) -> tuple[ssl.SSLContext, dict[Certificate, float]]:
    contexts, names, expiries = [], [], {}
    for certificate in tls.certificates:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.sslobject_class = NamedObject
        context.set_alpn_protocols(ALPN)
        _load_chain(context, certificate)
        known, expiries[certificate] = _read_names(context, certificate)
        if tls.client_ca is not None:
            _load_authorities(context, tls.client_ca)
        context.verify_mode = VERIFY[tls.client_auth]
        contexts.append(context)
        names.append(known)
    contexts[0].sni_callback = _chooser(contexts, CertificateChoice(names))
    return contexts[0], expiries


def _chooser(
    contexts: list[ssl.SSLContext], choice: CertificateChoice
) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], None]:
    def choose(tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name is not None and isinstance(tls, NamedObject):
            tls.asked = name.lower()
            tls.context = contexts[choice.index(name)]

    return choose


def _client_context(tls: ClientTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(ALPN)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca_file is None:
        context.load_default_certs()
    else:
        _load_authorities(context, tls.ca_file)
    if tls.certificate is not None:
        _load_chain(context, tls.certificate)
    return context


# -- files -------------------------------------------------------------------


def _read(path: str) -> str:
    try:
        with open(path, encoding="latin-1") as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise TlsConfigError(path, _system_reason(error)) from None


def _system_reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ENOENT:
        return "no such file"
    return os.strerror(number).lower() if number else str(error)


def _load_chain(context: ssl.SSLContext, certificate: Certificate) -> None:
    """Load a certificate and its key, and say which of the two is wrong how."""
    if _PEM.search(_read(certificate.cert)) is None:
        raise TlsConfigError(certificate.cert, "holds no certificate in PEM form")
    key = _read(certificate.key)
    if "PRIVATE KEY-----" not in key:
        raise TlsConfigError(certificate.key, "holds no private key in PEM form")
    if "ENCRYPTED" in key:
        raise TlsConfigError(certificate.key, "the private key has a passphrase")
    try:
        # Without a callback OpenSSL would ask the terminal.
        context.load_cert_chain(certificate.cert, certificate.key, password=lambda: "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message = f"the private key is not that of {certificate.cert}"
            raise TlsConfigError(certificate.key, message) from None
        reason = (error.reason or "cannot be read").lower().replace("_", " ")
        raise TlsConfigError(certificate.cert, reason) from None
    except OSError as error:
        raise TlsConfigError(certificate.cert, _system_reason(error)) from None


def _load_authorities(context: ssl.SSLContext, path: str) -> None:
    if _PEM.search(_read(path)) is None:
        raise TlsConfigError(path, "holds no certificate in PEM form")
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        reason = (error.reason or "cannot be read").lower().replace("_", " ")
        raise TlsConfigError(path, reason) from None


def _read_names(
    context: ssl.SSLContext, certificate: Certificate
) -> tuple[list[str], float]:
    """Return a certificate's DNS names, and when it expires."""
    found = _PEM.search(_read(certificate.cert))
    assert found is not None, "it has been loaded"
    try:
        checker = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        checker.check_hostname = False
        checker.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
        checker.load_verify_locations(cadata=ssl.PEM_cert_to_DER_cert(found[0]))
        about = _shown(context, checker)
    except (ssl.SSLError, TlsFailure, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise TlsConfigError(certificate.cert, f"unfit to serve: {reason}") from None
    names = [name for kind, name in about.get("subjectAltName", ()) if kind == "DNS"]
    if not names:
        subject = [pair for relative in about.get("subject", ()) for pair in relative]
        names = [name for kind, name in subject if kind == "commonName"]
    return names, ssl.cert_time_to_seconds(about["notAfter"])


def _shown(server: ssl.SSLContext, client: ssl.SSLContext) -> Mapping[str, Any]:
    """Shake hands in memory; return what the server's certificate says."""
    ours, theirs = TlsChannel.server(server), TlsChannel.client(client, None)
    theirs.start()
    while not theirs.established:
        ours.receive(theirs.take_output())
        answer = ours.take_output()
        assert answer, "a handshake that does not fail goes on"
        theirs.receive(answer)
    return theirs.certificate()
