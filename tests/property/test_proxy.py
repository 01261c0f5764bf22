"""Properties of the whole core, on the simulator.

What the proxy must keep whatever comes: nothing lost, nothing added, nothing
reordered; the same answer however the bytes were cut; every lease released;
memory bounded; and what it sends understood by a parser that is not ours.
"""

from __future__ import annotations

from collections.abc import Callable

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.arena import Judge, client_of, settle
from lbproto.config import Backend, Config, Service, Upstream
from lbproto.machine.effects import Target
from lbproto.testing import cuts
from lbproto.testing.sim import Endpoint, Sim
from lbproto.testing.strategies import (
    Meaning,
    mutated,
    pieces,
    requests,
    responses,
)

ADDRESS = "10.0.0.1:80"
WEB = Service(name="web", upstream="web", via=None)
CONFIG = Config(
    services=(WEB,),
    upstreams={
        "web": Upstream(name="web", backends=(Backend(target=Target("10.0.0.1", 80)),))
    },
)


def answering(answers: list[Meaning]) -> Callable[[Endpoint], None]:
    """Answer requests from a list."""
    left = list(answers)

    def answer(end: Endpoint) -> None:
        meaning = left.pop(0)
        end.send(meaning.wire)
        if meaning.close:
            end.close()

    return answer


def play(
    stream: list[bytes], answers: list[Meaning] | None = None
) -> tuple[Sim, Judge]:
    """Send reads of a client; return the simulator when all is quiet."""
    sim, judge = Sim(CONFIG), Judge(answering(answers) if answers else None)
    sim.backend(ADDRESS, judge)
    client = sim.client()
    for piece in stream:
        client.send(piece, [piece])
    return sim, judge


@given(st.data(), st.lists(requests(), min_size=1, max_size=3))
def test_requests_arrive_as_they_were_meant(
    data: st.DataObject, sent: list[Meaning]
) -> None:
    stream = b"".join(one.wire for one in sent)
    sim, judge = play(list(data.draw(pieces(stream))))
    assert len(judge.seen) == len(sent)
    for one, (head, body) in zip(sent, judge.seen, strict=True):
        assert (head.method, head.target) == one.start
        assert body == one.body
        mine = [pair for pair in head.headers.raw_items() if pair in one.fields]
        wanted = [pair for pair in one.fields if b"_" not in pair[0]]
        assert mine == wanted
        framing = [
            name
            for name, _ in head.headers
            if name in (b"content-length", b"transfer-encoding")
        ]
        assert len(framing) <= 1
        assert [name for name, _ in head.headers].count(b"host") == 1
    assert not client_of(sim).closed
    settle(sim)


@given(st.data(), st.lists(requests(), min_size=1, max_size=3))
def test_responses_arrive_as_they_were_meant(
    data: st.DataObject, sent: list[Meaning]
) -> None:
    answers = [data.draw(responses(one.start[0])) for one in sent]
    sim, _ = play([one.wire for one in sent], answers)
    wire = client_of(sim).received
    for one, answer in zip(sent, answers, strict=True):
        judge = h11.Connection(h11.CLIENT)
        judge.send(
            h11.Request(method=one.start[0], target=b"/", headers=[("Host", "a")])
        )
        judge.send(h11.EndOfMessage())
        judge.receive_data(wire)
        head, body = None, b""
        while not isinstance(event := judge.next_event(), h11.EndOfMessage):
            assert event is not h11.NEED_DATA, "the response is incomplete"
            if isinstance(event, h11.Response):
                head = event
            else:
                assert isinstance(event, h11.Data)
                body += event.data
        assert head is not None
        assert b"%d" % head.status_code == answer.start[0]
        assert head.reason == b"Some Reason"
        assert body == answer.body
        mine = [pair for pair in head.headers.raw_items() if pair in answer.fields]
        assert mine == list(answer.fields)
        wire = judge.trailing_data[0]
    assert wire == b""
    settle(sim)


@given(st.data(), st.lists(requests(), min_size=1, max_size=2))
def test_the_way_bytes_are_cut_does_not_matter(
    data: st.DataObject, sent: list[Meaning]
) -> None:
    stream = b"".join(one.wire for one in sent)
    if data.draw(st.booleans()):
        stream = data.draw(mutated(stream))
    sims = [
        play(cuts.whole(stream))[0],
        play(list(data.draw(pieces(stream))))[0],
        play(cuts.bytewise(stream))[0],
    ]
    ends = []
    for sim in sims:
        sim.advance(5.0)
        end = client_of(sim)
        ends.append((end.received, end.eof, end.closed))
    assert ends[0] == ends[1] == ends[2]
    for sim in sims:
        settle(sim)


@given(st.data(), requests(), responses())
def test_the_way_a_response_is_cut_does_not_matter(
    data: st.DataObject, sent: Meaning, answer: Meaning
) -> None:
    stream = answer.wire
    if data.draw(st.booleans()):
        stream = data.draw(mutated(stream))
    seen = []
    for reads in (
        cuts.whole(stream),
        list(data.draw(pieces(stream))),
        cuts.bytewise(stream),
    ):
        sim = Sim(CONFIG)
        backend = sim.backend(ADDRESS)
        client = sim.client()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        for read in reads:
            backend.connections[0].send(read, [read])
        backend.connections[0].close()
        sim.advance(1.0)
        seen.append((h11_view(client.received), client.eof))
        settle(sim)
    assert seen[0] == seen[1] == seen[2]


def h11_view(wire: bytes) -> tuple[object, ...]:
    """What a client makes of a response, however it was chunked."""
    judge = h11.Connection(h11.CLIENT)
    judge.send(h11.Request(method=b"GET", target=b"/", headers=[("Host", "a")]))
    judge.send(h11.EndOfMessage())
    judge.receive_data(wire)
    seen: list[object] = []
    body = b""
    while True:
        event = judge.next_event()
        if event is h11.NEED_DATA or event is h11.PAUSED:
            return (*seen, body, "incomplete")
        if isinstance(event, h11.EndOfMessage):
            return (*seen, body, "complete", judge.trailing_data[0])
        if isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.Response | h11.InformationalResponse):
            seen.append((event.status_code, event.headers.raw_items()))


@given(st.data(), st.lists(requests(), min_size=1, max_size=2))
def test_broken_streams_are_answered_and_nothing_unclear_goes_up(
    data: st.DataObject, sent: list[Meaning]
) -> None:
    stream = data.draw(mutated(b"".join(one.wire for one in sent)))
    # The judge raises on whatever h11 does not take.
    sim, judge = play(list(data.draw(pieces(stream))))
    statuses = client_of(sim).received.count(b"HTTP/1.1 ")
    assert len(judge.seen) <= statuses
    settle(sim)


@given(
    st.data(),
    st.integers(1, 400_000),
    st.sampled_from(["length", "chunked"]),
    st.integers(0, 1),
)
@settings(max_examples=30)
def test_memory_is_bounded_while_a_backend_does_not_read(
    data: st.DataObject, size: int, framing: str, slack: int
) -> None:
    sim = Sim(CONFIG, slack=slack)
    backend = sim.backend(ADDRESS)
    client = sim.client()
    body = b"x" * size
    read = data.draw(st.sampled_from([1000, 65536, 262144]))
    if framing == "length":
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        wire = body
    else:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        wire = b"".join(
            b"%x\r\n%b\r\n" % (len(body[i : i + 997]), body[i : i + 997])
            for i in range(0, size, 997)
        )
        wire += b"0\r\n\r\n"
    backend.connections[0].pause()
    machine = sim.machines[1]
    bound = 32 * 1024 + 64 * 1024 + 2 * read
    for i in range(0, len(wire), read):
        client.send(wire[i : i + read], [wire[i : i + read]])
        assert machine.buffered <= bound  # type: ignore[attr-defined]
        waits = backend.connections[0].waiting
        assert waits <= 64 * 1024 + (1 + slack) * (read + 8192)
    backend.connections[0].resume()
    judge = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    judge.receive_data(backend.received)
    got = b""
    while not isinstance(event := judge.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Data):
            got += event.data
        assert event is not h11.NEED_DATA
    assert got == body
    settle(sim)


@given(st.floats(0, 50), st.floats(0, 50), st.data())
@settings(max_examples=50)
def test_a_graceful_stop_ends_in_its_time(
    grace: float, timeout: float, data: st.DataObject
) -> None:
    sim = Sim(CONFIG)
    backend = sim.backend(ADDRESS)
    for kind in data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4)):
        client = sim.client()
        if kind == 1:
            client.send(b"GET / HTTP/1.1\r\nHo")
        elif kind >= 2:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n12345")
        if kind == 3:
            backend.connections[-1].send(
                b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1"
            )
    sim.drain(grace, timeout)
    sim.advance(grace + timeout + 0.001)
    assert all(end.closed for end in sim.ends.values() if not end.reset)
    assert sim.gateway.balancer.stats().active == 0
