"""The trust rule, and the client that it finds."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from lbproto.config import Service
from lbproto.framing.headers import Headers
from lbproto.machine.events import PeerInfo, TlsInfo
from lbproto.rewriting.trust import (
    MOST_LINKS,
    MOST_OCTETS,
    client_of,
    is_trusted,
    links,
)

PROXIES = "10.0.0.0/8", "2001:db8:1::/48"
"""Who is trusted where a test does not say it."""


def service(*networks: str, trust_unix: bool = False) -> Service:
    return Service(
        name="web",
        upstream="web",
        trusted_proxies=tuple(ip_network(network) for network in networks),
        trust_unix=trust_unix,
    )


def peer(address: str = "10.0.0.1") -> PeerInfo:
    return PeerInfo(address=address, port=4711, local="127.0.0.1:80")


def said(*values: bytes) -> Headers:
    return Headers.from_pairs((b"X-Forwarded-For", value) for value in values)


def read(value: bytes) -> list[bytes]:
    return [link.text for link in links(said(value))]


def client(*values: bytes) -> str:
    return client_of(said(*values), peer(), service(*PROXIES)).address


@pytest.mark.parametrize(
    ("address", "networks", "trusted"),
    [
        ("192.0.2.1", [], False),
        ("192.0.2.1", ["192.0.2.0/24"], True),
        ("192.0.2.1", ["10.0.0.0/8", "192.0.2.1/32"], True),
        ("192.0.2.1", ["10.0.0.0/8"], False),
        ("192.0.2.1", ["2001:db8::/32"], False),
        ("2001:db8::1", ["2001:db8::/32"], True),
        ("2001:db9::1", ["2001:db8::/32", "192.0.2.0/24"], False),
        ("::ffff:192.0.2.1", ["192.0.2.0/24"], True),
        ("::ffff:192.0.2.1", ["::ffff:0:0/96"], True),
        ("::ffff:192.0.2.1", ["10.0.0.0/8"], False),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("not an address", ["0.0.0.0/0"], False),
    ],
)
def test_a_peer_is_trusted_by_its_network(address, networks, trusted):
    assert is_trusted(peer(address), service(*networks)) is trusted


@pytest.mark.parametrize("trusted", [True, False])
def test_a_local_peer_is_trusted_by_the_switch_alone(trusted):
    assert is_trusted(peer("unix:"), service("::/0", trust_unix=trusted)) is trusted


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ([b"192.0.2.7"], "192.0.2.7"),
        ([b"6.6.6.6, 192.0.2.7"], "192.0.2.7"),
        ([b"6.6.6.6, 192.0.2.7,10.1.1.1\t, 10.1.1.2"], "192.0.2.7"),
        ([b"6.6.6.6", b"192.0.2.7", b"10.1.1.1"], "192.0.2.7"),
        ([b"192.0.2.7, 2001:db8:1::5"], "192.0.2.7"),
        # Everybody is trusted: the last one that is left.
        ([b"10.1.1.1, 10.1.1.2"], "10.1.1.1"),
        # Empty members are none.
        ([b"192.0.2.7,, , 10.1.1.1,", b""], "192.0.2.7"),
        ([b""], "10.0.0.1"),
        ([b" , ,"], "10.0.0.1"),
        # What is no address ends the walk where it had come.
        ([b"192.0.2.7, unknown"], "10.0.0.1"),
        ([b"192.0.2.7, unknown, 10.1.1.1"], "10.1.1.1"),
        ([b"192.0.2.7, unix:, 10.1.1.1"], "10.1.1.1"),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_not_trusted(values, address):
    assert client(*values) == address


@pytest.mark.parametrize(
    ("member", "address", "port"),
    [
        (b"192.0.2.7", "192.0.2.7", 0),
        (b"192.0.2.7:567", "192.0.2.7", 567),
        (b"192.0.2.7:65535", "192.0.2.7", 65535),
        (b"2001:db8::7", "2001:db8::7", 0),
        (b"2001:DB8:0:0::7", "2001:db8::7", 0),
        (b"[2001:db8::7]", "2001:db8::7", 0),
        (b"[2001:db8::7]:567", "2001:db8::7", 567),
        (b"::", "::", 0),
        (b"::ffff:192.0.2.7", "192.0.2.7", 0),
        (b"[::ffff:c000:207]:1", "192.0.2.7", 1),
    ],
)
def test_an_address_is_read_as_proxies_write_it(member, address, port):
    found = client_of(said(member), peer(), service(*PROXIES))
    assert found == replace(peer(), address=address, port=port)
    assert read(member) == [member]


@pytest.mark.parametrize(
    "member",
    [
        b"unknown",
        b"_hidden",
        b"unix:",
        b"localhost",
        b"1.2.3",
        b"1.2.3.4.5",
        b"1.2.3.256",
        b"01.2.3.4",
        b"1.2.3.4:",
        b"1.2.3.4:65536",
        b"1.2.3.4:123456",
        b"1.2.3.4:+1",
        b"1.2.3.4 5",
        b"[1.2.3.4]",
        b"[2001:db8::7",
        b"2001:db8::7]",
        b"[2001:db8::7]567",
        b"[2001:db8::7]:x",
        b"2001:db8::7::1",
        b"12345::1",
        b"fe80::1%eth0",
        b"[fe80::1%25eth0]",
        b'"1.2.3.4"',
        b"for=1.2.3.4",
        b"16909060",
        b"1.2.3.4\xa0",
        b"1" * 100,
    ],
)
def test_anything_else_is_no_address(member):
    assert read(b"192.0.2.7, " + member) == []
    assert read(b"192.0.2.7, " + member + b", 10.1.1.1") == [b"10.1.1.1"]


def test_a_mapped_proxy_is_one_of_its_network():
    headers = said(b"192.0.2.7, ::ffff:10.1.1.1")
    for networks in (PROXIES, ("10.0.0.1", "::ffff:0:0/96")):
        assert client_of(headers, peer(), service(*networks)).address == "192.0.2.7"
    assert client_of(headers, peer(), service("10.0.0.1")).address == "10.1.1.1"


def test_who_is_not_trusted_speaks_for_nobody():
    stranger = peer("198.51.100.1")
    assert client_of(said(b"192.0.2.7"), stranger, service(*PROXIES)) is stranger


def test_who_says_nothing_speaks_for_itself():
    proxy = peer()
    assert client_of(Headers(b"Host: a\r\n"), proxy, service(*PROXIES)) is proxy
    assert client_of(said(b"unknown"), proxy, service(*PROXIES)) is proxy


def test_a_local_proxy_is_believed_where_the_switch_says_so():
    local = peer("unix:")
    trusting = service(trust_unix=True)
    assert client_of(said(b"6.6.6.6, 10.1.1.1"), local, trusting).address == "10.1.1.1"
    assert client_of(said(b"6.6.6.6, 10.1.1.1"), local, service()) is local


def test_what_is_known_of_the_connection_stays():
    tls = TlsInfo(alpn="", sni="a", version="TLSv1.3", peer_cert="CN=proxy")
    proxy = replace(peer(), tls=tls)
    found = client_of(said(b"192.0.2.7"), proxy, service(*PROXIES))
    assert (found.tls, found.local) == (tls, proxy.local)


@pytest.mark.parametrize("count", [MOST_LINKS - 1, MOST_LINKS, MOST_LINKS + 1, 1000])
def test_so_many_members_are_read_and_no_more(count):
    members = [b"10.1.%d.%d" % divmod(at, 256) for at in range(count)]
    seen = members[-MOST_LINKS:]
    assert client(b", ".join(members)) == seen[0].decode()
    assert client(*members) == seen[0].decode()
    assert read(b", ".join(members)) == seen


def test_members_over_the_limit_are_not_read_even_if_they_are_none():
    members = [b"junk"] + [b"10.1.1.%d" % at for at in range(MOST_LINKS)]
    assert read(b",".join(members)) == members[1:]


@pytest.mark.parametrize(
    ("room", "seen"), [(-1, [b"10.2.2.2"]), (0, [b"110.1.1.1", b"10.2.2.2"])]
)
def test_a_member_is_read_whole_or_not_at_all(room, seen):
    # Without its first octet the second one would be a proxy of ours.
    near = b"110.1.1.1,10.2.2.2"
    spaces = b" " * (MOST_OCTETS - len(near) - room)
    for far in (b"", b"6.6.6.6", b"6.6.6.6,7.7.7.7"):
        text = far + b"," + near.replace(b",", b"," + spaces)
        assert read(text) == seen
    assert read(b"110.1.1.1," + b"," * MOST_OCTETS) == []
    assert read(b"1" * MOST_OCTETS * 2) == []


def test_a_list_that_just_fits_is_read_to_its_end():
    near = b"6.6.6.6,10.2.2.2"
    spaces = b" " * (MOST_OCTETS - len(near))
    assert read(near.replace(b",", b"," + spaces)) == [b"6.6.6.6", b"10.2.2.2"]
