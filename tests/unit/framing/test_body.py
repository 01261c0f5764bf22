"""Strict decoders of content."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproto.framing.body import (
    ChunkedDecoder,
    Decoder,
    LengthDecoder,
    UntilCloseDecoder,
)
from lbproto.framing.codec import CodecLimits
from lbproto.machine.errors import ErrorCode
from lbproto.testing import cuts

LIMITS = CodecLimits(
    body_size=1000, chunk_extensions=40, trailer_size=60, header_count=3
)


def decode(decoder: Decoder, pieces):
    """Feed pieces until the end or an error; return what came and where it ended."""
    content, used = b"", 0
    for data in pieces:
        piece = decoder.receive(data)
        content += piece.content
        assert piece.complete == decoder.complete
        if piece.error is not None:
            return content, used + len(data), piece.error.code
        used += piece.used
        if piece.complete:
            return content, used, None
        assert piece.used == len(data)
        assert decoder.buffered <= 64
    return content, used, "more"


GOOD = [
    (b"0\r\n\r\n", b""),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b"1\r\nh\r\n4;a=b;c\r\nello\r\n0;z\r\n\r\n", b"hello"),
    (b"5 ; a = b\r\nhello\r\n0\r\nX: y\r\nz:\r\n\r\n", b"hello"),
    (b'5;a="\\"; x"\r\n\r\n\r\n\r\r\n0\r\n\r\n', b"\r\n\r\n\r"),
    (b"003E8\r\n" + b"x" * 1000 + b"\r\n0000\r\n\r\n", b"x" * 1000),
]


@pytest.mark.parametrize(("size", "trailers"), [(0, b""), (6, b"A: b\r\n")])
def test_the_line_that_ends_trailers_is_none_of_their_bytes(size, trailers):
    limits = replace(LIMITS, trailer_size=size)
    wire = b"1\r\nx\r\n0\r\n" + trailers + b"\r\n"
    for pieces in cuts.segmentations(wire, every=1):
        assert decode(ChunkedDecoder(limits), pieces) == (b"x", len(wire), None)
    wire = wire[:-2] + b"C: d\r\n\r\n"
    for pieces in cuts.segmentations(wire, every=1):
        found = decode(ChunkedDecoder(limits), pieces)
        assert (found[0], found[2]) == (b"x", ErrorCode.FIELDS_TOO_LARGE)


@pytest.mark.parametrize(("wire", "content"), GOOD)
def test_chunked_content_is_the_same_however_it_is_cut(wire, content):
    for pieces in cuts.segmentations(wire + b"GET /", every=1):
        found = decode(ChunkedDecoder(LIMITS), pieces)
        assert found == (content, len(wire), None)


@pytest.mark.parametrize(
    ("wire", "content", "prefix", "code"),
    [
        (b"5\nhello", b"", b"5\n", ErrorCode.SYNTAX),
        (b"\r\n\r\n", b"", b"\r\n", ErrorCode.SYNTAX),
        (b"5;\r\nhello", b"", b"5;\r\n", ErrorCode.SYNTAX),
        (b"5;a\rb\r\nhello", b"", b"5;a\rb", ErrorCode.SYNTAX),
        (b"5\rhello", b"", b"5\rh", ErrorCode.SYNTAX),
        (b"0\r\n\rX", b"", b"0\r\n\rX", ErrorCode.SYNTAX),
        (b"0\r\nA: b\r\r\n\r\n", b"", b"0\r\nA: b\r\r", ErrorCode.SYNTAX),
        (
            b"0\r\n" + b"A: b\r\n" * 3 + b"A\rB: b\r\n",
            b"",
            b"0\r\n" + b"A: b\r\n" * 3 + b"A\rB",
            ErrorCode.SYNTAX,
        ),
        (b"5\r\nhello\n0\r\n\r\n", b"hello", b"5\r\nhello\n", ErrorCode.SYNTAX),
        (b"5\r\nhello\rX0\r\n", b"hello", b"5\r\nhello\rX", ErrorCode.SYNTAX),
        (b"5\r\nhelloXX\r\n", b"hello", b"5\r\nhelloX", ErrorCode.SYNTAX),
        (b"5\r\nhello\r\n0\r\n\nGET", b"hello", None, ErrorCode.SYNTAX),
        (b"0\r\nX: y\n\n", b"", b"0\r\nX: y\n", ErrorCode.SYNTAX),
        (b"0\r\nX\r\n\r\n", b"", b"0\r\nX\r\n", ErrorCode.SYNTAX),
        (b"0\r\n X: y\r\n\r\n", b"", b"0\r\n X: y\r\n", ErrorCode.SYNTAX),
        (b"0" * 100, b"", b"0" * 58, ErrorCode.SYNTAX),
        (b"1;" + b"a" * 40 + b"\r\n", b"", None, ErrorCode.SYNTAX),
        (b"3E9\r\nx", b"", b"3E9\r\n", ErrorCode.CONTENT_TOO_LARGE),
        (b"1\r\nx\r\n3E8\r\n", b"x", None, ErrorCode.CONTENT_TOO_LARGE),
        (b"0\r\nA: " + b"b" * 100, b"", None, ErrorCode.FIELDS_TOO_LARGE),
        (
            b"0\r\nA: " + b"b" * 56 + b"\r\n\r\n",
            b"",
            b"0\r\nA: " + b"b" * 56 + b"\r\n\r",
            ErrorCode.FIELDS_TOO_LARGE,
        ),
        (b"0\r\n" + b"A: b\r\n" * 4, b"", None, ErrorCode.FIELDS_TOO_LARGE),
    ],
)
def test_an_error_belongs_to_a_prefix(wire, content, prefix, code):
    whole = decode(ChunkedDecoder(LIMITS), [wire])
    assert (whole[0], whole[2]) == (content, code)
    bytewise = decode(ChunkedDecoder(LIMITS), cuts.bytewise(wire))
    assert bytewise[0] == content
    assert bytewise[2] is code
    if prefix is not None:
        assert bytewise[1] == len(prefix)
    for pieces in cuts.two_way(wire):
        found = decode(ChunkedDecoder(LIMITS), pieces)
        assert (found[0], found[2]) == (content, code)


def test_extensions_are_bounded_over_the_whole_body():
    line = b"1;abcdefghi\r\nx\r\n"
    found = decode(ChunkedDecoder(LIMITS), [line * 10])
    assert found[0] == b"xxxx"
    assert found[2] is ErrorCode.SYNTAX


def test_content_without_a_limit():
    limits = CodecLimits()
    wire = b"10000\r\n" + b"x" * 0x10000 + b"\r\n0\r\n\r\n"
    assert decode(ChunkedDecoder(limits), [wire])[0] == b"x" * 0x10000


def test_one_read_is_one_piece():
    wire = b"1\r\nx\r\n" * 50 + b"0\r\n\r\n"
    piece = ChunkedDecoder(LIMITS).receive(wire)
    assert piece.content == b"x" * 50
    assert piece.complete


@given(st.binary(max_size=30), st.integers(0, 40))
def test_length_takes_what_is_its_own(data, count):
    for pieces in (cuts.whole(data), cuts.bytewise(data)):
        decoder = LengthDecoder(count)
        content, used, end = decode(decoder, pieces)
        assert content == data[:count]
        assert used == len(content)
        if data:
            assert (end is None) == (len(data) >= count)
        assert decoder.buffered == 0


def test_until_close_takes_everything():
    decoder = UntilCloseDecoder()
    assert decode(decoder, [b"a", b"b"]) == (b"ab", 2, "more")
    assert decoder.buffered == 0


@given(
    st.binary(max_size=60) | st.text('0123456789abc;=" \r\nX:', max_size=60),
    st.lists(st.integers(1, 60), max_size=4),
)
def test_any_bytes_end_alike_however_they_are_cut(data, places):
    wire = data if isinstance(data, bytes) else data.encode()
    expected = decode(ChunkedDecoder(LIMITS), cuts.bytewise(wire))
    for pieces in (cuts.whole(wire), cuts.at(wire, places)):
        found = decode(ChunkedDecoder(LIMITS), pieces)
        assert (found[0], found[2]) == (expected[0], expected[2])


class Counted(bytes):
    """Bytes that count how much of them is searched."""

    searched = 0

    def find(self, sub, start=0, end=None):
        end = len(self) if end is None else min(end, len(self))
        Counted.searched += max(0, end - start)
        return super().find(sub, start, end)


def test_a_line_in_pieces_is_searched_once():
    limits = CodecLimits(chunk_extensions=5000)
    decoder = ChunkedDecoder(limits)
    line = b"1;" + b"a" * 4000
    Counted.searched = 0
    for byte in cuts.bytewise(line):
        assert decoder.receive(Counted(byte)).error is None
    assert Counted.searched == len(line)
    assert decoder.buffered == len(line)


LONG = b"x" * 16
CHUNK = b"10\r\n" + LONG + b"\r\n"


@pytest.mark.parametrize(
    ("wire", "content", "chunks"),
    [
        (CHUNK, LONG, CHUNK),
        (CHUNK + b"1A\r\n" + b"y" * 26 + b"\r\n", LONG + b"y" * 26, ...),
        (CHUNK + b"0\r\n\r\nGET", LONG, CHUNK),
        (CHUNK + b"2", LONG, CHUNK),
        (CHUNK + b"2\r\ne", LONG + b"e", b""),
        (CHUNK + b"f\r\n123456789012345\r\n", LONG + b"123456789012345", b""),
        (CHUNK + b"10;a\r\n" + CHUNK[4:], LONG + LONG, b""),
        (CHUNK + b"010\r\n" + CHUNK[4:], LONG + LONG, b""),
        (CHUNK + b"10\r\n" + LONG + b"XXX", LONG + LONG, b""),
        (b"0\r\n\r\n", b"", b""),
    ],
)
def test_whole_canonical_chunks_are_given_as_they_came(wire, content, chunks):
    piece = ChunkedDecoder(LIMITS).receive(wire)
    assert piece.content == content
    assert piece.chunks == (wire if chunks is ... else chunks)


def test_whole_chunks_count_towards_the_limit():
    decoder = ChunkedDecoder(LIMITS)
    chunk = b"190\r\n" + b"x" * 400 + b"\r\n"
    piece = decoder.receive(chunk * 2)
    assert (piece.error, piece.chunks) == (None, chunk * 2)
    piece = decoder.receive(chunk)
    assert piece.error is not None
    assert piece.error.code is ErrorCode.CONTENT_TOO_LARGE
    assert piece.content == piece.chunks == b""


@given(
    st.lists(st.binary(max_size=20), max_size=6),
    st.lists(st.integers(0, 90), max_size=4),
)
def test_chunks_that_are_given_hold_the_content(parts, places):
    wire = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part)
    decoder = ChunkedDecoder(LIMITS)
    for data in cuts.at(wire + b"0\r\n\r\n", places):
        piece = decoder.receive(data)
        if piece.chunks:
            again = ChunkedDecoder(LIMITS).receive(piece.chunks)
            assert (again.content, again.error) == (piece.content, None)


def test_small_chunks_of_a_request_are_counted():
    limits = CodecLimits(small_chunks=3)
    small, large = b"f\r\n" + b"x" * 15 + b"\r\n", CHUNK
    for pieces in cuts.segmentations((small + large) * 3 + b"0\r\n\r\n"):
        assert decode(ChunkedDecoder(limits), pieces)[2] is None
    for pieces in cuts.segmentations((large + small) * 4):
        content, _, code = decode(ChunkedDecoder(limits), pieces)
        assert code is ErrorCode.SYNTAX
        assert len(content) == 3 * (16 + 15) + 16
    for pieces in cuts.segmentations(small * 4):
        found = decode(ChunkedDecoder(CodecLimits(small_chunks=None)), pieces)
        assert found == (b"x" * 60, len(small * 4), "more")


def test_chunks_with_extensions_or_leading_zeros_are_counted():
    limits = CodecLimits(small_chunks=None, odd_chunks=3, chunk_extensions=1000)
    plain, odd, tagged = b"1\r\nx\r\n", b"01\r\nx\r\n", b"1;a\r\nx\r\n"
    for pieces in cuts.segmentations((plain + odd) * 3 + b"0000\r\n\r\n"):
        assert decode(ChunkedDecoder(limits), pieces)[0::2] == (b"x" * 6, None)
    for pieces in cuts.segmentations((odd + tagged + plain) * 2):
        content, _, code = decode(ChunkedDecoder(limits), pieces)
        assert code is ErrorCode.SYNTAX
        assert content == b"x" * 4


@given(
    st.lists(st.binary(min_size=1, max_size=18), max_size=40),
    st.lists(st.integers(0, 400), max_size=5),
    st.sampled_from([None, 5, 60]),
    st.sampled_from([None, 5]),
    st.sampled_from(
        [b"0\r\n\r\n", b"1\rx", b"f\r\nx\r\n", b"1\r\nxx\r\n", b"00\r\n\r\n"]
    ),
)
def test_runs_of_small_chunks_are_read_as_they_are_one_by_one(
    parts, places, size, small, end
):
    limits = CodecLimits(body_size=size, small_chunks=small)
    wire = b"".join(b"%X\r\n%b\r\n" % (len(part), part) for part in parts) + end
    expected = decode(ChunkedDecoder(limits), cuts.bytewise(wire))
    found = decode(ChunkedDecoder(limits), cuts.at(wire, places))
    assert (found[0], found[2]) == (expected[0], expected[2])


def test_a_read_that_begins_within_a_chunk_goes_on_with_whole_ones():
    wire = (CHUNK + b"3\r\nabc\r\n" * 2) * 3
    content = (LONG + b"abc" * 2) * 3
    for at in range(1, len(CHUNK)):
        decoder = ChunkedDecoder(CodecLimits())
        first, second = decoder.receive(wire[:at]), decoder.receive(wire[at:])
        assert first.content + second.content == content
        assert second.chunks == b""
