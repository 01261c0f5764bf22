"""Each type of frame: its JSON, and what is refused in its place."""

from __future__ import annotations

import pytest

from lbproto.handover.keys import listener_key
from lbproto.handover.messages import (
    KINDS,
    MAX_FDS,
    Abort,
    Commit,
    Done,
    Fds,
    Hello,
    Idle,
    IdlePeer,
    Malformed,
    Message,
    Offer,
    Ready,
    Take,
    body,
    descriptors,
    parse,
)
from lbproto.machine.events import PeerInfo

WEB = listener_key("tcp:0.0.0.0:6188")
SOCK = listener_key("unix:/run/lb.sock")
KEYS = b'"keys":["tcp:0.0.0.0:6188","unix:/run/lb.sock"]'
FOUR = IdlePeer(WEB, PeerInfo("192.0.2.1", 4711, ""), proxied=False)
SIX = IdlePeer(SOCK, PeerInfo("2001:db8::1", 1, "192.0.2.7:443"), proxied=True)
LOCAL = IdlePeer(SOCK, PeerInfo("unix:", 0, ""), proxied=False)


@pytest.mark.parametrize(
    ("message", "kind", "written"),
    [
        (Hello(1, 200, 0), b"H", b'{"version":1,"pid":200,"generation":0}'),
        (
            Offer(100, 4, (WEB, SOCK), 3),
            b"O",
            b'{"pid":100,"generation":4,' + KEYS + b',"connections":3}',
        ),
        (
            Take((WEB, SOCK), connections=True),
            b"T",
            b"{" + KEYS + b',"connections":true}',
        ),
        (Take((), connections=False), b"T", b'{"keys":[],"connections":false}'),
        (Fds((WEB, SOCK)), b"F", b"{" + KEYS + b"}"),
        (Ready((WEB, SOCK)), b"R", b"{" + KEYS + b"}"),
        (Commit(), b"C", b"{}"),
        (
            Idle((FOUR, SIX, LOCAL)),
            b"I",
            b'{"peers":[{"key":"tcp:0.0.0.0:6188","peer":"192.0.2.1:4711",'
            b'"proxied":false},{"key":"unix:/run/lb.sock","peer":"[2001:db8::1]:1",'
            b'"proxied":true,"local":"192.0.2.7:443"},{"key":"unix:/run/lb.sock",'
            b'"peer":"unix:","proxied":false}]}',
        ),
        (Done(2), b"D", b'{"in_flight":2}'),
        (Abort("busy"), b"A", b'{"reason":"busy"}'),
        (
            Fds((listener_key('unix:/ü/"'),)),
            b"F",
            '{"keys":["unix:/ü/\\""]}'.encode(),
        ),
    ],
)
def test_what_is_written_is_read(message: Message, kind: bytes, written: bytes) -> None:
    assert KINDS[type(message)] == kind
    assert body(message) == written
    assert parse(kind, written) == message


def test_who_carries_descriptors() -> None:
    assert descriptors(Fds((WEB, SOCK))) == 2
    assert descriptors(Idle((FOUR,))) == 1
    assert descriptors(Ready((WEB,))) == 0


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (b"C", b'{"later":[1.5,null,{"a":{}}],"x":"y"}'),
        (b"D", b' { "in_flight" : 0 , "\\u0061" : "\\ud800" } '),
        (b"T", b'{"connections":false,"more":1e999,"keys":[]}'),
        (b"I", b'{"peers":[{"key":"unix:/a","peer":"unix:","proxied":null,"n":1}]}'),
    ],
)
def test_names_nobody_knows_are_passed_over(kind: bytes, data: bytes) -> None:
    assert KINDS[type(parse(kind, data))] == kind


def test_another_version_may_say_anything_else() -> None:
    assert parse(b"H", b'{"version":2,"pid":"x"}') == Hello(2, 0, 0)


@pytest.mark.parametrize(
    ("kind", "data", "wrong"),
    [
        (b"C", b"", "no JSON"),
        (b"C", b"{", "no JSON"),
        (b"C", b"{}{}", "no JSON"),
        (b"C", b'{"a":NaN}', "NaN"),
        (b"C", b'{"a":-Infinity}', "Infinity"),
        (b"C", b'{"\xff":1}', "no JSON"),
        (b"C", b"\xef\xbb\xbf{}", "no JSON"),
        (b"C", b'{"a":' + b"9" * 5000 + b"}", "no JSON"),
        (b"C", b"[" * 60_000, "no JSON"),
        (b"C", b'{"a":' * 12_000, "no JSON"),
        (b"C", b"[]", "object"),
        (b"C", b"null", "object"),
        (b"C", b'{"a":1,"a":1}', "twice"),
        (b"C", b'{"a":{"b":1,"\\u0062":1}}', "twice"),
        (b"H", b"{}", "version"),
        (b"H", b'{"version":"1","pid":1,"generation":1}', "version"),
        (b"H", b'{"version":1.0,"pid":1,"generation":1}', "version"),
        (b"H", b'{"version":true,"pid":1,"generation":1}', "version"),
        (b"H", b'{"version":1,"pid":-1,"generation":1}', "pid"),
        (b"H", b'{"version":1,"pid":1,"generation":9223372036854775808}', "generation"),
        (b"O", b'{"pid":1,"generation":1,"keys":[]}', "connections"),
        (b"O", b'{"pid":1,"keys":[],"connections":0}', "generation"),
        (b"T", b'{"keys":{},"connections":true}', "keys is no list"),
        (b"T", b'{"keys":[1],"connections":true}', "form"),
        (b"T", b'{"keys":["tcp:a"],"connections":true}', "form"),
        (b"T", b'{"keys":[],"connections":1}', "neither"),
        (b"T", b'{"keys":[]}', "neither"),
        (b"F", b'{"keys":["unix:/a","unix:/a"]}', "twice"),
        (b"F", b'{"keys":"unix:/a"}', "keys is no list"),
        (b"R", b'{"keys":["unix:/\\ud800"]}', "form"),
        (b"D", b'{"in_flight":null}', "in_flight"),
        (b"A", b'{"reason":1}', "reason"),
        (b"A", b"{}", "reason"),
        (b"I", b'{"peers":null}', "peers"),
        (b"I", b'{"peers":[1]}', "a peer is no object"),
        (b"I", b'{"peers":[{"key":"unix:/a","peer":1,"proxied":false}]}', "peer"),
        (b"I", b'{"peers":[{"peer":"unix:","proxied":false}]}', "key"),
        (b"I", b'{"peers":[{"key":"unix:/a","peer":"unix:","proxied":1}]}', "proxied"),
    ],
)
def test_what_is_not_of_its_type_is_refused(
    kind: bytes, data: bytes, wrong: str
) -> None:
    with pytest.raises(Malformed, match=wrong):
        parse(kind, data)


@pytest.mark.parametrize(
    "peer",
    [
        "",
        "192.0.2.1",
        "192.0.2.1:",
        "192.0.2.1:65536",
        "192.0.2.01:80",
        "192.0.2.256:80",
        "[192.0.2.1:80",
        "[:::]:80",
        "2001:db8::1:80",
        "example.org:80",
        "unix:/run/a",
        "192.0.2.1:80\\n",
    ],
)
def test_a_peer_is_an_address(peer: str) -> None:
    data = b'{"peers":[{"key":"unix:/a","peer":"%b","proxied":false}]}'
    with pytest.raises(Malformed, match="a peer is no address"):
        parse(b"I", data % peer.encode())


@pytest.mark.parametrize("local", ['"a"', "1", '""', '"unix:"', '"tcp:a:1"'])
def test_what_a_proxied_peer_connected_to_is_an_address(local: str) -> None:
    entry = b'{"key":"unix:/a","peer":"unix:","proxied":true,"local":%b}'
    with pytest.raises(Malformed, match="local"):
        parse(b"I", b'{"peers":[%b]}' % (entry % local.encode()))


def test_a_peer_of_a_link_has_a_zone() -> None:
    peer = IdlePeer(WEB, PeerInfo("fe80::1%eth0", 80, ""), proxied=False)
    message = Idle((peer,))
    assert b'"[fe80::1%eth0]:80"' in body(message)
    assert parse(b"I", body(message)) == message


@pytest.mark.parametrize("local", ["unix:/run/a", "[2001:db8::2]:443"])
def test_a_proxied_peer_keeps_what_it_connected_to(local: str) -> None:
    message = Idle((IdlePeer(WEB, PeerInfo("192.0.2.1", 1, local), proxied=True),))
    assert parse(b"I", body(message)) == message


def test_what_a_proxied_peer_connected_to_may_be_unknown() -> None:
    peer = IdlePeer(WEB, PeerInfo("192.0.2.1", 1, "nowhere"), proxied=True)
    (found,) = parse(b"I", body(Idle((peer,)))).peers  # type: ignore[union-attr]
    assert found == IdlePeer(WEB, PeerInfo("192.0.2.1", 1, ""), proxied=True)


def test_a_frame_has_no_more_descriptors_than_the_kernel_lets_pass() -> None:
    keys = b",".join(b'"unix:/%d"' % number for number in range(MAX_FDS + 1))
    with pytest.raises(Malformed, match="more than 200"):
        parse(b"F", b'{"keys":[%b]}' % keys)
    peer = b'{"key":"unix:/a","peer":"unix:","proxied":false}'
    with pytest.raises(Malformed, match="more than 200"):
        parse(b"I", b'{"peers":[%b]}' % b",".join([peer] * (MAX_FDS + 1)))


def test_a_reason_is_a_line_for_a_log() -> None:
    assert parse(b"A", b'{"reason":"a\\nb\\u001b[1m\\ud800"}') == Abort("a?b?[1m?")
    assert parse(b"A", b'{"reason":""}') == Abort("no reason given")
    assert body(Abort("\r" + "x" * 999)) == b'{"reason":"?%b"}' % (b"x" * 199)
