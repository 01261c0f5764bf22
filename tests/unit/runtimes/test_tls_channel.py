"""TLS over memory: both sides played against each other."""

from __future__ import annotations

import contextlib
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbproto.machine.tls import ClientTls, ServerTls
from lbproto_runtimes.contexts import Contexts
from lbproto_runtimes.tls_channel import TlsChannel, TlsFailure
from tests.certificates import Authority

NAME = "one.one.one.one"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def serving(authority: Authority) -> ssl.SSLContext:
    return Contexts().server(ServerTls(certificates=(authority.issue(NAME),)))


@pytest.fixture(scope="module")
def asking(authority: Authority) -> ssl.SSLContext:
    return Contexts().client(ClientTls(ca_file=authority.ca_file))


def pair(
    serving: ssl.SSLContext, asking: ssl.SSLContext, name: str = NAME
) -> tuple[TlsChannel, TlsChannel]:
    server, client = TlsChannel.server(serving), TlsChannel.client(asking, name)
    server.start()
    assert server.take_output() == b"", "it is the client's to begin"
    client.start()
    return server, client


def settle(server: TlsChannel, client: TlsChannel, size: int = 65536) -> list[bytes]:
    """Carry bytes both ways until there are none; return what either side read."""
    got = [b"", b""]
    moved = True
    while moved:
        moved = False
        for index, (here, there) in enumerate([(client, server), (server, client)]):
            data = here.take_output()
            for at in range(0, len(data), size):
                moved = True
                got[index] += there.receive(data[at : at + size])
    return got


def test_a_handshake_and_words_both_ways(
    serving: ssl.SSLContext, asking: ssl.SSLContext
) -> None:
    server, client = pair(serving, asking)
    assert server.untouched
    settle(server, client)
    assert server.established
    assert client.established
    assert not server.untouched
    info = server.info()
    assert (info.alpn, info.sni, info.version) == ("http/1.1", NAME, "TLSv1.3")
    assert info.peer_cert == ""
    assert client.info().sni == NAME
    client.send(b"hello")
    server.send(b"welcome")
    assert settle(server, client) == [b"hello", b"welcome"]


def test_it_may_come_byte_by_byte(
    serving: ssl.SSLContext, asking: ssl.SSLContext
) -> None:
    server, client = pair(serving, asking)
    settle(server, client, 1)
    client.send(b"hello")
    assert settle(server, client, 1)[0] == b"hello"


def test_words_may_come_with_the_end_of_the_handshake(
    serving: ssl.SSLContext, asking: ssl.SSLContext
) -> None:
    server, client = pair(serving, asking)
    server.receive(client.take_output())
    client.receive(server.take_output())
    assert client.established
    client.send(b"early")
    assert server.receive(client.take_output()) == b"early"
    assert server.established


def test_much_is_many_records(serving: ssl.SSLContext, asking: ssl.SSLContext) -> None:
    server, client = pair(serving, asking)
    settle(server, client)
    much = bytes(range(256)) * 4096
    server.send(much)
    assert settle(server, client, 5000)[1] == much


@pytest.fixture(params=["TLSv1.2", "TLSv1.3"])
def either(request: pytest.FixtureRequest, authority: Authority) -> ssl.SSLContext:
    """A client of one version only."""
    context = Contexts().client(ClientTls(ca_file=authority.ca_file))
    version = ssl.TLSVersion[request.param.replace(".", "_")]
    context.minimum_version = context.maximum_version = version
    return context


def test_each_side_ends_by_itself(
    serving: ssl.SSLContext, either: ssl.SSLContext
) -> None:
    server, client = pair(serving, either)
    client.end()
    assert not client.ended, "a handshake has no end to say"
    settle(server, client)
    client.end()
    client.end()
    settle(server, client)
    assert server.ended
    assert not client.ended
    server.send(b"still")
    assert settle(server, client)[1] == b"still"
    server.end()
    settle(server, client)
    assert client.ended
    assert client.receive(b"whatever") == b"", "nothing counts after that"


def test_an_end_may_come_amid_a_record_of_the_peer(
    serving: ssl.SSLContext, either: ssl.SSLContext
) -> None:
    server, client = pair(serving, either)
    settle(server, client)
    client.send(b"x" * 1000)
    data = client.take_output()
    assert server.receive(data[:300]) == b""
    server.end()
    assert server.receive(data[300:]) == b"x" * 1000
    assert client.receive(server.take_output()) == b""
    assert client.ended
    client.send(b"last words")
    client.end()
    assert server.receive(client.take_output() + b"more") == b"last words"
    assert server.ended
    with pytest.raises(TlsFailure, match="shutdown"):
        server.send(b"more")


def test_a_session_goes_on_where_it_fits(
    serving: ssl.SSLContext, either: ssl.SSLContext, authority: Authority
) -> None:
    server, client = pair(serving, either)
    settle(server, client)
    session = client.session
    again = TlsChannel.client(either, NAME, session)
    again.start()
    settle(TlsChannel.server(serving), again)
    assert again.established
    assert again._object.session_reused
    other = Contexts().client(ClientTls(ca_file=authority.ca_file))
    foreign = TlsChannel.client(other, NAME, session)
    foreign.start()
    settle(TlsChannel.server(serving), foreign)
    assert foreign.established
    assert not foreign._object.session_reused


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "plain HTTP in place of TLS"),
        (b"CONNECT a:443 HTTP/1.1\r\n\r\n", "plain HTTP in place of TLS"),
        (b"\0" * 64, ""),
        (b"SSH-2.0-x\r\n", ""),
        (b"\x16\x03\x01\x50\x01" + b"x" * 100, ""),
    ],
)
def test_no_handshake_is_a_failure_in_plain_words(
    serving: ssl.SSLContext, data: bytes, reason: str
) -> None:
    server = TlsChannel.server(serving)
    with pytest.raises(TlsFailure) as caught:
        server.receive(data)
    assert reason in caught.value.reason
    assert "_ssl.c" not in caught.value.reason
    assert caught.value.reason == str(caught.value)
    server.take_output()


@pytest.mark.parametrize(
    "name", ["", ".example", "a..example", "x" * 64, "x." * 150 + "x", None]
)
def test_a_name_that_cannot_be_asked_for_is_a_failure(
    asking: ssl.SSLContext, name: str | None
) -> None:
    with pytest.raises(TlsFailure, match="name"):
        TlsChannel.client(asking, name)


def old(**settings: object) -> ssl.SSLContext:
    """Make a client of our own, which verifies nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:NULL:@SECLEVEL=0")
    for name, value in settings.items():
        setattr(context, name, value)
    return context


def test_what_the_sides_cannot_agree_on_is_said(serving: ssl.SSLContext) -> None:
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        ancient = old(
            minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1
        )
    plain = old(maximum_version=ssl.TLSVersion.TLSv1_2)
    plain.set_ciphers("NULL:@SECLEVEL=0")
    for context, reason, alert in (
        (ancient, "a version of TLS that is not", "protocol version"),
        (plain, "no cipher that both sides", "handshake failure"),
    ):
        server, client = pair(serving, context)
        with pytest.raises(TlsFailure, match=reason):
            server.receive(client.take_output())
        with pytest.raises(TlsFailure, match=f"^the peer's alert: {alert}$"):
            client.receive(server.take_output())


@pytest.mark.parametrize(
    ("name", "protocols", "agreed"),
    [
        (None, [], ""),
        (NAME, ["h2"], ""),
        (NAME, ["h2", "http/1.1"], "http/1.1"),
        ("ONE.ONE.ONE.ONE.", ["http/1.1"], "http/1.1"),
    ],
)
def test_a_client_need_not_offer_what_we_speak(
    serving: ssl.SSLContext, name: str | None, protocols: list[str], agreed: str
) -> None:
    context = old()
    if protocols:
        context.set_alpn_protocols(protocols)
    server, client = TlsChannel.server(serving), TlsChannel.client(context, name)
    client.start()
    settle(server, client)
    info = server.info()
    assert (info.alpn, info.sni) == (agreed, (name or "").lower())


def test_an_unknown_authority_is_told_to_both(
    serving: ssl.SSLContext, tmp_path: Path
) -> None:
    elsewhere = Authority(tmp_path)
    asking = Contexts().client(ClientTls(ca_file=elsewhere.ca_file))
    server, client = pair(serving, asking)
    server.receive(client.take_output())
    with pytest.raises(TlsFailure, match="local issuer certificate"):
        client.receive(server.take_output())
    with pytest.raises(TlsFailure, match=r"^the peer's alert: unknown ca$"):
        server.receive(client.take_output())


@pytest.mark.parametrize("kind", ["expired", "self-signed"])
def test_a_certificate_that_is_not_valid_is_a_failure(
    authority: Authority, asking: ssl.SSLContext, kind: str
) -> None:
    expired = kind == "expired"
    shown = (
        authority.issue(NAME, expired=True) if expired else authority.self_signed(NAME)
    )
    serving = Contexts().server(ServerTls(certificates=(shown,)))
    server, client = pair(serving, asking)
    server.receive(client.take_output())
    with pytest.raises(TlsFailure, match=kind):
        client.receive(server.take_output())
    assert client.take_output(), "an alert says so"


def test_a_wrong_name_is_told_to_both(
    serving: ssl.SSLContext, asking: ssl.SSLContext
) -> None:
    server, client = pair(serving, asking, "other.example")
    server.receive(client.take_output())
    with pytest.raises(TlsFailure, match="hostname mismatch"):
        client.receive(server.take_output())
    with pytest.raises(TlsFailure, match="alert"):
        server.receive(client.take_output())


def test_an_address_may_be_the_wrong_one(
    serving: ssl.SSLContext, asking: ssl.SSLContext
) -> None:
    server, client = pair(serving, asking, "127.0.0.1")
    server.receive(client.take_output())
    with pytest.raises(TlsFailure, match="IP address mismatch"):
        client.receive(server.take_output())


def test_what_came_before_a_failure_still_counts(
    serving: ssl.SSLContext, asking: ssl.SSLContext
) -> None:
    server, client = pair(serving, asking)
    settle(server, client)
    client.send(b"hello")
    good = client.take_output()
    client.send(b"world")
    bad = bytearray(client.take_output())
    bad[-1] ^= 1
    with pytest.raises(TlsFailure) as caught:
        server.receive(good + bytes(bad))
    assert caught.value.plain == b"hello"


def test_bytes_that_were_tampered_with_are_a_failure(
    serving: ssl.SSLContext, asking: ssl.SSLContext
) -> None:
    server, client = pair(serving, asking)
    settle(server, client)
    client.send(b"hello")
    data = bytearray(client.take_output())
    data[-1] ^= 1
    with pytest.raises(TlsFailure, match="mac"):
        server.receive(bytes(data))
    assert server.take_output(), "an alert says so"


@pytest.fixture
def _strange_names() -> Iterator[None]:
    """Python reports a server name that is not ASCII, whatever one would do with it."""
    before = sys.unraisablehook
    sys.unraisablehook = lambda found: None
    yield
    sys.unraisablehook = before


@pytest.mark.usefixtures("_strange_names")
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.integers(0, 600),
    junk=st.binary(min_size=1, max_size=40),
    late=st.booleans(),
)
def test_whatever_comes_only_fails(
    serving: ssl.SSLContext, asking: ssl.SSLContext, at: int, junk: bytes, late: bool
) -> None:
    server, client = pair(serving, asking)
    if late:
        settle(server, client)
        client.send(b"x" * 500)
    data = client.take_output()
    mutated = data[:at] + junk + data[at + len(junk) :]
    with contextlib.suppress(TlsFailure):
        got = server.receive(mutated)
        assert got in (b"", b"x" * 500), "what was tampered with is never believed"
        if server.established:
            server.send(b"answer")
    server.take_output()


@settings(max_examples=200)
@given(at=st.integers(0, 1500), junk=st.binary(min_size=1, max_size=40))
def test_whatever_a_backend_answers_only_fails(
    serving: ssl.SSLContext, asking: ssl.SSLContext, at: int, junk: bytes
) -> None:
    server, client = pair(serving, asking)
    server.receive(client.take_output())
    data = server.take_output()
    with contextlib.suppress(TlsFailure):
        assert client.receive(data[:at] + junk + data[at + len(junk) :]) == b""
    client.take_output()
