"""The forwarding fields."""

from __future__ import annotations

import pytest

from lbproto.framing.headers import Headers
from lbproto.machine.events import PeerInfo, TlsInfo
from lbproto.rewriting.forwarded import (
    MOST,
    forwarded_line,
    set_forwarding,
    told_lines,
)
from lbproto.rewriting.trust import MOST_LINKS

TLS = TlsInfo(alpn="http/1.1", sni="a.example", version="TLSv1.3", peer_cert="")


def peer(address: str = "192.0.2.1", tls: TlsInfo | None = None) -> PeerInfo:
    return PeerInfo(address=address, port=4711, local="127.0.0.1:80", tls=tls)


def test_an_untrusted_peer_has_its_claims_replaced():
    headers = Headers(
        b"Host: a\r\nX-Forwarded-For: 6.6.6.6\r\nx-forwarded-proto: https\r\n"
        b"X-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nForwarded: for=6.6.6.6\r\n"
        b"X-Real-IP: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nX-Real_IP: 6.6.6.6\r\n"
        b"Accept: */*\r\n"
    )
    set_forwarding(headers, b"a", peer(), trusted=False)
    assert headers.wire() == (
        b"Host: a\r\nAccept: */*\r\nX-Forwarded-For: 192.0.2.1\r\n"
        b"X-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n"
    )


def test_an_untrusted_peer_without_claims_keeps_its_fields():
    headers = Headers(b"Host: a\r\nAccept: */*\r\n")
    set_forwarding(headers, b"", peer("unix:", TLS), trusted=False)
    assert headers.wire() == (
        b"Host: a\r\nAccept: */*\r\nX-Forwarded-For: unix:\r\n"
        b"X-Forwarded-Proto: https\r\n"
    )


def test_a_trusted_peer_is_added_to_all_that_it_says():
    headers = Headers(
        b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Host: b\r\nX-FORWARDED-FOR: 7.7.7.7, 8.8.8.8\r\n"
        b"X-Forwarded-For:\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n"
    )
    set_forwarding(headers, b"a", peer(), trusted=True)
    assert headers.wire() == (
        b"X-Forwarded-For: 6.6.6.6, 7.7.7.7, 8.8.8.8, 192.0.2.1\r\n"
        b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\n"
        b"Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n"
    )


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (
            b"6.6.6.6,7.7.7.7:80 , ,[2001:db8::1]:1",
            b"6.6.6.6, 7.7.7.7:80, [2001:db8::1]:1, ",
        ),
        (b"6.6.6.6, unknown, 7.7.7.7", b"7.7.7.7, "),
        (b"6.6.6.6, unknown", b""),
        (b", ".join([b"6.6.6.6"] * 40), b"6.6.6.6, " * MOST_LINKS),
    ],
)
def test_of_a_trusted_list_goes_on_what_is_fit_to_be_read(said, kept):
    headers = Headers(b"X-Forwarded-For: " + said + b"\r\n")
    set_forwarding(headers, b"", peer(), trusted=True)
    assert headers.get_all(b"x-forwarded-for") == [kept + b"192.0.2.1"]


def test_what_a_trusted_peer_leaves_out_is_set():
    headers = Headers()
    set_forwarding(headers, b"a", peer(tls=TLS), trusted=True)
    assert headers.wire() == (
        b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Host: a\r\n"
    )


@pytest.mark.parametrize("tls", [None, TLS])
def test_what_is_told_of_a_client_is_the_same_where_nothing_was_said(tls):
    headers = Headers(b"Host: a\r\n")
    set_forwarding(headers, b"", peer(tls=tls), trusted=False)
    told = told_lines("192.0.2.1", tls is not None)
    assert headers.wire() == b"Host: a\r\n" + told


def test_clients_are_told_apart_however_many_there_are():
    addresses = [f"192.0.{at // 256}.{at % 256}" for at in range(MOST + 2)]
    for address in [*addresses, *addresses[:2]]:
        line = b"X-Forwarded-For: " + address.encode()
        assert told_lines(address, secure=False).startswith(line + b"\r\n")
        assert told_lines(address, secure=True).endswith(b": https\r\n")


@pytest.mark.parametrize(
    ("address", "authority", "element"),
    [
        ("192.0.2.1", b"a.example", b"for=192.0.2.1;host=a.example;proto=http"),
        ("192.0.2.1", b"a:80", b'for=192.0.2.1;host="a:80";proto=http'),
        ("192.0.2.1", b"a=b", b'for=192.0.2.1;host="a=b";proto=http'),
        ("192.0.2.1", b"", b"for=192.0.2.1;proto=http"),
        ("2001:db8::1", b"[::1]", b'for="[2001:db8::1]";host="[::1]";proto=http'),
        ("fe80::1%eth0", b"a", b'for="[fe80::1]";host=a;proto=http'),
        ("unix:", b"a", b"for=unknown;host=a;proto=http"),
    ],
)
def test_the_standard_field_tells_the_same(address, authority, element):
    # RFC 7239 4 and 6: what is no token is quoted, IPv6 in brackets.
    assert forwarded_line(authority, peer(address)) == (
        b"Forwarded: " + element + b"\r\n"
    )


def test_the_standard_field_goes_on_where_its_sender_is_trusted():
    said = b"Forwarded: for=6.6.6.6\r\nForwarded: for=7.7.7.7;by=x\r\n"
    ours = b"for=192.0.2.1;host=a;proto=https"
    for trusted, known in ((True, b"for=6.6.6.6, for=7.7.7.7;by=x, "), (False, b"")):
        headers = Headers(b"Host: a\r\n" + said)
        set_forwarding(headers, b"a", peer(tls=TLS), trusted=trusted, standard=True)
        assert headers.get_all(b"forwarded") == [known + ours]
        headers = Headers(b"Host: a\r\n" + said)
        set_forwarding(headers, b"a", peer(tls=TLS), trusted=trusted)
        assert len(headers.get_all(b"forwarded")) == (2 if trusted else 0)
