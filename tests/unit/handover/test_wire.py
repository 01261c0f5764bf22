"""Frames on the wire, byte by byte."""

from __future__ import annotations

import pytest

from lbproto.handover.keys import FdToken, ListenerKey, listener_key
from lbproto.handover.messages import (
    MAX_FDS,
    Abort,
    Commit,
    Done,
    Fds,
    Hello,
    Message,
    Offer,
    Ready,
)
from lbproto.handover.wire import (
    GREETING,
    HEADER,
    MAX_BODY,
    Broken,
    FrameReader,
    Greeting,
    Received,
    batches,
    encode,
    fits,
)
from lbproto.machine.errors import LocalProtocolError
from lbproto.testing import cuts

WEB = listener_key("tcp:0.0.0.0:6188")
SOCK = listener_key("unix:/run/lb.sock")
ONE, TWO, THREE = FdToken(1), FdToken(2), FdToken(3)
FRAME = b'LBF\0\0\0\0\x31{"keys":["tcp:0.0.0.0:6188","unix:/run/lb.sock"]}'


def paths(count: int, length: int = 20) -> tuple[ListenerKey, ...]:
    return tuple(listener_key(f"unix:/{number:0{length}}") for number in range(count))


@pytest.mark.parametrize(
    ("message", "written"),
    [
        (Commit(), b"LBC\0\0\0\0\x02{}"),
        (Done(7), b'LBD\0\0\0\0\x0f{"in_flight":7}'),
        (Abort("busy"), b'LBA\0\0\0\0\x11{"reason":"busy"}'),
        (Hello(1, 2, 3), b'LBH\0\0\0\0\x24{"version":1,"pid":2,"generation":3}'),
        (Fds((WEB, SOCK)), FRAME),
    ],
)
def test_a_frame_is_a_header_and_json(message: Message, written: bytes) -> None:
    assert encode(message) == written


def test_the_length_is_big_endian() -> None:
    message = Offer(1, 1, paths(100), 0)
    frame = encode(message)
    assert frame[4:8] == (len(frame) - HEADER).to_bytes(4, "big")
    assert frame[6] > 0
    assert FrameReader(greeting=False).receive(frame, ()) == [Received(message, ())]


def test_a_message_that_does_not_fit_is_not_written() -> None:
    for message in (Ready(paths(700, 100)), Fds(paths(MAX_FDS + 1))):
        assert not fits(message)
        with pytest.raises(LocalProtocolError, match="does not fit"):
            encode(message)
    assert fits(Ready(paths(500, 100)))
    assert fits(Fds(paths(MAX_FDS)))


def test_items_are_divided_by_number_and_by_size() -> None:
    assert batches([], len) == []
    assert [len(part) for part in batches(paths(401), len)] == [200, 200, 1]
    parts = batches(["x" * 30_000] * 5, len)
    assert [len(part) for part in parts] == [2, 2, 1]
    assert batches(["x" * 99_999], len) == [("x" * 99_999,)]


@pytest.mark.parametrize("data", [GREETING, GREETING + encode(Hello(1, 2, 3))])
def test_the_greeting_comes_first(data: bytes) -> None:
    for pieces in ([data], cuts.bytewise(data)):
        reader = FrameReader(greeting=True)
        found = [item for piece in pieces for item in reader.receive(piece, ())]
        assert found[0] == Greeting()
        assert found[1:] == ([Received(Hello(1, 2, 3), ())] if data[8:] else [])


@pytest.mark.parametrize(
    ("data", "good", "wrong"),
    [
        (b"X", 0, "no frame begins"),
        (b"LX", 1, "no frame begins"),
        (b"LBX", 2, "of type 0x58"),
        (b"LB\n", 2, "of type 0x0a"),
        (b"LBC\1", 3, "zero"),
        (b"LBC\0\0\1\0\1", 7, "65537 bytes"),
        (b"LBC\0\0\0\0\x02{]", 9, "no JSON"),
        (b"LBF\0\0\0\0\x11" + b'{"keys":["unix:/"]}'[:17], 24, "no JSON"),
        (b'LBF\0\0\0\0\x13{"keys":["unix:/"]}', 26, "not the 1 descriptors"),
    ],
)
def test_an_error_is_that_of_the_first_byte_that_is_wrong(
    data: bytes, good: int, wrong: str
) -> None:
    reader = FrameReader(greeting=False)
    assert reader.receive(data[:good], ()) == []
    (broken,) = reader.receive(data[good:], ())
    assert isinstance(broken, Broken)
    assert wrong in broken.reason
    assert reader.buffered == 0
    assert reader.receive(encode(Commit()), ()) == []


def test_a_body_may_be_as_long_as_it_may() -> None:
    body = b'{"a":"%b"}' % (b"x" * (MAX_BODY - 8))
    reader = FrameReader(greeting=False)
    assert reader.receive(b"LBC\0\0\1\0\0" + body[:-1], ()) == []
    assert reader.buffered == HEADER + MAX_BODY - 1
    assert reader.receive(body[-1:], ()) == [Received(Commit(), ())]


def test_what_is_no_greeting_is_refused_at_once() -> None:
    reader = FrameReader(greeting=True)
    assert reader.receive(b"LBUP ", ()) == []
    assert reader.receive(b"2\n", ()) == [Broken("no greeting of LBUP/1")]


# -- descriptors ---------------------------------------------------------------


def test_descriptors_come_with_the_first_byte_of_their_frame() -> None:
    for size in range(1, len(FRAME)):
        reader = FrameReader(greeting=False)
        assert reader.receive(FRAME[:size], (ONE, TWO)) == []
        assert reader.receive(FRAME[size:], ()) == [
            Received(Fds((WEB, SOCK)), (ONE, TWO))
        ]
        assert reader.unclaimed() == ()


def test_a_read_may_begin_with_the_end_of_the_frame_before() -> None:
    reader = FrameReader(greeting=False)
    last = encode(Fds((SOCK,)))
    assert reader.receive(FRAME[:30], (ONE, TWO)) == []
    assert reader.receive(FRAME[30:] + last[:1], (THREE,)) == [
        Received(Fds((WEB, SOCK)), (ONE, TWO))
    ]
    assert reader.receive(last[1:], ()) == [Received(Fds((SOCK,)), (THREE,))]


def test_frames_without_descriptors_may_stand_around_one_with_them() -> None:
    reader = FrameReader(greeting=False)
    found = reader.receive(
        encode(Commit()) + encode(Fds((SOCK,))) + encode(Done(0)), (ONE,)
    )
    assert found == [
        Received(Commit(), ()),
        Received(Fds((SOCK,)), (ONE,)),
        Received(Done(0), ()),
    ]


@pytest.mark.parametrize(
    ("chunks", "tokens"),
    [
        ([(FRAME, ())], ()),
        ([(FRAME, (ONE,))], (ONE,)),
        ([(FRAME, (ONE, TWO, THREE))], (ONE, TWO, THREE)),
        ([(FRAME[:1], ()), (FRAME[1:], (ONE, TWO))], (ONE, TWO)),
        ([(FRAME[:5], (ONE, TWO)), (FRAME[5:], (THREE,))], (THREE,)),
        ([(FRAME[:5], (ONE,)), (FRAME[5:], (TWO,))], (ONE, TWO)),
        ([(encode(Commit()), (ONE,))], (ONE,)),
        ([(encode(Commit())[:4], (ONE,)), (encode(Commit())[4:], ())], (ONE,)),
        ([(b"x", (ONE,)), (b"y", (TWO,))], (ONE, TWO)),
    ],
)
def test_as_many_as_are_named_or_none(
    chunks: list[tuple[bytes, tuple[FdToken, ...]]], tokens: tuple[FdToken, ...]
) -> None:
    reader = FrameReader(greeting=False)
    found = [item for data, fds in chunks for item in reader.receive(data, fds)]
    assert isinstance(found[-1], Broken)
    claimed = [token for one in found[:-1] for token in one.fds]  # type: ignore[union-attr]
    assert (*claimed, *reader.unclaimed()) == ((ONE, TWO, THREE) if claimed else tokens)
    assert reader.unclaimed() == ()
