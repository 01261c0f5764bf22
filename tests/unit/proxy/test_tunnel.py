from __future__ import annotations

import pytest

from lbproto.machine.effects import Effect, HalfClose, Relay, Send
from lbproto.machine.events import Relayed
from lbproto.machine.timers import TimerTable
from lbproto.machine.values import ConnId
from lbproto.proxy.tunnel import Tunnel, may_switch

CLIENT, BACKEND = ConnId(1), ConnId(2)


def between(timers: TimerTable | None = None) -> Tunnel:
    """A tunnel that may be silent for a minute."""
    return Tunnel(CLIENT, BACKEND, timers or TimerTable(), 60.0)


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
    tunnel, out = between(), list[Effect]()
    tunnel.from_client(b"ping", 0.0, out)
    tunnel.from_backend(b"pong!", 0.0, out)
    assert out == [Send(BACKEND, b"ping"), Send(CLIENT, b"pong!")]
    assert (tunnel.received, tunnel.sent) == (4, 5)


@pytest.mark.parametrize(("first", "other"), [(CLIENT, BACKEND), (BACKEND, CLIENT)])
def test_an_end_is_passed_on_and_two_ends_are_the_end(
    first: ConnId, other: ConnId
) -> None:
    tunnel, out = between(), list[Effect]()
    assert not tunnel.eof(first, out)
    assert out == [HalfClose(other)]
    assert tunnel.eof(other, out)
    assert out == [HalfClose(other)]


def test_the_sides_are_counted_apart() -> None:
    tunnel, out = between(), list[Effect]()
    for size in (1, 10, 100):
        tunnel.from_client(b"c" * size, 0.0, out)
        tunnel.from_backend(b"b" * (2 * size), 0.0, out)
    assert (tunnel.received, tunnel.sent) == (111, 222)


@pytest.mark.parametrize(("first", "other"), [(CLIENT, BACKEND), (BACKEND, CLIENT)])
def test_after_one_end_the_other_side_may_go_on(first: ConnId, other: ConnId) -> None:
    tunnel, out = between(), list[Effect]()
    tunnel.eof(first, out)
    send = tunnel.from_client if other == CLIENT else tunnel.from_backend
    send(b"still here", 0.0, out)
    assert out == [HalfClose(other), Send(first, b"still here")]


def test_what_has_come_goes_first_and_the_rest_may_be_relayed() -> None:
    tunnel, out = between(), list[Effect]()
    tunnel.begin(b"early", b"behind", 0.0, out)
    assert out == [
        Send(CLIENT, b"behind"),
        Send(BACKEND, b"early"),
        Relay(CLIENT, BACKEND),
        Relay(BACKEND, CLIENT),
    ]
    assert (tunnel.received, tunnel.sent) == (5, 6)


def test_what_was_relayed_counts_and_breaks_the_silence_when_it_came() -> None:
    timers, out = TimerTable(), list[Effect]()
    tunnel = between(timers)
    tunnel.begin(b"", b"", 1.0, out)
    assert timers.next == 61.0
    tunnel.relayed(Relayed(CLIENT, 7, 30.0))
    assert timers.next == 90.0
    tunnel.relayed(Relayed(BACKEND, 8, 40.0))
    assert timers.next == 100.0
    tunnel.from_client(b"x", 50.0, out)
    assert timers.next == 110.0
    tunnel.from_backend(b"y", 60.0, out)
    assert timers.next == 120.0
    assert (tunnel.received, tunnel.sent) == (8, 9)


@pytest.mark.parametrize("first", [CLIENT, BACKEND])
def test_nothing_is_ordered_of_a_backend_that_is_gone(first: ConnId) -> None:
    tunnel, out = between(), list[Effect]()
    tunnel.stranded = True
    tunnel.begin(b"lost", b"", 0.0, out)
    assert not tunnel.eof(first, out)
    assert out == ([] if first == CLIENT else [HalfClose(CLIENT)])
    assert tunnel.received == 4
