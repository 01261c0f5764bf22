"""TLS as a test speaks it: the other ends, made with the standard library."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lbproto.machine.tls import Certificate
from tests.certificates import Authority
from tests.runtimes.origins import OK, Origin, Script, answers
from tests.runtimes.wire import Wire, dial

NAME = "one.one.one.one"

TlsOriginFactory = Callable[..., "TlsOrigin"]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def entry(certificate: Certificate) -> dict[str, str]:
    """A certificate as the file names it."""
    return {"cert": certificate.cert, "key": certificate.key}


def listens(*certificates: Certificate, **keys: Any) -> list[dict[str, Any]]:
    """`listen` of a service that speaks TLS."""
    tls = {"certificates": [entry(one) for one in certificates], **keys}
    return [{"address": "127.0.0.1:0", "tls": tls}]


def client_context(authority: Authority, shows: Any = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.ca_file)
    if shows is not None:
        context.load_cert_chain(shows.cert, shows.key)
    return context


def secure(
    address: str,
    context: ssl.SSLContext,
    name: str | None = NAME,
    session: ssl.SSLSession | None = None,
    before: bytes = b"",
) -> Wire:
    """Connect, and speak TLS from then on."""
    wire = dial(address)
    wire.send(before)
    try:
        sock = context.wrap_socket(wire.sock, server_hostname=name, session=session)
    except BaseException:
        wire.close()
        raise
    return Wire(sock)


class TlsOrigin(Origin):
    """A backend that speaks TLS; failed handshakes are noted, not errors."""

    def __init__(
        self,
        certificate: Certificate,
        script: Script | bytes = OK,
        *,
        client_ca: str | None = None,
        before: Callable[[Wire], None] | None = None,
    ) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate.cert, certificate.key)
        self.context.set_alpn_protocols(["http/1.1"])
        if client_ca is not None:
            self.context.load_verify_locations(client_ca)
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.names: list[str | None] = []
        """What was asked for by SNI, in each handshake."""
        self.sessions: list[bool] = []
        """Whether each connection went on with a session of another."""
        self.subjects: list[object] = []
        self.context.sni_callback = lambda _, name, __: self.names.append(name)
        self._before = before
        play = answers(script) if isinstance(script, bytes) else script
        self._script = play
        super().__init__(self._secured)

    def _secured(self, wire: Wire) -> None:
        if self._before is not None:
            self._before(wire)
        try:
            wire.sock = self.context.wrap_socket(wire.sock, server_side=True)
        except (ssl.SSLError, ConnectionError, EOFError):
            raise EOFError from None  # the other end does not want us
        self.sessions.append(bool(wire.sock.session_reused))
        self.subjects.append(wire.sock.getpeercert())
        with contextlib.suppress(ssl.SSLError):
            self._script(wire)


@pytest.fixture
def tls_origin() -> Iterator[TlsOriginFactory]:
    made: list[TlsOrigin] = []

    def launch(certificate: Certificate, *args: Any, **keys: Any) -> TlsOrigin:
        made.append(TlsOrigin(certificate, *args, **keys))
        return made[-1]

    yield launch
    for one in made:
        one.close()
    errors = [error for one in made for error in one.errors]
    assert not errors, errors


def goodbye(wire: Wire) -> None:
    """Send close_notify and FIN, without waiting for the peer's."""
    assert isinstance(wire.sock, ssl.SSLSocket)
    with contextlib.suppress(OSError, ValueError):
        wire.sock.settimeout(0.0)
        wire.sock.unwrap()
