"""Reads that are whole chunks, and may pass as they are."""

from __future__ import annotations

import pytest

from lbproto.framing.body import ChunkedDecoder
from lbproto.framing.codec import CodecLimits
from lbproto.framing.codecs import Framing

CHUNK = b"10\r\n" + b"x" * 16 + b"\r\n"


@pytest.mark.parametrize(
    ("read", "size"),
    [
        (CHUNK, 16),
        (b"1F\r\n" + b"x" * 31 + b"\r\n", 31),
        (CHUNK + CHUNK, 0),
        (CHUNK[:-1], 0),
        (CHUNK[:-2] + b"\n\r", 0),
        (b"010\r\n" + b"x" * 16 + b"\r\n", 0),
        (b"10;a\r\n" + b"x" * 16 + b"\r\n", 0),
        (b"f\r\n" + b"x" * 15 + b"\r\n", 0),
        (b"0\r\n\r\n", 0),
        (b"", 0),
    ],
)
def test_one_whole_canonical_chunk_passes(read: bytes, size: int) -> None:
    assert ChunkedDecoder(CodecLimits()).straight(read) == size


def test_in_the_midst_of_a_chunk_nothing_is_taken_for_one() -> None:
    decoder = ChunkedDecoder(CodecLimits())
    decoder.receive(b"30\r\n")
    assert decoder.straight(CHUNK) == 0
    decoder = ChunkedDecoder(CodecLimits())
    decoder.receive(b"3")
    assert decoder.straight(CHUNK) == 0


def test_where_content_is_limited_it_is_counted_the_other_way() -> None:
    assert ChunkedDecoder(CodecLimits(body_size=1000)).straight(CHUNK) == 0


@pytest.mark.parametrize("name", ["native", "h11"])
def test_without_chunks_nothing_passes(name: str) -> None:
    framing = Framing(name, CodecLimits())  # type: ignore[arg-type]
    assert framing.client().straight(CHUNK) == 0
    assert not framing.server().in_chunks
