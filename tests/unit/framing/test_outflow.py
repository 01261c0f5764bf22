"""Messages on their way out: in order, and with as much content as they say."""

from __future__ import annotations

import pytest

from lbproto.framing.messages import NO_BODY, STREAM, Body, length
from lbproto.framing.outflow import Outflow
from lbproto.machine.errors import LocalProtocolError


def test_what_was_written_leaves_in_one_piece():
    out = Outflow()
    assert out.take() == b""
    out.interim(b"i")
    out.head(b"h", length(3), chunked=False)
    out.body(Body(1, b"ab"))
    assert not out.at_rest
    assert out.take() == b"ihab"
    out.body(Body(1, b"c"))
    out.end()
    assert out.at_rest
    assert out.take() == b"c"
    assert out.take() == b""


@pytest.mark.parametrize(("chunked", "end"), [(True, b"0\r\n\r\n"), (False, b"")])
def test_content_of_unknown_length(chunked, end):
    out = Outflow()
    out.head(b"", STREAM, chunked=chunked)
    out.body(Body(1, b"hello"))
    assert out.take() == (b"5\r\nhello\r\n" if chunked else b"hello")
    out.body(Body(1, b"ab", b"1\r\na\r\n1\r\nb\r\n"))
    assert out.take() == (b"1\r\na\r\n1\r\nb\r\n" if chunked else b"ab")
    out.end()
    assert out.take() == end


@pytest.mark.parametrize("body", [NO_BODY, length(1), STREAM])
def test_no_head_within_a_message(body):
    out = Outflow()
    out.head(b"", body, chunked=True)
    with pytest.raises(LocalProtocolError):
        out.interim(b"")
    with pytest.raises(LocalProtocolError):
        out.head(b"", body, chunked=True)


def test_nothing_without_a_head():
    out = Outflow()
    for write in (out.end, lambda: out.body(Body(1, b"x"))):
        with pytest.raises(LocalProtocolError):
            write()
