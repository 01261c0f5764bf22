"""The gate: heads of requests and responses, however they arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproto.framing import scanner
from lbproto.framing.codec import CodecLimits
from lbproto.framing.head import RequestReader, ResponseReader
from lbproto.framing.messages import NO_BODY, STREAM, Version, length
from lbproto.machine.compilation import COMPILED
from lbproto.machine.errors import ErrorCode, RemoteProtocolError
from lbproto.testing import cuts

LIMITS = CodecLimits(
    request_line=60,
    header_size=200,
    header_count=5,
    body_size=1000,
    response_header_size=150,
)
H = b"Host: a.example\r\n"


def read(reader, pieces):
    """Feed pieces; return the gated head, an error code, or the reader's state."""
    rest = list(pieces)
    while rest:
        try:
            found = reader.receive(rest.pop(0))
        except RemoteProtocolError as refusal:
            if not 0 < len(refusal.detail) < 400:
                pytest.fail(f"useless detail {refusal.detail!r}")
            return refusal.code, sum(map(len, rest))
        if found is not None:
            return found.head, found.wire, found.rest + b"".join(rest)
    return "more", reader.buffered


def every_way(wire, make):
    """Read in every segmentation; return what came out, the same each time."""
    expected = read(make(), [wire])
    for pieces in cuts.segmentations(wire):
        found = read(make(), pieces)
        if isinstance(expected[0], ErrorCode):
            assert found[0] is expected[0]
        else:
            assert found == expected
    return expected


def request(wire):
    return every_way(wire, lambda: RequestReader(LIMITS, 7))


def response(wire, method=b"GET"):
    return every_way(wire, lambda: ResponseReader(LIMITS, 7, method))


def prefix(wire, make):
    """Return how many bytes, fed one by one, it takes until the refusal."""
    code, left = read(make(), cuts.bytewise(wire))
    assert isinstance(code, ErrorCode)
    return len(wire) - left


# -- requests ----------------------------------------------------------------


def test_a_request_and_what_follows_it():
    wire = b"GET /a?b HTTP/1.1\r\n" + H + b"X-Y: z\r\n\r\n"
    head, raw, rest = request(wire + b"GET / HT")
    assert raw == wire
    assert rest == b"GET / HT"
    assert (head.stream, head.method, head.target) == (7, b"GET", b"/a?b")
    assert (head.authority, head.scheme) == (b"a.example", b"http")
    assert head.headers.wire() == H + b"X-Y: z\r\n"
    assert head.body == NO_BODY
    assert head.version is Version.HTTP11
    assert head.nominated == frozenset()
    assert head.upgrade == b""
    assert not head.expects_continue


def test_all_facts_of_a_request():
    head, *_ = request(
        b"POST http://b.example HTTP/1.2\r\n" + H + b"Connection: Upgrade, x y, X-A\r\n"
        b"Upgrade: a/1 , b\r\nContent-Length: 05\r\nExpect: 100-Continue\r\n\r\n"
    )
    assert (head.authority, head.target) == (b"b.example", b"/")
    assert head.headers.get(b"host") == b"a.example"
    assert head.nominated == {b"upgrade", b"x-a"}
    assert head.upgrade == b"a/1 , b"
    assert head.body == length(5)
    assert head.expects_continue
    assert head.version is Version.HTTP11


def test_upgrade_lines_are_joined():
    head, *_ = request(
        b"GET / HTTP/1.1\r\n" + H + b"Upgrade: a\r\nConnection: upgrade\r\n"
        b"upgrade: b\r\n\r\n"
    )
    assert head.upgrade == b"a, b"


def test_upgrade_without_the_option_is_no_offer():
    head, *_ = request(b"GET / HTTP/1.1\r\n" + H + b"Upgrade: a\r\n\r\n")
    assert head.upgrade == b""


def test_a_request_of_1_0():
    head, *_ = request(
        b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: a\r\nExpect: x\r\n\r\n"
    )
    assert head.version is Version.HTTP10
    assert head.authority == b""
    assert head.upgrade == b""
    assert not head.expects_continue


def test_chunked_content():
    head, *_ = request(
        b"PUT / HTTP/1.1\r\n" + H + b"Transfer-Encoding: CHUNKED\r\n\r\n"
    )
    assert head.body == STREAM


def test_a_head_with_too_long_a_line_is_not_matched_at_once():
    wire = b"GET /" + b"a" * 45 + b" HTTP/1.1\r\n" + H + b"\r\n"
    assert request(wire)[0] is ErrorCode.TARGET_TOO_LONG


@pytest.mark.parametrize("count", [1, 2])
def test_empty_lines_before_a_request_are_skipped(count):
    wire = b"GET / HTTP/1.1\r\n" + H + b"\r\n"
    _, raw, rest = request(b"\r\n" * count + wire)
    assert raw == wire
    assert rest == b""


def test_empty_lines_are_no_part_of_a_request():
    reader = RequestReader(LIMITS, 1)
    assert reader.receive(b"\r\n\r") is None
    assert not reader.begun
    assert reader.receive(b"\nG") is None
    assert reader.begun
    assert reader.buffered == 1


def test_a_reader_takes_one_head_after_another():
    reader = RequestReader(LIMITS, 1)
    wire = b"GET / HTTP/1.1\r\n" + H + b"\r\n"
    for pieces in ([wire], cuts.bytewise(wire), [b"\r\n", b"\r\n", wire]) * 2:
        assert read(reader, pieces)[1] == wire
        assert reader.buffered == 0
        assert not reader.begun


G = b"GET / HTTP/1.1\r\n"
SYNTAX, TOO_LARGE = ErrorCode.SYNTAX, ErrorCode.FIELDS_TOO_LARGE

REFUSED = [
    # what was sent, how much of it is enough, why
    (b"\x16\x03\x01\x02", 1, SYNTAX),
    (b" GET / HTTP/1.1\r\n", 1, SYNTAX),
    (b"\nGET / HTTP/1.1\r\n", 1, SYNTAX),
    (b"\rGET / HTTP/1.1\r\n", 2, SYNTAX),
    (b"\r\n\r\n\r\n" + G, 6, SYNTAX),
    (b"GET / HTTP/1.1\nHost: a\n\n", 15, SYNTAX),
    (b"GET / HTTP/1.1 \r\n", None, SYNTAX),
    (b"GET / HTTP/1\r\nHost: a\r\n\r\n", 14, SYNTAX),
    (b"GET admin HTTP/1.1\r\n" + H + b"\r\n", 20, SYNTAX),
    (b"GET / HTTP/2.0\r\n" + H + b"\r\n", 16, ErrorCode.VERSION),
    (b"GET / HTTP/0.9\r\n" + H + b"\r\n", 16, ErrorCode.VERSION),
    (b"GET /" + b"a" * 100, 60, ErrorCode.TARGET_TOO_LONG),
    (b"GET /" + b"a" * 50 + b" HTTP/1.1\r\n" + H, 60, ErrorCode.TARGET_TOO_LONG),
    (G + H + b"X : y\r\n\r\n", 16 + 17 + 7, SYNTAX),
    (G + b" X: y\r\n" + H + b"\r\n", 16 + 7, SYNTAX),
    (G + H + b"X: a\r\n b\r\n\r\n", 16 + 17 + 6 + 4, SYNTAX),
    (G + H + b"X: a\rb\r\n\r\n", None, SYNTAX),
    (G + H + b"X: a\0b\r\n\r\n", None, SYNTAX),
    (G + H + b"X: y\nZ: 1\r\n\r\n", 16 + 17 + 5, SYNTAX),
    (G + H + b"\n", 34, SYNTAX),
    (G + H + b"X: a\r\r\n\r\n", 16 + 17 + 6, SYNTAX),
    (b"GET / HTTP/1.1\rHost: a.example\r\r", 16, SYNTAX),
    (G + b"Host: a.example\rX: y", 16 + 17, SYNTAX),
    (G + H + b"\rX", 16 + 17 + 2, SYNTAX),
    (G + H + b"a: b\r\n" * 4 + b"a\rb: c\r\n\r\n", 16 + 17 + 24 + 3, SYNTAX),
    (b"GET /" + b"a" * 53 + b"\r\r", 60, SYNTAX),
    (b"GET /" + b"a" * 54 + b"\r\r", 60, ErrorCode.TARGET_TOO_LONG),
    (G + H + b"X: " + b"y" * 163 + b"\r\r", 200, TOO_LARGE),
    (G + H + b": y\r\n\r\n", None, SYNTAX),
    (G + H + b"X y\r\n\r\n", None, SYNTAX),
    (G + H + b"X: " + b"y" * 300, 200, TOO_LARGE),
    (G + H + b"X: " + b"y" * 161 + b"\r\n\r\n", 200, TOO_LARGE),
    (G + H + b"a: b\r\n" * 5 + b"\r\n", 16 + 17 + 30, TOO_LARGE),
    (G + b"\r\n", 18, SYNTAX),
    (G + H + H + b"\r\n", None, SYNTAX),
    (G + b"Host: a b\r\n\r\n", None, SYNTAX),
    (b"GET http://a/ HTTP/1.1\r\n\r\n", None, SYNTAX),
    (G + H + b"Connection: a, Host\r\n\r\n", None, SYNTAX),
    (G + H + b"Connection: content-length\r\n\r\n", None, SYNTAX),
    (G + H + b"Connection: Transfer-Encoding\r\n\r\n", None, SYNTAX),
    (G + H + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", None, SYNTAX),
    (
        G + H + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        None,
        SYNTAX,
    ),
    (G + H + b"Transfer-Encoding: gzip\r\n\r\n", None, ErrorCode.TRANSFER_CODING),
    (G + H + b"Expect: x\r\n\r\n", None, ErrorCode.EXPECTATION),
    (b"TRACE / HTTP/1.1\r\n" + H + b"\r\n", None, ErrorCode.METHOD_REFUSED),
    (b"CONNECT a:443 HTTP/1.1\r\n" + H + b"\r\n", None, ErrorCode.METHOD_REFUSED),
    (G + H + b"Content-Length: 1001\r\n\r\n", None, ErrorCode.CONTENT_TOO_LARGE),
]


@pytest.mark.parametrize(("wire", "enough", "code"), REFUSED)
def test_what_is_no_request_is_refused_at_the_same_byte(wire, enough, code):
    assert request(wire)[0] is code
    if enough is not None:
        assert prefix(wire, lambda: RequestReader(LIMITS, 1)) == enough


@pytest.mark.parametrize("name", [b"Authorization", b"proxy-authorization", b"COOKIE"])
@pytest.mark.parametrize("end", [b"\x01\r\n", b"\n", b"\r\r\n", b"\r\r"])
def test_credentials_are_not_repeated_in_what_is_said_of_them(name, end):
    reader = RequestReader(LIMITS, 1)
    with pytest.raises(RemoteProtocolError) as refused:
        reader.receive(G + H + name + b": hush" + end)
    assert name.decode() in refused.value.detail
    assert "hush" not in refused.value.detail


def test_a_method_that_is_too_long():
    limits = CodecLimits()
    rest = b" / HTTP/1.1\r\n" + H + b"\r\n"
    longest = RequestReader(limits, 1)
    assert read(longest, [b"M" * 64 + rest])[0].method == b"M" * 64
    for pieces in ([b"M" * 65 + rest], cuts.bytewise(b"M" * 65 + rest)):
        code = read(RequestReader(limits, 1), pieces)[0]
        assert code is ErrorCode.METHOD_UNKNOWN


def test_a_request_may_fill_its_limits():
    line = b"GET /" + b"a" * 44 + b" HTTP/1.1\r\n"
    assert len(line) == LIMITS.request_line
    wire = line + H + b"a: b\r\n" * 3
    last = b"X: " + b"y" * (200 - len(wire) - 7) + b"\r\n\r\n"
    wire += last
    assert len(wire) == LIMITS.header_size
    assert request(wire)[1] == wire
    assert request(wire.replace(b"y\r", b"yy\r"))[0] is TOO_LARGE
    assert request(wire.replace(b"y\r", b"\r\nz:\r"))[0] is TOO_LARGE


def test_a_head_limit_below_that_of_the_line_is_kept():
    limits = CodecLimits(request_line=100, header_size=50)
    wire = b"GET /" + b"a" * 200
    for pieces in (cuts.whole(wire), cuts.bytewise(wire)):
        assert read(RequestReader(limits, 1), pieces)[0] is TOO_LARGE


def test_content_without_a_limit():
    wire = G + H + b"Content-Length: 9223372036854775807\r\n\r\n"
    head, *_ = read(RequestReader(CodecLimits(), 1), [wire])
    assert head.body == length(2**63 - 1)


# -- responses ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "head", "body", "chunked"),
    [
        (b"GET", b"200 OK\r\nContent-Length: 5\r\n", length(5), False),
        (b"GET", b"200 OK\r\nTransfer-Encoding: Chunked\r\n", STREAM, True),
        (b"GET", b"200 OK\r\n", STREAM, False),
        (b"HEAD", b"200 OK\r\nContent-Length: 5\r\n", NO_BODY, False),
        (b"HEAD", b"200 OK\r\nTransfer-Encoding: chunked\r\n", NO_BODY, False),
        (b"GET", b"204 OK\r\nContent-Length: 5\r\n", NO_BODY, False),
        (b"GET", b"304 OK\r\nContent-Length: 5\r\n", NO_BODY, False),
        (b"GET", b"103 Early Hints\r\nLink: x\r\n", NO_BODY, False),
    ],
)
def test_how_the_content_of_a_response_is_framed(method, head, body, chunked):
    wire = b"HTTP/1.1 " + head + b"\r\n"
    assert response(wire, method)[0].body == body
    found = ResponseReader(LIMITS, 1, method).receive(wire + b"rest")
    assert found is not None
    assert (found.chunked, found.rest) == (chunked, b"rest")


def test_all_facts_of_a_response():
    head, raw, rest = response(
        b"HTTP/1.0 101 Sw\xe9\r\nConnection: upgrade, close\r\nUpgrade: a\r\n\r\nx"
    )
    assert (head.stream, head.status, head.reason) == (7, 101, b"Sw\xe9")
    assert head.version is Version.HTTP10
    assert head.nominated == {b"upgrade", b"close"}
    assert head.upgrade == b"a"
    assert head.headers.wire() == b"Connection: upgrade, close\r\nUpgrade: a\r\n"
    assert raw.endswith(b"\r\n\r\n")
    assert rest == b"x"


@pytest.mark.parametrize("line", [b"HTTP/1.1 200", b"HTTP/1.7 200 "])
def test_a_missing_reason_is_tolerated(line):
    head, *_ = response(line + b"\r\n\r\n")
    assert (head.status, head.reason) == (200, b"")
    assert head.version is Version.HTTP11


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"\r\n" + OK, ErrorCode.RESPONSE_INVALID),
        (b"ICY 200 OK\r\n\r\n", ErrorCode.RESPONSE_INVALID),
        (b"HTTP/2.0 200 OK\r\n\r\n", ErrorCode.RESPONSE_INVALID),
        (b"HTTP/1.1 99 OK\r\n\r\n", ErrorCode.RESPONSE_INVALID),
        (b"HTTP/1.1 600 OK\r\n\r\n", ErrorCode.RESPONSE_INVALID),
        (b"HTTP/1.1 200 OK\n\n", ErrorCode.RESPONSE_INVALID),
        (OK + b"X : a\r\n\r\n", ErrorCode.RESPONSE_INVALID),
        (OK + b"X: a\r\n b\r\n\r\n", ErrorCode.RESPONSE_INVALID),
        (OK + b"Content-Length: 2x\r\n\r\n", ErrorCode.RESPONSE_INVALID),
        (OK + b"Transfer-Encoding: gzip\r\n\r\n", ErrorCode.RESPONSE_INVALID),
        (OK + b"X: " + b"y" * 200, ErrorCode.RESPONSE_TOO_LARGE),
        (b"HTTP/1.1 200 " + b"y" * 200, ErrorCode.RESPONSE_TOO_LARGE),
        (OK + b"a: b\r\n" * 6 + b"\r\n", ErrorCode.RESPONSE_TOO_LARGE),
    ],
)
def test_what_is_no_response(wire, code):
    assert response(wire)[0] is code


# -- cost and everything else ------------------------------------------------


class Counting(bytearray):
    """A buffer that counts how much of it is searched."""

    searched = 0

    def find(self, sub, start=0, end=None):
        end = len(self) if end is None else min(end, len(self))
        Counting.searched += max(0, end - start)
        return super().find(sub, start, end)


@pytest.mark.skipif(COMPILED, reason="nothing of it can be replaced")
def test_a_head_in_pieces_is_searched_once(monkeypatch):
    monkeypatch.setattr(scanner, "bytearray", Counting, raising=False)
    wire = G + H + b"X: yyyyyyyyyyyyyyyyyyyyyy\r\n" * 90 + b"\r\n"
    Counting.searched = 0
    assert read(RequestReader(CodecLimits(), 1), cuts.bytewise(wire))[1] == wire
    assert Counting.searched == len(wire)


alphabet = st.sampled_from(
    [b"GET", b" ", b"/", b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\n", b"\r", b"Host: a",
     b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Connection: close", b":",
     b"a", b"\0", b"\xff", b"Expect: x", b"HTTP/1.1 200 OK", b"yyyyyyyyyyyyyyyyyyyy"]
)  # fmt: skip


@given(st.lists(alphabet, max_size=30).map(b"".join), st.lists(st.integers(1, 200)))
def test_any_bytes_end_alike_however_they_are_cut(wire, places):
    for wanted, make in (
        (b"", lambda: RequestReader(LIMITS, 1)),
        (G, lambda: RequestReader(LIMITS, 1)),
        (b"", lambda: ResponseReader(LIMITS, 1, b"GET")),
        (OK, lambda: ResponseReader(LIMITS, 1, b"GET")),
    ):
        stream = wanted + wire
        if not stream:
            continue
        expected = read(make(), cuts.bytewise(stream))
        for pieces in ([stream], cuts.at(stream, places)):
            found = read(make(), pieces)
            if isinstance(expected[0], ErrorCode):
                assert found[0] is expected[0]
            else:
                assert found == expected
