"""Content of any size, in bounded memory, and what happens when it breaks off."""

from __future__ import annotations

import pytest

from lbproto.machine.effects import SetReading
from lbproto.testing.sim import Endpoint, Sim
from tests.scenario.world import (
    GET,
    OK,
    POST,
    answers,
    bare,
    config,
    errors,
    logged,
    replace,
    status,
)

pytestmark = pytest.mark.usefixtures("every_framing")


KIB = 1024
HEAD = b"HTTP/1.1 200 OK\r\n"
REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"


def response(text: bytes) -> Sim:
    """A client has asked, and the backend has sent this."""
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(GET)
    backend.connections[0].send(text)
    return sim


def ends(sim: Sim) -> tuple[Endpoint, Endpoint]:
    client, backend = list(sim.ends.values())[:2]
    return client, backend


def test_a_large_response_waits_in_the_backend_for_a_slow_client() -> None:
    size = 4096 * KIB
    sim = response(HEAD + b"Content-Length: %d\r\n\r\n" % size)
    client, backend = ends(sim)
    client.pause()
    backend.send(b"x" * size)
    assert client.waiting < 256 * KIB
    assert len(backend.inbox) > 50
    while not client.closed and len(client.received) < size:
        before = len(client.received)
        client.resume(limit=100 * KIB)
        assert len(client.received) > before
        assert client.waiting < 256 * KIB
    assert client.received.count(b"x") >= size


def test_a_large_request_waits_in_the_client_for_a_slow_backend() -> None:
    size = 4096 * KIB
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
    end = backend.connections[0]
    end.pause()
    client.send(b"x" * size)
    assert end.waiting < 256 * KIB
    while len(end.received) < size:
        end.resume(limit=100 * KIB)
    end.resume()
    end.send(OK)
    assert client.received.endswith(b"OK")


@pytest.mark.parametrize(
    "text",
    [
        HEAD + b"Content-Length: 10\r\n\r\nhello",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ],
)
@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_response_cut_short_does_not_look_complete(text: bytes, how: str) -> None:
    sim = response(text)
    client, backend = ends(sim)
    getattr(backend, how)()
    assert client.closed
    assert b"hello" in client.received
    assert not client.received.endswith(b"0\r\n\r\n")
    assert errors(sim) == ["response_incomplete"]
    assert sim.access[0].status == 200
    assert sim.access[0].error == "RESPONSE_INCOMPLETE"


def test_for_a_client_of_http_1_0_a_cut_is_a_reset() -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    backend.connections[0].send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nOK\r\n")
    backend.connections[0].close()
    assert client.reset


def test_a_reset_cuts_even_what_only_a_close_would_end() -> None:
    sim = response(HEAD + b"\r\nhello")
    client, backend = ends(sim)
    backend.abort()
    assert client.closed
    assert not client.received.endswith(b"0\r\n\r\n")


def test_the_log_has_the_beginning_of_a_long_target() -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(GET.replace(b"/", b"/" + b"a" * 4000, 1))
    backend.connections[0].close()
    assert status(client) == 502
    assert logged(sim)[0].fields["target"] == "/" + "a" * 1023


def test_a_head_cut_short_is_a_502() -> None:
    sim = response(b"HTTP/1.1 200 OK\r\nContent-Le")
    client, backend = ends(sim)
    backend.close()
    assert status(client) == 502
    assert errors(sim) == ["response_incomplete"]


def test_a_reset_within_a_head_is_a_502() -> None:
    sim = response(b"HTTP/1.1 200 OK\r\nContent-Le")
    client, backend = ends(sim)
    backend.abort()
    assert status(client) == 502


def test_a_client_that_ends_within_its_request_cancels_it() -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(POST[:-2])
    client.half_close()
    assert client.closed
    assert client.received == b""
    assert backend.connections[0].reset


def test_broken_content_after_the_response_began_cuts_the_connection() -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    backend.connections[0].send(HEAD + b"Content-Length: 9\r\n\r\n1")
    client.send(b"zz\r\n")
    assert client.closed
    assert b"HTTP/1.1 400" not in client.received
    assert backend.connections[0].reset


def test_a_conversation_goes_both_ways_at_once() -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    backend.connections[0].send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for word in (b"one", b"two"):
        client.send(b"3\r\n%b\r\n" % word)
        assert backend.connections[0].received.endswith(b"3\r\n%b\r\n" % word)
        backend.connections[0].send(b"3\r\n%b\r\n" % word)
        assert client.received.endswith(b"3\r\n%b\r\n" % word)
    client.send(b"0\r\n\r\n")
    backend.connections[0].send(b"0\r\n\r\n")
    assert client.received.endswith(b"0\r\n\r\n")
    assert client.closed  # it was not known when the head went out


def test_a_backend_that_answers_early_is_not_used_again() -> None:
    # It answers in two parts, and the rest of the request comes between them.
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(POST[:-2])
    backend.connections[0].send(OK[:-1])
    client.send(POST[-2:])
    backend.connections[0].send(OK[-1:])
    assert client.received.endswith(b"OK")
    assert backend.connections[0].closed


@pytest.mark.parametrize(
    ("answer", "used"),
    [
        (REFUSED, False),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + REFUSED, True),
        (OK, True),
    ],
)
def test_a_refusal_in_place_of_a_100_leaves_open_what_was_read(
    answer: bytes, used: bool
) -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
    backend.connections[0].send(answer)
    assert backend.connections[0].closed is not used
    client.send(GET)
    assert len(backend.connections) == (1 if used else 2)


def test_too_many_interim_responses_are_a_502() -> None:
    sim = response(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 17)
    client, backend = ends(sim)
    assert client.received.count(b"HTTP/1.1 103") == 16
    assert b"HTTP/1.1 502" in client.received
    assert backend.reset


def test_a_full_service_takes_no_more_clients() -> None:
    sim = Sim(bare(limits={"connections": 1}))
    site = sim.gateway.sites["web"]
    assert site.has_room
    sim.client()
    with pytest.raises(ConnectionRefusedError):
        sim.client()
    site.closed()
    assert site.has_room
    sim = Sim(bare(limits={"connections": None}))
    sim.client()
    assert sim.gateway.sites["web"].has_room


def test_bytes_on_an_idle_backend_connection_end_it() -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    backend.connections[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    assert backend.connections[0].closed
    client.send(GET)
    assert b"evil" not in client.received


def test_forty_pipelined_requests_are_answered_one_by_one() -> None:
    sim = Sim(config())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(GET * 40)
    for number in range(40):
        end = backend.connections[0]
        assert end.received.count(b"GET / ") == number + 1
        end.send(OK)
    assert client.received.count(b"HTTP/1.1 200") == 40
    assert len(backend.connections) == 1


def test_the_core_tells_what_it_keeps() -> None:
    sim = Sim(bare())
    sim.backend("10.0.0.1:80")
    client = sim.client()
    machine = sim.machines[1]
    client.send(b"GET / HTTP/1.1\r\n")
    assert machine.buffered == 16  # type: ignore[attr-defined]
    client.send(b"Host: a\r\n\r\n" + b"GET")
    assert machine.buffered == 3  # type: ignore[attr-defined]
    assert SetReading(client.conn, False) in [effect for _, effect in sim.log]


EVENT = b"16\r\ndata: some words here\n\r\n"


def test_events_pass_one_by_one_as_they_came() -> None:
    sim = response(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    client, backend = ends(sim)
    head = client.received
    for number in range(1, 5):
        backend.send(EVENT)
        assert client.received == head + EVENT * number
    backend.send(b"0\r\n\r\n")
    assert client.received == head + EVENT * 4 + b"0\r\n\r\n"
    assert sim.access[0].sent == 4 * 22
    assert sim.access[0].error == ""


@pytest.mark.parametrize(
    "odd",
    [
        EVENT.replace(b"16", b"016", 1),
        EVENT.replace(b"16", b"16;x=y", 1),
        b"5\r\nsmall\r\n",
        EVENT + b"1",
        EVENT[:-1],
    ],
)
def test_an_event_that_is_no_whole_canonical_chunk_is_framed_anew(odd: bytes) -> None:
    sim = response(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + EVENT)
    client, backend = ends(sim)
    before = client.received
    backend.send(odd)
    rest = {EVENT + b"1": b"6\r\ndata: some words here\n\r\n", EVENT[:-1]: b"\n"}
    backend.send(rest.get(odd, b"") + b"0\r\n\r\n")
    after = client.received[len(before) :]
    content = EVENT[4:-2] * 2 if odd == EVENT + b"1" else EVENT[4:-2]
    content = b"small" if odd.startswith(b"5") else content
    assert b"".join(line for line in chunks(after)) == content
    assert after.endswith(b"0\r\n\r\n")


def chunks(wire: bytes) -> list[bytes]:
    """The chunks of content that is complete."""
    found = []
    while True:
        line, _, wire = wire.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            return found
        found.append(wire[:size])
        wire = wire[size + 2 :]


def test_events_to_a_client_of_http_1_0_lose_their_frames() -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(GET.replace(b"1.1", b"1.0"))
    backend.connections[0].send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    backend.connections[0].send(EVENT)
    assert client.received.endswith(b"\r\n\r\ndata: some words here\n")


def test_events_over_http_1_1_until_close_are_framed() -> None:
    sim = response(HEAD + b"\r\n")
    client, backend = ends(sim)
    backend.send(EVENT)
    assert client.received.endswith(b"\r\n1c\r\n" + EVENT + b"\r\n")


def test_a_service_whose_upstream_is_unknown_has_no_backend() -> None:
    sim = Sim(replace(config(), upstreams={}))
    client = sim.client()
    client.send(GET)
    assert status(client) == 503
