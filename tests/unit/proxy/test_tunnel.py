from __future__ import annotations

import pytest

from lbproto.machine.effects import Effect, HalfClose, Send
from lbproto.machine.values import ConnId
from lbproto.proxy.tunnel import Tunnel, may_switch

CLIENT, BACKEND = ConnId(1), ConnId(2)


@pytest.mark.parametrize(
    ("offered", "chosen", "allowed"),
    [
        (b"websocket", b"websocket", True),
        (b"websocket", b"WebSocket", True),
        (b"foo, websocket", b"websocket", True),
        (b"websocket", b"foo", False),
        (b"websocket", b"websocket, foo", False),
        (b"websocket", b"", False),
        (b"", b"websocket", False),
        (b"", b"", False),
        (b"foo/1", b"foo/1", True),
        (b"foo/1", b"FOO/1", True),
        (b"foo/1", b"foo", False),
        (b"foo/1", b"foo/2", False),
        (b"foo, bar", b"bar, foo", True),
        (b"foo,bar", b"bar", True),
        (b"foo \t,\tbar", b"bar", True),
        (b"web socket", b"web", False),
        (b"websockets", b"websocket", False),
        # An empty member of a list is none (RFC 9110 5.6.1).
        (b"websocket,", b"websocket", True),
        (b"websocket,", b"", False),
        (b",", b"", False),
        (b",", b",", False),
    ],
)
def test_only_what_was_offered_may_be_switched_to(
    offered: bytes, chosen: bytes, allowed: bool
) -> None:
    assert may_switch(offered, chosen) is allowed


def test_bytes_cross_and_are_counted() -> None:
    tunnel, out = Tunnel(CLIENT, BACKEND), list[Effect]()
    tunnel.from_client(b"ping", out)
    tunnel.from_backend(b"pong!", out)
    assert out == [Send(BACKEND, b"ping"), Send(CLIENT, b"pong!")]
    assert (tunnel.received, tunnel.sent) == (4, 5)


@pytest.mark.parametrize(("first", "other"), [(CLIENT, BACKEND), (BACKEND, CLIENT)])
def test_an_end_is_passed_on_and_two_ends_are_the_end(
    first: ConnId, other: ConnId
) -> None:
    tunnel, out = Tunnel(CLIENT, BACKEND), list[Effect]()
    assert not tunnel.eof(first, out)
    assert out == [HalfClose(other)]
    assert tunnel.eof(other, out)
    assert out == [HalfClose(other)]


def test_the_sides_are_counted_apart() -> None:
    tunnel, out = Tunnel(CLIENT, BACKEND), list[Effect]()
    for size in (1, 10, 100):
        tunnel.from_client(b"c" * size, out)
        tunnel.from_backend(b"b" * (2 * size), out)
    assert (tunnel.received, tunnel.sent) == (111, 222)


@pytest.mark.parametrize(("first", "other"), [(CLIENT, BACKEND), (BACKEND, CLIENT)])
def test_after_one_end_the_other_side_may_go_on(first: ConnId, other: ConnId) -> None:
    tunnel, out = Tunnel(CLIENT, BACKEND), list[Effect]()
    tunnel.eof(first, out)
    send = tunnel.from_client if other == CLIENT else tunnel.from_backend
    send(b"still here", out)
    assert out == [HalfClose(other), Send(first, b"still here")]
