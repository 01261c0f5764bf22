"""Tunnels: when one may begin, how it flows, and each way in which it ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from lbproto.machine.effects import HalfClose
from lbproto.testing.sim import Endpoint, Sim, SimBackend
from tests.scenario.world import (
    GET,
    OK,
    SWITCHED,
    WEBSOCKET,
    answers,
    bare,
    errors,
    status,
)

pytestmark = pytest.mark.usefixtures("every_framing", "whoever_passes_it_on")


KIB = 1024
BOUND = 256 * KIB
"""What may wait for one reader that has stopped, whatever the other side sends."""

END = b"\r\n\r\n"
SIDES = pytest.mark.parametrize("first", ["client", "backend"])


world = Sim
"""One whose runtime passes nothing on by itself, or one that does."""


@pytest.fixture(params=[False, True], ids=["by the core", "by the runtime"])
def whoever_passes_it_on(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have a tunnel's bytes pass through the core, and then beside it."""
    global world
    world, before = partial(Sim, relays=request.param), world
    yield
    world = before


@dataclass(frozen=True)
class Talk:
    """A client and the server at the other end."""

    sim: Sim
    server: SimBackend
    client: Endpoint

    @property
    def backend(self) -> Endpoint:
        """The first connection to the server."""
        return self.server.connections[0]

    @property
    def offered(self) -> bool:
        """The server was told of an upgrade."""
        return b"upgrade" in self.server.received.lower()

    def sides(self, first: str) -> tuple[Endpoint, Endpoint]:
        """Both ends, the named one first."""
        if first == "client":
            return self.client, self.backend
        return self.backend, self.client

    @property
    def closed(self) -> tuple[bool, bool]:
        return self.client.closed, self.backend.closed


def asked(request: bytes = WEBSOCKET, **settings: Any) -> Talk:
    """A client has asked, and the backend knows."""
    sim = world(bare(**settings))
    talk = Talk(sim, sim.backend("10.0.0.1:80"), sim.client())
    talk.client.send(request)
    return talk


def tunnel(**settings: Any) -> Talk:
    """A tunnel through which nothing has passed yet."""
    talk = asked(**settings)
    talk.backend.send(SWITCHED)
    assert status(talk.client) == 101
    talk.client.received = talk.backend.received = b""
    return talk


def offering(protocols: bytes) -> bytes:
    return WEBSOCKET.replace(b"websocket", protocols)


# -- before the 101 ----------------------------------------------------------------


def test_the_fields_of_a_handshake_pass_as_they_are() -> None:
    key = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA==\r\n"
    accept = b"Sec-WebSocket-Accept: x=\r\nSec-WebSocket-Extensions: a; b=1\r\n"
    talk = asked(WEBSOCKET[:-2] + key + b"\r\n")
    assert key in talk.backend.received
    talk.backend.send(SWITCHED[:-2] + accept + b"\r\n")
    assert accept in talk.client.received


@pytest.mark.parametrize("size", [1, 1000], ids=["bytewise", "whole"])
def test_what_came_early_arrives_once_and_in_order(size: int) -> None:
    offer, agreed = WEBSOCKET + b"from client", SWITCHED + b"from backend"
    talk = asked(b"")
    talk.client.send(
        offer, [offer[at : at + size] for at in range(0, len(offer), size)]
    )
    assert b"from client" not in talk.backend.received
    talk.backend.send(
        agreed, [agreed[at : at + size] for at in range(0, len(agreed), size)]
    )
    assert talk.client.received.partition(END)[2] == b"from backend"
    assert talk.backend.received.partition(END)[2] == b"from client"


def test_a_flood_behind_the_offer_waits_in_the_client() -> None:
    size = 2048 * KIB
    talk = asked()
    talk.client.send(b"x" * size)
    assert len(talk.client.inbox) > 16
    talk.backend.received = b""
    talk.backend.send(SWITCHED)
    assert talk.backend.received == b"x" * size


def test_two_tunnels_are_counted_apart() -> None:
    one = tunnel()
    other = one.sim.client()
    other.send(WEBSOCKET)
    backend = one.server.connections[1]
    backend.send(SWITCHED)
    one.client.send(b"to one")
    other.send(b"to the other")
    backend.half_close()
    other.half_close()
    one.backend.half_close()
    one.client.half_close()
    assert [record.received for record in one.sim.access] == [12, 6]


def test_who_has_gone_gets_nothing_more() -> None:
    talk = tunnel()
    talk.backend.close()
    talk.client.send(b"too late")
    assert talk.backend.received == b""
    assert talk.client.eof


def test_interim_responses_may_come_before_a_101() -> None:
    talk = asked()
    talk.backend.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    assert status(talk.client) == 103
    talk.backend.send(SWITCHED + b"hi")
    assert b"HTTP/1.1 101 " in talk.client.received
    assert talk.client.received.endswith(END + b"hi")


@pytest.mark.parametrize(
    "field",
    [b"Content-Length: 2", b"Transfer-Encoding: chunked", b"Keep-Alive: timeout=1"],
)
def test_a_101_has_no_framing_whatever_it_says(field: bytes) -> None:
    talk = asked()
    talk.backend.send(SWITCHED[:-2] + field + b"\r\n\r\nabcdef")
    head, _, rest = talk.client.received.partition(END)
    assert rest == b"abcdef"
    assert head.split(b"\r\n")[1:] == [b"Connection: upgrade", b"Upgrade: websocket"]


@pytest.mark.parametrize(
    "offer",
    [b"h2c", b"H2C", b"h2c/2", b"websocket, h2c", b"h2c\r\nUpgrade: websocket"],
)
def test_h2c_is_never_offered(offer: bytes) -> None:
    talk = asked(offering(offer), upgrades=(b"*",))
    assert not talk.offered
    talk.backend.send(OK)
    assert status(talk.client) == 200
    assert not talk.client.closed


@pytest.mark.parametrize("offer", [b"", b",", b" , "])
def test_an_offer_that_names_nothing_is_none(offer: bytes) -> None:
    talk = asked(offering(offer))
    assert not talk.offered
    talk.backend.send(OK)
    assert status(talk.client) == 200


@pytest.mark.parametrize(
    ("offer", "agreed"),
    [
        (b"websocket", b"foo"),
        (b"websocket", b"websocket, foo"),
        (b"websocket", b""),
        (b"websocket,", b""),
        (b"foo, websocket", b"foo, bar"),
        (b"foo/1", b"foo/2"),
        (b"foo", b"h2c"),
    ],
)
def test_a_101_for_what_was_not_offered_is_a_502(offer: bytes, agreed: bytes) -> None:
    talk = asked(offering(offer) + GET, upgrades=(b"*",))
    first = talk.backend
    first.send(SWITCHED.replace(b"websocket", agreed) + b"raw")
    assert status(talk.client) == 502
    assert first.reset
    assert errors(talk.sim) == ["upgrade_failed"]
    # What came behind the offer is a request, for a connection of its own.
    answers(talk.server.connections[1], b"")
    assert b"raw" not in talk.client.received
    assert [record.status for record in talk.sim.access] == [502, 200]
    assert not talk.client.closed


@pytest.mark.parametrize(
    ("asking", "agreed"),
    [
        (GET, SWITCHED),
        (GET, b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        (WEBSOCKET, b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    ],
)
def test_a_101_without_an_offer_or_without_a_name_is_a_502(
    asking: bytes, agreed: bytes
) -> None:
    talk = asked(asking)
    talk.backend.send(agreed + b"raw")
    assert status(talk.client) == 502
    assert b"raw" not in talk.client.received
    assert talk.backend.reset
    assert errors(talk.sim) == ["upgrade_failed"]
    assert not talk.client.closed


def test_an_offer_of_http_1_0_is_none() -> None:
    talk = asked(WEBSOCKET.replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert not talk.offered
    talk.backend.send(SWITCHED)
    assert status(talk.client) == 502
    assert talk.client.closed


def test_after_a_declined_offer_nothing_passes_raw() -> None:
    talk = asked(WEBSOCKET + GET)
    talk.backend.send(OK)
    # The second request was read and rewritten like any other.
    assert talk.backend.received.count(b"X-Forwarded-For: ") == 2
    talk.backend.send(OK)
    talk.client.send(b"\x81\x85 this is a frame\r\n\r\n")
    assert b"this is a frame" not in talk.server.received
    assert b"HTTP/1.1 400 " in talk.client.received


# -- flow --------------------------------------------------------------------------


def test_a_client_that_stops_reading_holds_the_backend_and_not_our_memory() -> None:
    size = 2048 * KIB
    talk = tunnel()
    client, backend = talk.client, talk.backend
    client.pause()
    backend.send(b"d" * size)
    assert client.waiting < BOUND
    client.send(b"up")  # the other direction goes on
    assert backend.received == b"up"
    while len(client.received) < size:
        before = len(client.received)
        client.resume(limit=100 * KIB)
        assert len(client.received) > before
        assert client.waiting < BOUND
    assert client.received == b"d" * size


def test_a_backend_that_stops_reading_holds_the_client_and_not_our_memory() -> None:
    size = 2048 * KIB
    talk = tunnel()
    talk.backend.pause()
    talk.client.send(b"u" * size)
    assert talk.backend.waiting < BOUND
    talk.backend.send(b"down")
    assert talk.client.received == b"down"
    talk.backend.resume()
    assert talk.backend.received == b"u" * size


def test_two_sides_that_both_stop_reading_are_both_held() -> None:
    size = 1024 * KIB
    talk = tunnel()
    client, backend = talk.client, talk.backend
    client.pause()
    backend.pause()
    client.send(b"u" * size)
    backend.send(b"d" * size)
    assert client.waiting < BOUND
    assert backend.waiting < BOUND
    client.resume()
    backend.resume()
    assert (backend.received, client.received) == (b"u" * size, b"d" * size)


# -- ends --------------------------------------------------------------------------


def test_a_tunnel_lives_as_long_as_anything_passes_either_way() -> None:
    talk = tunnel(timeouts={"tunnel": 100.0})
    for side in (talk.client, talk.backend, talk.client, talk.backend):
        talk.sim.advance(99.0)
        side.send(b"x")
    talk.sim.advance(99.9)
    assert talk.closed == (False, False)
    talk.sim.advance(0.2)
    assert talk.closed == (True, True)
    assert (talk.client.reset, talk.backend.reset) == (False, False)
    (record,) = talk.sim.access
    assert (record.status, record.error) == (101, "")
    assert (record.received, record.sent) == (2, 2)
    assert record.duration == pytest.approx(4 * 99.0 + 100.0)
    assert errors(talk.sim) == []


def test_no_other_deadline_ends_a_tunnel() -> None:
    others = (
        *("request_header", "request_body", "keepalive", "send", "connect"),
        *("response_header", "response_body", "upstream_keepalive"),
    )
    talk = tunnel(timeouts={**dict.fromkeys(others, 1.0), "tunnel": 3600.0})
    talk.sim.advance(3599.0)
    talk.client.send(b"ping")
    talk.backend.send(b"pong")
    assert (talk.backend.received, talk.client.received) == (b"ping", b"pong")


@SIDES
def test_an_end_is_passed_on_and_the_other_direction_goes_on(first: str) -> None:
    talk = tunnel(timeouts={"tunnel": 100.0})
    near, far = talk.sides(first)
    near.send(b"last words")
    near.half_close()
    assert far.received == b"last words"
    assert far.eof
    assert not near.eof
    for _ in range(3):
        talk.sim.advance(99.0)
        far.send(b"more")
    assert near.received == b"more" * 3
    assert talk.closed == (False, False)
    far.half_close()
    assert talk.closed == (True, True)
    assert (near.reset, far.reset) == (False, False)
    assert talk.sim.access[0].error == ""


@SIDES
def test_a_half_closed_tunnel_has_a_deadline_too(first: str) -> None:
    talk = tunnel(timeouts={"tunnel": 100.0})
    talk.sides(first)[0].half_close()
    talk.sim.advance(100.0)
    assert talk.closed == (True, True)


@SIDES
def test_what_waits_for_a_slow_reader_comes_before_the_end(first: str) -> None:
    talk = tunnel()
    near, far = talk.sides(first)
    far.pause()
    near.send(b"d" * 512 * KIB)
    near.half_close()
    far.resume()
    assert far.received == b"d" * 512 * KIB
    assert far.eof


@pytest.mark.parametrize("early", [b"", b"all I say"])
def test_a_client_that_ended_before_the_101_has_ended_in_the_tunnel(
    early: bytes,
) -> None:
    talk = asked(WEBSOCKET + early)
    talk.client.half_close()
    talk.backend.send(SWITCHED + b"hello")
    assert talk.backend.received.endswith(END + early)
    assert talk.backend.eof
    talk.backend.send(b", and bye")
    assert talk.client.received.endswith(END + b"hello, and bye")
    talk.backend.half_close()
    assert talk.closed == (True, True)
    assert [record.error for record in talk.sim.access] == [""]


@pytest.mark.parametrize("slack", [0, 1])
def test_a_client_that_ended_behind_pipelined_requests_has_ended_in_the_tunnel(
    slack: int,
) -> None:
    sim = world(bare(), slack=slack)  # the end may come while reading is off
    talk = Talk(sim, sim.backend("10.0.0.1:80"), sim.client())
    talk.client.send(GET + WEBSOCKET)
    talk.client.half_close()
    talk.backend.send(OK)
    talk.backend.send(SWITCHED + b"hello")
    assert talk.backend.eof
    talk.backend.half_close()
    assert talk.client.received.endswith(END + b"hello")
    assert talk.closed == (True, True)


def test_a_backend_that_ends_with_its_101_still_hears_the_client() -> None:
    talk = asked()
    talk.backend.send(SWITCHED + b"bye")
    talk.backend.half_close()
    assert talk.client.received.endswith(END + b"bye")
    assert talk.client.eof
    talk.client.send(b"answer")
    assert talk.backend.received.endswith(END + b"answer")


@SIDES
def test_whoever_breaks_off_takes_the_other_side_along(first: str) -> None:
    talk = tunnel()
    talk.sides(first)[0].abort()
    assert talk.closed == (True, True)
    (record,) = talk.sim.access
    why = "CLIENT_LEFT" if first == "client" else "RESPONSE_INCOMPLETE"
    assert (record.status, record.error) == (101, why)
    assert not [one for _, one in talk.sim.log if isinstance(one, HalfClose)]


def test_a_client_that_never_reads_again_is_cut_off() -> None:
    talk = tunnel(timeouts={"send": 30.0, "tunnel": 1000.0})
    talk.client.pause()
    talk.backend.send(b"d" * 1024 * KIB)
    talk.sim.advance(30.0)
    assert talk.client.reset
    assert talk.backend.closed
    assert errors(talk.sim) == ["client_stalled"]


def test_a_backend_that_never_reads_again_is_left_when_nothing_else_passes() -> None:
    talk = tunnel(timeouts={"tunnel": 1000.0})
    talk.backend.pause()
    talk.client.send(b"u" * 1024 * KIB)
    talk.sim.advance(1000.0)
    assert talk.closed == (True, True)


def test_a_tunnel_is_never_pooled() -> None:
    talk = tunnel()
    talk.client.half_close()
    talk.backend.half_close()
    assert talk.closed == (True, True)
    talk.sim.client().send(GET)
    assert len(talk.server.connections) == 2
