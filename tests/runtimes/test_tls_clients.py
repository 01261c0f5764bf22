"""TLS towards clients, over real sockets: names, certificates, hostile bytes."""

from __future__ import annotations

import ssl
import warnings
from typing import Any

import pytest

from tests.certificates import Authority
from tests.runtimes.bulk import MIB
from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import Recorder, echoes_target, reply
from tests.runtimes.process import curl
from tests.runtimes.secured import (
    NAME,
    authority,
    client_context,
    goodbye,
    listens,
    secure,
)
from tests.runtimes.wire import Wire, dial

__all__ = ["authority"]

REFUSED = (ssl.SSLError, ConnectionError, EOFError)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def name_of(wire: Wire) -> list[str]:
    assert isinstance(wire.sock, ssl.SSLSocket)
    found: Any = wire.sock.getpeercert()
    return [value for kind, value in found["subjectAltName"] if kind == "DNS"]


def test_requests_come_over_tls(
    lb: LbFactory, origin: OriginFactory, authority: Authority
) -> None:
    recorder = Recorder(reply(b"hello"))
    one = lb(origin(recorder), listen=listens(authority.issue(NAME, "localhost")))
    context = client_context(authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with secure(one.address(), context) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        assert client.sock.version() == "TLSv1.3"
        assert client.sock.selected_alpn_protocol() == "http/1.1"
        for _ in range(3):
            assert client.ask().body == b"hello"
        # The Host may be any: nothing here is chosen by it.
        assert client.ask("/", "X-Other: yes\r\n").status == 200
    assert {r.get("X-Forwarded-Proto") for r in recorder.requests} == {b"https"}
    url = f"https://localhost:{one.address().rpartition(':')[2]}/"
    assert curl("--cacert", authority.ca_file, url) == b"hello"
    assert one.log.count("error") == 0


def test_the_certificate_is_chosen_by_name(
    lb: LbFactory, origin: OriginFactory, authority: Authority
) -> None:
    certificates = [
        authority.issue("first.example"),
        authority.issue("*.example.org"),
        authority.issue("www.example.org"),
    ]
    one = lb(origin(), listen=listens(*certificates))
    context = client_context(authority)
    context.check_hostname = False
    for asked, got in (
        ("first.example", "first.example"),
        ("www.example.org", "www.example.org"),
        ("WWW.example.org", "www.example.org"),
        ("other.example.org", "*.example.org"),
        ("a.b.example.org", "first.example"),
        ("example.org", "first.example"),
        ("unknown.example", "first.example"),
        (None, "first.example"),
    ):
        with secure(one.address(), context, asked) as client:
            assert name_of(client) == [got], asked
            assert client.ask().body == b"OK"


def test_old_versions_are_refused(
    lb: LbFactory, origin: OriginFactory, authority: Authority
) -> None:
    one = lb(origin(), listen=listens(authority.issue(NAME)))
    context = client_context(authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        secure(one.address(), context)
    one.line("TLS handshake failed")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with secure(one.address(), context) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        assert client.sock.version() == "TLSv1.2"
        assert client.ask().body == b"OK"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed(
    lb: LbFactory,
    origin: OriginFactory,
    authority: Authority,
    version: ssl.TLSVersion,
) -> None:
    certificates = authority.issue("first.example"), authority.issue(NAME)
    one = lb(origin(), listen=listens(*certificates))
    context = client_context(authority)
    context.minimum_version = context.maximum_version = version
    session = None
    for turn in range(3):
        with secure(one.address(), context, NAME, session) as client:
            assert isinstance(client.sock, ssl.SSLSocket)
            assert client.sock.session_reused is (turn > 0)
            assert client.ask().body == b"OK"
            session = client.sock.session


# -- certificates of clients -------------------------------------------------


def test_a_client_has_to_show_a_certificate_where_it_is_required(
    lb: LbFactory, origin: OriginFactory, authority: Authority
) -> None:
    recorder = Recorder()
    listen = listens(
        authority.issue(NAME), client_ca=authority.ca_file, client_auth="require"
    )
    rules = {"set": {"X-Subject": "$ssl_client_s_dn", "X-Verify": "$ssl_client_verify"}}
    one = lb(origin(recorder), listen=listen, request_headers=rules)
    shows = authority.issue("who.example", common_name="Jane Doe")
    with secure(one.address(), client_context(authority, shows)) as client:
        assert client.ask().body == b"OK"
    (request,) = recorder.requests
    assert b"CN=Jane Doe" in (request.get("X-Subject") or b"")
    assert request.get("X-Verify") == b"SUCCESS"
    context = client_context(authority)
    with pytest.raises(REFUSED), secure(one.address(), context) as client:
        client.ask()  # TLS 1.3 tells with the first read
    one.line("TLS handshake failed", "certificate")
    assert len(recorder.requests) == 1


def test_a_certificate_may_be_optional_and_is_not_to_be_claimed(
    lb: LbFactory, origin: OriginFactory, authority: Authority
) -> None:
    recorder = Recorder()
    listen = listens(
        authority.issue(NAME), client_ca=authority.ca_file, client_auth="optional"
    )
    rules = {"set": {"X-Subject": "$ssl_client_s_dn", "X-Verify": "$ssl_client_verify"}}
    one = lb(origin(recorder), listen=listen, request_headers=rules)
    shows = authority.issue("who.example", common_name="Jane Doe")
    for certificate in (shows, None):
        context = client_context(authority, certificate)
        with secure(one.address(), context) as client:
            assert client.ask("/", "X-Subject: CN=root\r\n").body == b"OK"
    first, second = recorder.requests
    assert b"CN=Jane Doe" in (first.get("X-Subject") or b"")
    assert second.all("X-Subject") == []
    assert second.get("X-Verify") == b"NONE"


def test_a_certificate_of_another_authority_is_refused(
    lb: LbFactory, origin: OriginFactory, authority: Authority, tmp_path: Any
) -> None:
    other = Authority(tmp_path / "other")
    listen = listens(
        authority.issue(NAME), client_ca=authority.ca_file, client_auth="optional"
    )
    one = lb(origin(), listen=listen)
    context = client_context(authority, other.issue("who.example"))
    with pytest.raises(REFUSED), secure(one.address(), context) as client:
        client.ask()
    one.line("TLS handshake failed")


# -- the stream --------------------------------------------------------------


def test_much_passes_both_ways(
    lb: LbFactory, origin: OriginFactory, authority: Authority
) -> None:
    much = bytes(range(256)) * (8 * MIB // 256)
    recorder = Recorder(reply(much))
    one = lb(origin(recorder), listen=listens(authority.issue(NAME)))
    with secure(one.address(), client_context(authority)) as client:
        head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(much)}\r\n\r\n"
        client.send(head.encode() + much)
        assert client.response().body == much
    assert recorder.requests[0].body == much


def test_records_may_come_byte_by_byte(
    lb: LbFactory, origin: OriginFactory, authority: Authority
) -> None:
    one = lb(origin(echoes_target), listen=listens(authority.issue(NAME)))
    inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = client_context(authority)
    tls = context.wrap_bio(inward, outward, server_hostname=NAME)
    with dial(one.address()) as wire:

        def until_done(act: Any) -> Any:
            while True:
                try:
                    return act()
                except ssl.SSLWantReadError:
                    wire.drip(outward.read())
                    assert wire.more()
                    inward.write(wire.ahead)
                    wire.ahead = b""
                finally:
                    wire.drip(outward.read())

        until_done(tls.do_handshake)
        tls.write(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        got = b""
        while not got.endswith(b"/slow"):
            got += until_done(lambda: tls.read(65536))


def test_a_client_that_says_goodbye_still_gets_its_response(
    lb: LbFactory, origin: OriginFactory, authority: Authority
) -> None:
    one = lb(origin(), listen=listens(authority.issue(NAME)))
    with secure(one.address(), client_context(authority)) as client:
        client.send(GET)
        assert client.response().body == b"OK"
        client.send(b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert client.response().body == b"OK"
        assert client.sock.recv(1) == b"", "close_notify comes"
        goodbye(client)


# -- hostile bytes -----------------------------------------------------------


def test_plain_http_on_a_tls_port_is_closed_with_one_line(
    lb: LbFactory, origin: OriginFactory, authority: Authority
) -> None:
    one = lb(origin(), listen=listens(authority.issue(NAME)))
    with one.connect() as client:
        client.send(GET)
        assert b"HTTP/1.1 2" not in client.rest()
    one.line("TLS handshake failed")
    assert one.log.count("TLS handshake failed") == 1


def test_tls_on_a_plain_port_is_closed_with_one_line(
    lb: LbFactory, origin: OriginFactory, authority: Authority
) -> None:
    backend = origin()
    one = lb(backend)
    with pytest.raises(ssl.SSLError):
        secure(one.address(), client_context(authority))
    one.line("exchange failed", "client=127.0.0.1")
    assert one.log.count("exchange failed") == 1
    assert backend.accepted == 0


def test_garbage_in_a_handshake_ends_it(
    lb: LbFactory, origin: OriginFactory, authority: Authority
) -> None:
    one = lb(origin(), listen=listens(authority.issue(NAME)))
    hello = ssl.MemoryBIO()
    tls = client_context(authority).wrap_bio(
        ssl.MemoryBIO(), hello, server_hostname="a"
    )
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    first = hello.read()
    wrong = [
        b"\0" * 100,
        b"\x16\x03\x01\xff\xff" + b"x" * 100,
        first[:60] + bytes(len(first) - 60),
        first + b"\x17\x03\x03\x00\x05hello",
        first + first,
        first.replace(b"\x01a", b"\x01\xff"),  # as a server name
    ]
    for count, data in enumerate(wrong, 1):
        with one.connect() as client:
            client.send(data)
            client.rest()
        one.wait_until(lambda n=count: one.log.count("TLS handshake failed") >= n)
    with secure(one.address(), client_context(authority)) as client:
        assert client.ask().body == b"OK"


def test_a_client_that_stops_in_the_handshake_is_closed(
    lb: LbFactory, origin: OriginFactory, authority: Authority
) -> None:
    listen = listens(authority.issue(NAME))
    one = lb(origin(), listen=listen, timeouts={"tls_handshake": "150ms"})
    for said in (b"", b"\x16\x03\x01\x02\x00"):
        with one.connect() as client:
            client.send(said)
            assert client.ended()
    one.line("TLS handshake failed", "not complete in time")


def test_a_proxy_header_comes_before_tls(
    lb: LbFactory, origin: OriginFactory, authority: Authority
) -> None:
    recorder = Recorder()
    listen = listens(authority.issue(NAME))
    listen[0]["proxy_protocol"] = True
    one = lb(origin(recorder), listen=listen, trusted_proxies=["127.0.0.0/8"])
    header = b"PROXY TCP4 203.0.113.7 203.0.113.1 51000 443\r\n"
    context = client_context(authority)
    with secure(one.address(), context, before=header) as client:
        assert client.ask().body == b"OK"
    assert recorder.requests[0].get("X-Forwarded-For") == b"203.0.113.7"
    assert recorder.requests[0].get("X-Forwarded-Proto") == b"https"
