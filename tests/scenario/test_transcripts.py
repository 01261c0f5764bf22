"""What crosses between core and runtime, one line an event or an effect."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lbproto.machine.effects import (
    Access,
    Adopt,
    Close,
    Connect,
    HalfClose,
    Park,
    Relay,
    Send,
    SetReading,
)
from lbproto.machine.errors import LocalProtocolError
from lbproto.machine.events import (
    Connected,
    ConnectError,
    ConnectFailed,
    Data,
    Drain,
    Eof,
    Lost,
    Opened,
    PeerInfo,
    Relayed,
    Wake,
    WriteBlocked,
    WriteUnblocked,
)
from lbproto.machine.values import ConnId
from lbproto.proxy.gateway import Gateway
from lbproto.testing.playbook import Playbook, a
from lbproto.testing.sim import FixedEnv
from tests.scenario.world import (
    GET,
    OK,
    ONE,
    POST,
    SWITCHED,
    TWO,
    WEBSOCKET,
    bare,
    config,
)

pytestmark = pytest.mark.usefixtures("every_framing")


PEER = PeerInfo("192.0.2.1", 40000, "127.0.0.1:6188")
CLIENT, UP, NEXT = ConnId(1), ConnId(2), ConnId(3)


def begin(settings: Any = None) -> Playbook:
    gateway = Gateway(settings or bare(), FixedEnv())
    machine = gateway.connection("web", gateway.mint())
    return Playbook(machine) >> Opened(CLIENT, PEER)


def sent(conn: ConnId, *parts: bytes) -> Any:
    return a(Send, conn=conn, data=lambda data: all(part in data for part in parts))


def connected(settings: Any = None, request: bytes = GET) -> Playbook:
    """The request is with the backend."""
    play = begin(settings)
    play >> Data(CLIENT, request)
    play << Connect(UP, ONE)
    play >> Connected(UP)
    play << a(Send, conn=UP)
    return play


def test_a_request_on_fresh_connections_takes_four_crossings() -> None:
    play = begin()
    play >> Data(CLIENT, GET)
    play << Connect(UP, ONE)
    play >> Connected(UP)
    play << sent(UP, b"GET / HTTP/1.1\r\n", b"X-Forwarded-For: 192.0.2.1\r\n")
    play >> Data(UP, OK)
    play << sent(CLIENT, b"HTTP/1.1 200 OK\r\n", b"\r\n\r\nOK")
    play << Park(UP)
    assert play


def test_a_second_request_takes_two_crossings() -> None:
    play = connected()
    play >> Data(UP, OK)
    play << a(Send, conn=CLIENT)
    play << Park(UP)
    play >> Data(CLIENT, GET)
    play << Adopt(UP)
    play << a(Send, conn=UP)
    play >> Data(UP, OK)
    play << a(Send, conn=CLIENT)
    play << Park(UP)
    assert play


def test_head_and_content_of_one_read_leave_in_one_piece() -> None:
    play = begin()
    play >> Data(CLIENT, POST)
    play << Connect(UP, ONE)
    play >> Connected(UP)
    play << sent(UP, b"POST / HTTP/1.1", b"\r\n\r\nhello")
    play >> Data(UP, OK)
    play << a(Send, conn=CLIENT)
    play << Park(UP)
    play >> Data(CLIENT, POST)
    play << Adopt(UP)
    play << sent(UP, b"POST / HTTP/1.1", b"\r\n\r\nhello")
    assert play


def test_a_stale_idle_connection_is_replaced_in_silence() -> None:
    play = connected()
    play >> Data(UP, OK)
    play << a(Send, conn=CLIENT)
    play << Park(UP)
    play >> Data(CLIENT, POST)
    play << Adopt(UP)
    play << a(Send, conn=UP)
    play >> ConnectFailed(UP, ConnectError.STALE, "closed while idle")
    play << Connect(NEXT, ONE)
    play >> Connected(NEXT)
    play << sent(NEXT, b"POST / HTTP/1.1", b"hello")
    assert play


@pytest.mark.parametrize("ending", [Lost(UP, "reset"), Eof(UP)])
def test_a_request_that_reached_a_dying_connection_is_repeated_once(
    ending: Lost | Eof,
) -> None:
    play = connected()
    play >> Data(UP, OK)
    play << a(Send, conn=CLIENT)
    play << Park(UP)
    play >> Data(CLIENT, GET)
    play << Adopt(UP)
    play << a(Send, conn=UP)
    play >> ending
    if isinstance(ending, Eof):
        play << Close(UP, abort=True)
    play << Connect(NEXT, ONE)
    play >> Connected(NEXT)
    play << a(Send, conn=NEXT)
    play >> Lost(NEXT, "reset")
    play << sent(CLIENT, b"HTTP/1.1 502 ")
    assert play


def test_a_post_that_may_have_been_read_is_not_repeated() -> None:
    play = connected()
    play >> Data(UP, OK)
    play << a(Send, conn=CLIENT)
    play << Park(UP)
    play >> Data(CLIENT, POST)
    play << Adopt(UP)
    play << a(Send, conn=UP)
    play >> Lost(UP, "reset")
    play << sent(CLIENT, b"HTTP/1.1 502 ")
    assert play


def test_the_next_backend_is_tried_when_a_dial_fails() -> None:
    play = begin(bare(backends=(ONE, TWO)))
    play >> Data(CLIENT, GET)
    play << Connect(UP, ONE)
    play >> ConnectFailed(UP, ConnectError.REFUSED, "connection refused")
    play << Connect(NEXT, TWO)
    play >> Connected(NEXT)
    play << a(Send, conn=NEXT)
    assert play


@pytest.mark.parametrize(
    ("why", "status"),
    [
        (ConnectError.REFUSED, b"502"),
        (ConnectError.TIMEOUT, b"504"),
        (ConnectError.UNREACHABLE, b"502"),
        (ConnectError.DNS, b"502"),
        (ConnectError.TLS, b"502"),
        (ConnectError.LOCAL, b"503"),
    ],
)
def test_what_cannot_be_reached_is_answered_and_the_client_kept(
    why: ConnectError, status: bytes
) -> None:
    play = begin()
    play >> Data(CLIENT, GET)
    play << Connect(UP, ONE)
    play >> ConnectFailed(UP, why, "no")
    play << a(Send, data=lambda data: data.startswith(b"HTTP/1.1 " + status))
    assert play
    assert not play.machine.closed  # type: ignore[attr-defined]


def test_our_own_shortage_is_not_tried_on_another_backend() -> None:
    play = begin(bare(backends=(ONE, TWO)))
    play >> Data(CLIENT, GET)
    play << Connect(UP, ONE)
    play >> ConnectFailed(UP, ConnectError.LOCAL, "too many open files")
    play << sent(CLIENT, b"HTTP/1.1 503 ", b"Retry-After: ")
    assert play


def test_a_dial_without_answer_is_given_up() -> None:
    play = begin(bare(backends=(ONE, TWO)))
    play >> Data(CLIENT, GET)
    play << Connect(UP, ONE)
    assert play.machine.deadline == 5.0
    play.at(5.0) >> Wake()
    play << Close(UP, abort=True)
    play << Connect(NEXT, TWO)
    play >> Connected(UP)  # was on its way
    play.at(10.0) >> Wake()
    play << Close(NEXT, abort=True)
    play << sent(CLIENT, b"HTTP/1.1 504 ")
    assert play


def test_a_slow_backend_pauses_the_client() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    play = connected(request=head)
    play >> Data(CLIENT, b"x" * 1000)
    play << Send(UP, b"x" * 1000)
    play >> WriteBlocked(UP)
    play << SetReading(CLIENT, False)
    play >> Data(CLIENT, b"late")  # one read may still come
    play << Send(UP, b"late")
    play >> WriteUnblocked(UP)
    play << SetReading(CLIENT, True)
    assert play


def test_a_slow_client_pauses_the_backend() -> None:
    play = connected()
    play >> Data(UP, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n12")
    play << a(Send, conn=CLIENT)
    play >> WriteBlocked(CLIENT)
    play << SetReading(UP, False)
    play >> WriteUnblocked(CLIENT)
    play << SetReading(UP, True)
    play >> WriteBlocked(CLIENT)
    play << SetReading(UP, False)
    play >> Data(UP, b"34")
    play << Send(CLIENT, b"34")
    play << SetReading(UP, True)
    play << Park(UP)
    assert play


def test_content_waits_for_a_connection_but_not_without_bound() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    play = begin()
    play >> Data(CLIENT, head + b"x" * 65536)
    play << Connect(UP, ONE)
    play << SetReading(CLIENT, False)
    play >> Data(CLIENT, b"y" * 65536)
    play >> Connected(UP)
    play << sent(UP, b"x" * 65536 + b"y" * 65536)
    play << SetReading(CLIENT, True)
    assert play


def test_a_client_that_leaves_cancels_its_request() -> None:
    play = connected()
    play >> Lost(CLIENT, "reset")
    play << Close(UP, abort=True)
    play >> Data(UP, OK)
    play >> Lost(CLIENT, "again")
    play >> Eof(CLIENT)
    play >> WriteBlocked(CLIENT)
    play >> Data(CLIENT, GET)
    play >> Drain(0.0, 1.0)
    assert play


def test_a_client_that_half_closed_gets_its_responses() -> None:
    play = begin()
    play >> Data(CLIENT, GET + GET)
    play << Connect(UP, ONE)
    play << SetReading(CLIENT, False)
    play >> Connected(UP)
    play << a(Send, conn=UP)
    play >> Eof(CLIENT)
    play >> Data(UP, OK)
    play << a(Send, conn=CLIENT, data=lambda data: b"Connection" not in data)
    play << Park(UP)
    play << Adopt(UP)
    play << a(Send, conn=UP)
    play << SetReading(CLIENT, True)
    play >> Data(UP, OK)
    play << sent(CLIENT, b"Connection: close\r\n")
    play << Park(UP)
    play << a(Close, conn=CLIENT, abort=False)
    assert play


def test_an_idle_client_that_half_closes_is_closed() -> None:
    play = begin()
    play >> Eof(CLIENT)
    play << a(Close, conn=CLIENT, abort=False)
    assert play


def test_a_refused_client_may_finish_speaking() -> None:
    play = begin()
    play >> Data(CLIENT, b"GET / HTTP/9.9\r\n")
    play << sent(CLIENT, b"HTTP/1.1 505 ", b"Connection: close\r\n")
    play << HalfClose(CLIENT)
    play >> Data(CLIENT, b"more")
    play >> WriteBlocked(CLIENT)
    play >> WriteUnblocked(CLIENT)
    play.at(2.0) >> Wake()
    play << a(Close, conn=CLIENT, abort=False)
    assert play


def test_a_refused_client_that_leaves_is_closed_at_once() -> None:
    play = begin()
    play >> Data(CLIENT, b"GET / HTTP/9.9\r\n")
    play << a(Send)
    play << HalfClose(CLIENT)
    play >> Eof(CLIENT)
    play << a(Close, conn=CLIENT)
    assert play


def test_a_websocket_becomes_a_tunnel_after_the_101_and_not_before() -> None:
    play = begin()
    play >> Data(CLIENT, WEBSOCKET + b"early")
    play << Connect(UP, ONE)
    play << SetReading(CLIENT, False)
    play >> Connected(UP)
    play << sent(UP, b"Connection: upgrade\r\n", b"Upgrade: websocket\r\n\r\n")
    play >> Data(UP, SWITCHED + b"hello")
    play << sent(CLIENT, b"HTTP/1.1 101 ", b"Upgrade: websocket\r\n")
    play << Send(CLIENT, b"hello")
    play << Send(UP, b"early")
    play << SetReading(CLIENT, True)
    play >> Data(CLIENT, b"ping")
    play << Send(UP, b"ping")
    play >> WriteBlocked(UP)
    play << SetReading(CLIENT, False)
    play >> WriteUnblocked(UP)
    play << SetReading(CLIENT, True)
    play >> Data(UP, b"pong")
    play << Send(CLIENT, b"pong")
    play >> Eof(UP)
    play << HalfClose(CLIENT)
    play >> Data(CLIENT, b"bye")
    play << Send(UP, b"bye")
    play >> Eof(CLIENT)
    play << a(Close, conn=UP, abort=False)
    play << a(Close, conn=CLIENT, abort=False)
    assert play


def test_a_tunnel_that_the_client_ends_first() -> None:
    play = connected(request=WEBSOCKET)
    play >> Data(UP, SWITCHED)
    play << a(Send, conn=CLIENT)
    play >> Eof(CLIENT)
    play << HalfClose(UP)
    play >> Eof(UP)
    play << a(Close, conn=UP, abort=False)
    play << a(Close, conn=CLIENT, abort=False)
    assert play


@pytest.mark.parametrize(("lost", "other"), [(UP, CLIENT), (CLIENT, UP)])
def test_a_tunnel_that_breaks_on_one_side_ends_on_the_other(
    lost: ConnId, other: ConnId
) -> None:
    play = connected(request=WEBSOCKET)
    play >> Data(UP, SWITCHED)
    play << a(Send, conn=CLIENT)
    play >> Lost(lost, "reset")
    play << a(Close, conn=other)
    assert play


def test_a_silent_tunnel_is_closed() -> None:
    play = connected(config(via=None, timeouts={"tunnel": 100.0}), WEBSOCKET)
    play.at(1.0) >> Data(UP, SWITCHED)
    play << a(Send, conn=CLIENT)
    play.at(50.0) >> Data(CLIENT, b"ping")
    play << Send(UP, b"ping")
    play.at(150.0) >> Wake()
    play << a(Close, conn=UP)
    play << a(Close, conn=CLIENT)
    assert play


def test_a_runtime_may_pass_on_by_itself_what_comes_through_a_tunnel() -> None:
    play = connected(config(via=None, timeouts={"tunnel": 100.0}), WEBSOCKET)
    play.ignore.remove(Relay)
    play.ignore.remove(Access)
    play.at(1.0) >> Data(UP, SWITCHED)
    play << a(Send, conn=CLIENT)
    play << Relay(CLIENT, UP)
    play << Relay(UP, CLIENT)
    play.at(50.0) >> Relayed(CLIENT, 30, 49.0)
    assert play.machine.deadline == 149.0
    play.at(149.0) >> Relayed(UP, 40, 148.0)
    play >> Wake()
    play.at(248.0) >> Relayed(UP, 2, 148.0)
    play >> Wake()
    play << a(Close, conn=UP)
    play << a(Access, record=lambda record: (record.received, record.sent) == (30, 42))
    play << a(Close, conn=CLIENT)
    play >> Relayed(CLIENT, 1, 248.0)
    assert play


def test_an_upgrade_with_content_is_refused() -> None:
    request = WEBSOCKET.replace(b"GET", b"POST")
    request = request.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\nhi")
    play = begin()
    play >> Data(CLIENT, request)
    play << sent(CLIENT, b"HTTP/1.1 400 ")
    play << HalfClose(CLIENT)
    assert play


def test_a_request_refused_at_its_head_has_the_rest_ignored() -> None:
    play = begin(config(via=b"lb", backends=(ONE,)))
    play >> Data(CLIENT, b"GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 lb\r\n\r\n" + GET)
    play << sent(CLIENT, b"HTTP/1.1 502 ", b"proxy_loop_detected")
    play << Connect(UP, ONE)
    assert play


def test_an_underscore_is_refused_where_the_service_says_so() -> None:
    play = begin(bare(underscores="reject"))
    play >> Data(CLIENT, b"GET / HTTP/1.1\r\nHost: a\r\nX_Y: 1\r\n\r\n")
    play << sent(CLIENT, b"HTTP/1.1 400 ")
    play << a(Close, conn=CLIENT)
    assert play


def test_a_service_without_backends_says_so() -> None:
    play = begin(bare(backends=()))
    play >> Data(CLIENT, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    play << a(
        Send,
        data=lambda data: (
            data.startswith(b"HTTP/1.1 503 ") and data.endswith(b"\r\n\r\n")
        ),
    )
    play >> Data(CLIENT, GET)
    play << sent(CLIENT, b"HTTP/1.1 503 ", b"\r\n\r\n503 Service Unavailable\n")
    assert play


def test_an_event_for_a_connection_never_heard_of_is_the_runtimes_bug() -> None:
    play = begin()
    assert play
    with pytest.raises(LocalProtocolError, match="not ours"):
        play.machine.handle(Data(ConnId(99), b"x"), 0.0)


def test_late_events_of_a_parked_connection_are_ignored() -> None:
    play = connected()
    play >> Data(UP, OK)
    play << a(Send, conn=CLIENT)
    play << Park(UP)
    for event in (
        Data(UP, b"x"),
        Eof(UP),
        Lost(UP, ""),
        WriteBlocked(UP),
        Connected(UP),
        ConnectFailed(UP, ConnectError.REFUSED, ""),
    ):
        play >> event
    assert play


def test_a_full_pool_closes_the_connection_that_waited_longest() -> None:
    gateway = Gateway(bare(pool=1), FixedEnv())
    one = Playbook(gateway.connection("web", gateway.mint()))
    two = Playbook(gateway.connection("web", gateway.mint()))
    first, second, up, other = (ConnId(n) for n in (1, 2, 3, 4))
    for play, client, conn in ((one, first, up), (two, second, other)):
        play >> Opened(client, PEER) >> Data(client, GET)
        play << Connect(conn, ONE)
        play >> Connected(conn)
        play << a(Send, conn=conn)
    one >> Data(up, OK)
    one << a(Send, conn=first) << Park(up)
    two >> Data(other, OK)
    two << a(Send, conn=second) << Park(other)
    assert one
    assert two
    assert gateway.housekeeping.deadline == -math.inf
    keeper = Playbook(gateway.housekeeping)
    keeper >> Wake()
    keeper << Close(up)
    assert keeper


def test_without_a_pool_connections_are_closed() -> None:
    play = connected(bare(pool=0))
    play >> Data(UP, OK)
    play << a(Send, conn=CLIENT)
    play << Close(UP)
    assert play
