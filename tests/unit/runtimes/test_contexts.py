"""Contexts of TLS, and what is wrong with the files that they are made of."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Literal

import pytest

from lbproto.machine.tls import Certificate, ClientTls, ServerTls
from lbproto_runtimes.contexts import SESSIONS, Contexts, TlsConfigError
from lbproto_runtimes.tls_channel import TlsChannel, TlsFailure
from tests.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def shake(server: TlsChannel, client: TlsChannel) -> None:
    client.start()
    for _ in range(4):
        server.receive(client.take_output())
        client.receive(server.take_output())


def names(context: ssl.SSLContext, authority: Authority, asked: str) -> list[str]:
    """Ask for a name; return those of the certificate that comes."""
    asking = ssl.create_default_context(cafile=authority.ca_file)
    asking.check_hostname = False
    client = TlsChannel.client(asking, asked)
    shake(TlsChannel.server(context), client)
    return [name for _, name in client.certificate()["subjectAltName"]]


# -- listeners ---------------------------------------------------------------


def test_a_certificate_is_chosen_by_its_own_names(authority: Authority) -> None:
    certificates = (
        authority.issue("first.example"),
        authority.issue("*.example.org"),
        authority.issue("www.example.org", "127.0.0.1"),
    )
    context = Contexts().server(ServerTls(certificates=certificates))
    assert names(context, authority, "www.example.org") == [
        "www.example.org",
        "127.0.0.1",
    ]
    assert names(context, authority, "x.example.org") == ["*.example.org"]
    assert names(context, authority, "unknown") == ["first.example"]


def test_a_certificate_without_alternatives_has_its_common_name(
    authority: Authority,
) -> None:
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "old.example")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=9))
        .not_valid_after(now - datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    stored = authority.store(certificate.public_bytes(pem), private)
    contexts = Contexts()
    both = ServerTls(certificates=(authority.issue("a.example"), stored))
    context = contexts.server(both)
    # It has expired, which clients mind and names do not.
    assert contexts.expires(stored) == int(certificate.not_valid_after_utc.timestamp())
    asking = Contexts().client(ClientTls(verify=False))
    server = TlsChannel.server(context)
    shake(server, TlsChannel.client(asking, "old.example"))
    assert server._object.context is not context


def test_records_that_are_equal_share_a_context(authority: Authority) -> None:
    certificate = authority.issue("a.example")
    contexts = Contexts()
    one = contexts.server(ServerTls(certificates=(certificate,)))
    assert contexts.server(ServerTls(certificates=(certificate,))) is one
    other = ServerTls(certificates=(certificate,), client_auth="optional")
    assert contexts.server(other) is not one
    assert contexts.expires(certificate) is not None
    assert contexts.expires(Certificate(cert="x", key="y")) is None


@pytest.mark.parametrize("asked", ["first.example", "second.example"])
def test_no_name_leads_around_the_certificate_of_a_client(
    authority: Authority, asked: str
) -> None:
    tls = ServerTls(
        certificates=(authority.issue("first.example"), authority.issue(asked)),
        client_ca=authority.ca_file,
        client_auth="require",
    )
    context = Contexts().server(tls)
    asking = Contexts().client(ClientTls(ca_file=authority.ca_file))
    with pytest.raises(TlsFailure, match="shows no certificate"):
        shake(TlsChannel.server(context), TlsChannel.client(asking, asked))
    shows = authority.issue("c.example", common_name="Jane")
    showing = Contexts().client(ClientTls(ca_file=authority.ca_file, certificate=shows))
    server = TlsChannel.server(context)
    shake(server, TlsChannel.client(showing, asked))
    assert "CN=Jane" in server.info().peer_cert


@pytest.mark.parametrize("auth", ["optional", "require"])
@pytest.mark.parametrize("kind", ["another authority", "expired"])
def test_a_client_is_nobody_with_a_certificate_that_is_not_valid(
    authority: Authority,
    tmp_path: Path,
    auth: Literal["optional", "require"],
    kind: str,
) -> None:
    tls = ServerTls(
        certificates=(authority.issue("a.example"), authority.issue("b.example")),
        client_ca=authority.ca_file,
        client_auth=auth,
    )
    expired = kind == "expired"
    signer = authority if expired else Authority(tmp_path)
    shows = signer.issue("c.example", expired=expired)
    showing = Contexts().client(ClientTls(ca_file=authority.ca_file, certificate=shows))
    reason = "has expired" if expired else "unable to get local issuer"
    for name in ("a.example", "b.example"):
        server = TlsChannel.server(Contexts().server(tls))
        with pytest.raises(TlsFailure, match=reason):
            shake(server, TlsChannel.client(showing, name))
        assert not server.established


def test_a_client_may_do_without_a_certificate_where_it_is_optional(
    authority: Authority,
) -> None:
    tls = ServerTls(
        certificates=(authority.issue("a.example"), authority.issue("b.example")),
        client_ca=authority.ca_file,
        client_auth="optional",
    )
    context = Contexts().server(tls)
    asking = Contexts().client(ClientTls(ca_file=authority.ca_file))
    for name in ("a.example", "b.example"):
        server = TlsChannel.server(context)
        shake(server, TlsChannel.client(asking, name))
        assert server.established
        assert server.info().peer_cert == ""


def test_a_client_is_not_asked_where_nobody_wants_to_know(authority: Authority) -> None:
    both = authority.issue("a.example", common_name="Jane")
    context = Contexts().server(ServerTls(certificates=(both,)))
    showing = Contexts().client(ClientTls(ca_file=authority.ca_file, certificate=both))
    server = TlsChannel.server(context)
    shake(server, TlsChannel.client(showing, "a.example"))
    assert server.info().peer_cert == ""


def test_a_client_whose_certificate_cannot_be_read_is_nobody(
    authority: Authority,
) -> None:
    tls = ServerTls(
        certificates=(authority.issue("a.example"),),
        client_ca=authority.ca_file,
        client_auth="require",
    )
    shows = authority.issue_strange(names=bytes.fromhex("30048202c328"))  # not UTF-8
    showing = Contexts().client(ClientTls(ca_file=authority.ca_file, certificate=shows))
    server = TlsChannel.server(Contexts().server(tls))
    with pytest.raises(TlsFailure, match="cannot be read"):
        shake(server, TlsChannel.client(showing, "a.example"))
    assert not server.established
    with pytest.raises(TlsConfigError, match="cannot be read"):
        Contexts().server(ServerTls(certificates=(shows,)))


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("auth", ["none", "optional", "require"])
@pytest.mark.parametrize("asked", ["first.example", "second.example"])
def test_a_resumed_session_remembers_who_the_client_is(
    authority: Authority,
    version: str,
    auth: Literal["none", "optional", "require"],
    asked: str,
) -> None:
    tls = ServerTls(
        certificates=(authority.issue("first.example"), authority.issue(asked)),
        client_ca=authority.ca_file,
        client_auth=auth,
    )
    context = Contexts().server(tls)
    shows = authority.issue("c.example", common_name="Jane")
    showing = Contexts().client(ClientTls(ca_file=authority.ca_file, certificate=shows))
    showing.maximum_version = ssl.TLSVersion[version]
    first = TlsChannel.client(showing, asked)
    shake(TlsChannel.server(context), first)
    server = TlsChannel.server(context)
    again = TlsChannel.client(showing, asked, first.session)
    shake(server, again)
    assert again._object.session_reused
    info = server.info()
    assert info.version == version.replace("_", ".")
    assert info.sni == asked
    assert info.peer_cert.startswith("" if auth == "none" else "CN=Jane,")
    assert bool(info.peer_cert) is (auth != "none")


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_session_of_another_listener_proves_nothing(
    authority: Authority, version: str
) -> None:
    certificates = (authority.issue("a.example"),)
    contexts = Contexts()
    anybody = contexts.server(ServerTls(certificates=certificates))
    known = contexts.server(
        ServerTls(
            certificates=certificates,
            client_ca=authority.ca_file,
            client_auth="require",
        )
    )
    asking = Contexts().client(ClientTls(ca_file=authority.ca_file))
    asking.maximum_version = ssl.TLSVersion[version]
    first = TlsChannel.client(asking, "a.example")
    shake(TlsChannel.server(anybody), first)
    server = TlsChannel.server(known)
    with pytest.raises(TlsFailure, match="shows no certificate"):
        shake(server, TlsChannel.client(asking, "a.example", first.session))
    assert not server.established


# -- backends ----------------------------------------------------------------


def test_the_authorities_of_the_system_are_the_default() -> None:
    context = Contexts().client(ClientTls())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_only_a_word_in_the_file_turns_verification_off() -> None:
    context = Contexts().client(ClientTls(verify=False))
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname


def test_sessions_are_kept_by_backend_and_identity(authority: Authority) -> None:
    tls = ClientTls(ca_file=authority.ca_file)
    contexts = Contexts()
    serving = Contexts().server(ServerTls(certificates=(authority.issue("a.example"),)))
    client = TlsChannel.client(contexts.client(tls), "a.example")
    shake(TlsChannel.server(serving), client)
    assert contexts.session("1", tls) is None
    contexts.keep_session("1", tls, None)
    assert contexts.session("1", tls) is None
    contexts.keep_session("1", tls, client.session)
    assert contexts.session("1", tls) is not None
    assert contexts.session("2", tls) is None
    assert contexts.session("1", ClientTls(verify=False)) is None
    for number in range(SESSIONS):
        contexts.keep_session(f"more {number}", tls, client.session)
    assert contexts.session("1", tls) is None


# -- files -------------------------------------------------------------------


def wrong(authority: Authority, kind: str) -> tuple[Certificate, str, str]:
    """Return a certificate, the file at fault, and a word of the reason."""
    good = authority.issue("a.example")
    cert, key = Path(good.cert).read_bytes(), Path(good.key).read_bytes()
    match kind:
        case "no certificate file":
            bad = Certificate(cert=good.cert + "x", key=good.key)
            return bad, bad.cert, "no such file"
        case "no key file":
            bad = Certificate(cert=good.cert, key=good.key + "x")
            return bad, bad.key, "no such file"
        case "a folder":
            bad = Certificate(cert=str(authority.folder), key=good.key)
            return bad, bad.cert, "directory"
        case "a NUL":
            bad = Certificate(cert="\0", key=good.key)
            return bad, bad.cert, "null"
        case "swapped":
            bad = authority.store(key, cert)
            return bad, bad.cert, "no certificate"
        case "no key":
            bad = authority.store(cert, b"hello")
            return bad, bad.key, "no private key"
        case "another's key":
            bad = authority.store(cert, Path(authority.issue("b").key).read_bytes())
            return bad, bad.key, "not that of"
        case "encrypted":
            text = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n"
            bad = authority.store(cert, text + b"-----END ENCRYPTED PRIVATE KEY-----\n")
            return bad, bad.key, "passphrase"
        case _:
            lines = cert.splitlines(keepends=True)
            bad = authority.store(b"".join([lines[0], lines[2], *lines[4:]]), key)
            return bad, bad.cert, ""


@pytest.mark.parametrize(
    "kind",
    [
        "no certificate file",
        "no key file",
        "a folder",
        "a NUL",
        "swapped",
        "no key",
        "another's key",
        "encrypted",
        "damaged",
    ],
)
def test_a_file_that_cannot_be_used_is_named(authority: Authority, kind: str) -> None:
    bad, path, reason = wrong(authority, kind)
    for make in (
        lambda: Contexts().server(ServerTls(certificates=(bad,))),
        lambda: Contexts().client(ClientTls(certificate=bad)),
    ):
        with pytest.raises(TlsConfigError) as caught:
            make()
        assert caught.value.path == path
        assert reason in caught.value.reason
        assert "_ssl.c" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nAA==\n"])
def test_authorities_that_cannot_be_used_are_named(
    authority: Authority, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    with pytest.raises(TlsConfigError) as caught:
        Contexts().client(ClientTls(ca_file=str(path)))
    assert caught.value.path == str(path)
    good = authority.issue("a.example")
    tls = ServerTls(certificates=(good,), client_ca=str(path), client_auth="require")
    with pytest.raises(TlsConfigError):
        Contexts().server(tls)


def test_authorities_that_are_damaged_are_named(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "ascii"
    )
    with pytest.raises(TlsConfigError) as caught:
        Contexts().client(ClientTls(ca_file=str(path)))
    assert caught.value.path == str(path)


# -- reading again -----------------------------------------------------------


def test_new_files_are_for_new_connections(authority: Authority) -> None:
    first, second = authority.issue("first.example"), authority.issue("second.example")
    tls = ServerTls(certificates=(first,))
    asks = ClientTls(ca_file=authority.ca_file)
    contexts = Contexts()
    assert names(contexts.server(tls), authority, "x") == ["first.example"]
    client = TlsChannel.client(contexts.client(asks), "first.example")
    shake(TlsChannel.server(contexts.server(tls)), client)
    contexts.keep_session("1", asks, client.session)
    os.replace(second.cert, first.cert)
    os.replace(second.key, first.key)
    before = contexts.server(tls)
    contexts.reload()
    assert contexts.server(tls) is not before
    assert names(contexts.server(tls), authority, "x") == ["second.example"]
    assert names(before, authority, "x") == ["first.example"]
    assert contexts.session("1", asks) is None, "it was made by another context"


def test_all_are_read_again_or_none(authority: Authority) -> None:
    good, bad = authority.issue("good.example"), authority.issue("bad.example")
    records = [ServerTls(certificates=(one,)) for one in (good, bad)]
    contexts = Contexts()
    before = [contexts.server(record) for record in records]
    asks = ClientTls(ca_file=authority.ca_file)
    backends = contexts.client(asks)
    client = TlsChannel.client(backends, "good.example")
    shake(TlsChannel.server(before[0]), client)
    contexts.keep_session("1", asks, client.session)
    os.unlink(bad.key)
    with pytest.raises(TlsConfigError, match="no such file"):
        contexts.reload()
    assert [contexts.server(record) for record in records] == before
    assert contexts.client(asks) is backends
    assert contexts.session("1", asks) is not None
    assert contexts.expires(bad) is not None


def test_a_connection_outlives_the_files_it_was_made_with(authority: Authority) -> None:
    certificate = authority.issue("a.example")
    tls = ServerTls(certificates=(certificate,))
    contexts = Contexts()
    asking = Contexts().client(ClientTls(ca_file=authority.ca_file))
    server = TlsChannel.server(contexts.server(tls))
    client = TlsChannel.client(asking, "a.example")
    client.start()
    server.receive(client.take_output())
    contexts.reload()
    shake(server, client)
    client.send(b"hello")
    assert server.receive(client.take_output()) == b"hello"
    other = TlsChannel.client(asking, "a.example", client.session)
    shake(TlsChannel.server(contexts.server(tls)), other)
    assert other.established
    assert not other._object.session_reused, "new contexts have new keys for tickets"
