"""Fields behind content: dropped, or passed to who can take them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lbproto.config import HeaderRules
from lbproto.machine.effects import Target
from lbproto.rewriting.trailers import NEVER_BEGINNINGS, NEVER_TRAILERS
from lbproto.testing import cuts
from lbproto.testing.sim import Sim, SimBackend
from tests.scenario.world import OK, TWO, bare

pytestmark = pytest.mark.usefixtures("every_framing")

UPLOAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
CONTENT = b"5\r\nhello\r\n0\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nDate: now\r\nTransfer-Encoding: chunked\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"


def upload(trailers: bytes, /, fields: bytes = b"", **service: object) -> bytes:
    """Send content with trailers; return what the backend gets behind it."""
    service.setdefault("trailers", "pass")
    sim = Sim(bare(**service))
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(UPLOAD + fields + b"\r\n" + CONTENT + trailers + b"\r\n")
    return backend.received.partition(b"hello\r\n")[2]


def exchange(
    request: bytes, reply: bytes, cut: Sequence[bytes] | None = None, **service: object
) -> tuple[bytes, SimBackend]:
    service.setdefault("trailers", "pass")
    sim = Sim(bare(**service))
    backend = sim.backend("10.0.0.1:80")
    client = sim.client()
    client.send(request)
    backend.connections[0].send(reply, cut)
    return client.received, backend


def test_trailers_are_dropped_by_default() -> None:
    assert upload(b"X-Sum: 1\r\n", trailers="drop") == b"0\r\n\r\n"
    reply = CHUNKED + b"Trailer: X-Sum\r\n\r\n" + CONTENT + b"X-Sum: 1\r\n\r\n"
    received, backend = exchange(GET + b"TE: trailers\r\n\r\n", reply, trailers="drop")
    assert b"X-Sum" not in received
    assert received.endswith(b"0\r\n\r\n")
    assert b"TE:" not in backend.received


def test_trailers_are_passed_to_who_gets_chunks() -> None:
    assert upload(b"X-Sum:1 \r\nx-y:\r\n") == b"0\r\nX-Sum: 1\r\nx-y: \r\n\r\n"


def test_trailers_of_a_response_are_passed_however_they_are_cut() -> None:
    reply = CHUNKED + b"Trailer: X-Sum\r\n\r\n" + CONTENT + b"X-Sum: 1\r\n\r\n"
    for cut in cuts.segmentations(reply):
        received, backend = exchange(GET + b"\r\n", reply, cut)
        assert b"\r\nTrailer: X-Sum\r\n" in received
        assert received.endswith(b"0\r\nX-Sum: 1\r\n\r\n")
        assert not backend.connections[0].closed


def test_who_gets_no_chunks_gets_no_trailers() -> None:
    reply = CHUNKED + b"\r\n" + CONTENT + b"X-Sum: 1\r\n\r\n"
    received, _ = exchange(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", reply)
    assert received.endswith(b"\r\n\r\nhello")
    received, _ = exchange(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", CHUNKED + b"\r\n")
    assert received.endswith(b"\r\n\r\n")


def names() -> list[bytes]:
    begun = [begin + b"x" for begin in NEVER_BEGINNINGS]
    return sorted({*NEVER_TRAILERS, *begun, b"Content_Length", b"X_A"})


@pytest.mark.parametrize("name", names())
def test_what_is_no_trailer_is_never_passed(name: bytes) -> None:
    sent = b"X-A: 1\r\n" + name.title() + b": 2\r\nX-B: 3\r\n"
    assert upload(sent) == b"0\r\nX-A: 1\r\nX-B: 3\r\n\r\n"
    reply = CHUNKED + b"\r\n" + CONTENT + sent + b"\r\n"
    received, _ = exchange(GET + b"\r\n", reply)
    assert received.endswith(b"0\r\nX-A: 1\r\nX-B: 3\r\n\r\n")


def test_an_underscore_passes_where_it_is_told_to() -> None:
    assert upload(b"X_A: 1\r\n", underscores="pass") == b"0\r\nX_A: 1\r\n\r\n"
    found = upload(b"Content_Length: 1\r\nX_Forwarded_For: a\r\n", underscores="pass")
    assert found == b"0\r\n\r\n"


def test_nominated_fields_end_here_in_trailers_too() -> None:
    # RFC 9110 7.6.1
    assert upload(b"X-T: 1\r\nX-U: 2\r\n", b"Connection: X-T\r\n") == (
        b"0\r\nX-U: 2\r\n\r\n"
    )
    reply = CHUNKED + b"Connection: X-T\r\n\r\n" + CONTENT + b"X-T: 1\r\n\r\n"
    received, _ = exchange(GET + b"\r\n", reply)
    assert received.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    "rules",
    [
        HeaderRules(remove=(b"x-secret",)),
        HeaderRules(set=((b"X-Secret", b"ours"),)),
        HeaderRules(add=((b"X-Secret", b"ours"),)),
    ],
)
def test_a_rule_is_not_evaded_behind_the_content(rules: HeaderRules) -> None:
    assert upload(b"x-Secret: 1\r\n", request_headers=rules) == b"0\r\n\r\n"
    reply = CHUNKED + b"\r\n" + CONTENT + b"X-SECRET: 1\r\n\r\n"
    received, _ = exchange(GET + b"\r\n", reply, response_headers=rules)
    assert received.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (b"TE: trailers\r\nConnection: TE\r\n", True),
        (b"TE: gzip;q=0.5, Trailers\r\nConnection: te, close\r\n", True),
        (b"TE: gzip\r\nTE: trailers\r\nConnection: TE\r\n", True),
        (b"TE: trailers\r\n", False),  # another hop forgot to take it out
        (b"TE: xtrailers, gzip\r\nConnection: TE\r\n", False),
        (b"Connection: TE\r\n", False),
    ],
)
def test_a_backend_hears_who_takes_trailers(fields: bytes, told: bool) -> None:
    _, backend = exchange(GET + fields + b"\r\n", OK)
    assert (b"\r\nTE: trailers\r\n" in backend.received) is told
    assert (b"\r\nConnection: te\r\n" in backend.received) is told
    assert backend.received.count(b"TE:") == told
    assert b"gzip" not in backend.received


def test_trailers_go_out_again_with_the_content_of_a_second_try() -> None:
    sim = Sim(bare(trailers="pass", backends=(Target("10.0.0.1", 80), TWO)))
    second = sim.backend("10.0.0.2:80")
    client = sim.client()
    client.send(UPLOAD + b"\r\n" + CONTENT + b"X-Sum: 1\r\n\r\n")
    assert second.received.endswith(b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")


def test_trailers_are_bounded_and_checked_when_they_are_passed() -> None:
    sim = Sim(bare(trailers="pass", limits={"trailer_size": 100}))
    sim.backend("10.0.0.1:80")
    for trailers, status in ((b"X: y\r\n" * 20, 431), (b"X : y\r\n\r\n", 400)):
        client = sim.client()
        client.send(UPLOAD + b"\r\n" + CONTENT + trailers)
        assert client.received.startswith(b"HTTP/1.1 %d " % status)
