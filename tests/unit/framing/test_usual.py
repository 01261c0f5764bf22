"""Usual heads: what is read in one pass, and that it means the same to the gate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproto.framing.codec import CodecLimits
from lbproto.framing.head import RequestReader, ResponseReader
from lbproto.framing.usual import UsualRequests, UsualResponses
from lbproto.machine.errors import RemoteProtocolError
from lbproto.rewriting.hop_by_hop import HOP_BY_HOP

LIMITS = CodecLimits(header_count=5, body_size=100)
REQUESTS, RESPONSES = UsualRequests(LIMITS), UsualResponses(LIMITS)
HOST = b"Host: a.example\r\n"


def request(fields, start=b"GET /p?q HTTP/1.1"):
    return start + b"\r\n" + fields + b"\r\n"


def response(fields, start=b"HTTP/1.1 200 OK"):
    return start + b"\r\n" + fields + b"\r\n"


@pytest.mark.parametrize(
    "fields",
    [
        HOST,
        b"hOST: a.example:8080\r\nUser-Agent: x\r\nAccept: */*\r\n",
        HOST + b"Connection: keep-alive\r\nEmpty:\r\nTight:x\r\n",
        HOST + b"CONNECTION: CLOSE\r\nUpgrade-Insecure-Requests: 1\r\n",
        HOST + b"Content-Length: 100\r\nContent-Type: a/b\r\nHostess: x\r\n",
        HOST + b"Transfer-Encoding: Chunked\r\nX-Requested-With: \xff\r\n",
        HOST + b"Tea: x\r\nVial: x\r\nProxy: x\r\nClosed: x\r\n",
    ],
)
def test_usual_requests_mean_what_the_gate_says(fields):
    wire = request(fields)
    head, end = REQUESTS.read(wire + b"rest", 7)
    assert end == len(wire)
    gated = RequestReader(LIMITS, 7).receive(wire).head
    assert head == gated
    assert list(head.headers) == list(gated.headers)
    assert head.headers.ordinary


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        request(HOST)[:-1],
        request(b""),
        request(HOST + HOST),
        request(HOST + b"A: 1\r\n" * 5),
        request(b"Host:a\r\n"),
        request(b"Host: a b\r\n"),
        request(b"Host: a:60000\r\n"),
        request(b"Host: [::1]\r\n"),
        request(HOST + b"Connection: close, x\r\n"),
        request(HOST + b"Content-Length: 01\r\n"),
        request(HOST + b"Content-Length: 101\r\n"),
        request(HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
        request(HOST + b"Transfer-Encoding: gzip\r\n"),
        request(HOST + b"Expect: 100-continue\r\n"),
        request(HOST + b"X-Forwarded-Anything: 1\r\n"),
        request(HOST + b"Forwarded-Not: 1\r\n"),
        request(HOST + b"x-real-ip: 1\r\n"),
        request(HOST + b"Via: 1.1 a\r\n"),
        request(HOST + b"TE: trailers\r\n"),
        request(HOST + b"Proxy-Anything: 1\r\n"),
        request(HOST + b"A_b: 1\r\n"),
        request(HOST + b"A: 1 \r\n"),
        request(HOST + b"A:  1\r\n"),
        request(HOST + b"A: \r\n"),
        request(HOST + b"A: a\tb\r\n"),
        request(HOST + b"A: a\x7f\r\n"),
        request(HOST + b"A : 1\r\n"),
        request(HOST + b" A: 1\r\n"),
        request(HOST + b"A: 1\n"),
        b"\r\n" + request(HOST),
        request(HOST, b"OPTIONS / HTTP/1.1"),
        request(HOST, b"get / HTTP/1.1"),
        request(HOST, b"GET http://a/ HTTP/1.1"),
        request(HOST, b"GET /# HTTP/1.1"),
        request(HOST, b"GET / HTTP/1.0"),
    ],
)
def test_what_is_rare_or_wrong_is_for_the_gate(wire):
    assert REQUESTS.read(wire, 1) == (None, 0)


def test_limits_of_a_request_are_the_gates_to_enforce():
    wire = request(HOST)
    line = len(b"GET /p?q HTTP/1.1\r\n")
    for limits, taken in (
        (CodecLimits(header_size=len(wire), request_line=line), True),
        (CodecLimits(header_size=len(wire) - 1), False),
        (CodecLimits(request_line=line - 1), False),
        (CodecLimits(header_count=0), False),
        (CodecLimits(header_count=10**9), True),
    ):
        head, _ = UsualRequests(limits).read(wire, 1)
        assert (head is not None) is taken


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK", b"HTTP/1.1 304 "])
@pytest.mark.parametrize(
    "fields",
    [
        b"",
        b"Date: now\r\nContent-Length: 0\r\nServer: a_b\r\n",
        b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nX_Y: z\r\n",
        b"Connection: close\r\nTransfer-Encoding: CHUNKED\r\nVia: 1.1 x\r\n",
        b"Content-Length: 999999999999999999\r\nX-Forwarded-For: a\r\n",
    ],
)
def test_usual_responses_mean_what_the_gate_says(fields, start, method):
    wire = response(fields, start)
    head, end, chunked = RESPONSES.read(wire + b"rest", 7, method)
    assert end == len(wire)
    gated = ResponseReader(LIMITS, 7, method).receive(wire)
    assert head == gated.head
    assert list(head.headers) == list(gated.head.headers)
    assert chunked == gated.chunked


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        response(b"A: 1\r\n" * 6),
        response(b"Date: a \r\n"),
        response(b"Date:  a\r\n"),
        response(b"Keep-Alive: \r\n"),
        response(b"Content-Length: 1\r\nContent-Length: 1\r\n"),
        response(b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
        response(b"Upgrade: x\r\n"),
        response(b"Trailer: x\r\n"),
        response(b"Proxy-Authenticate: x\r\n"),
        response(b"", b"HTTP/1.1 200"),
        response(b"", b"HTTP/1.1 103 Early"),
        response(b"", b"HTTP/1.0 200 OK"),
        response(b"A: " + b"x" * 70000 + b"\r\n"),
    ],
)
def test_a_rare_or_wrong_response_is_for_the_gate(wire):
    assert RESPONSES.read(wire, 1, b"GET") == (None, 0, False)


PIECES = [
    b"Host",
    b"Connection",
    b"content-length",
    b"Transfer-Encoding",
    b"Date",
    b"keep-alive",
    b"close",
    b"upgrade",
    b"x-foo",
    b"x-real-ip",
    b"cookie",
    b"chunked",
    b"a",
    b"5",
    b": ",
    b": ",
    b": ",
    b":",
    b"\r\n",
    b"\r\n",
    b"\r\n",
    b" ",
    b"\t",
    b"-",
    b"_",
    b",",
]
HEADS = st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join)


@given(HEADS)
def test_no_request_is_taken_that_the_gate_would_not_take(fields):
    wire = request(HOST + fields)
    found = REQUESTS.read(wire, 1)
    if found[0] is not None:
        gated = RequestReader(LIMITS, 1).receive(wire)
        assert (gated.head, len(gated.wire)) == found


@given(HEADS)
def test_no_response_is_taken_that_the_gate_would_not_take(fields):
    wire = response(fields)
    found = RESPONSES.read(wire, 1, b"GET")
    if found[0] is not None:
        try:
            gated = ResponseReader(LIMITS, 1, b"GET").receive(wire)
        except RemoteProtocolError as refusal:
            raise AssertionError(wire) from refusal
        assert (gated.head, len(gated.wire), gated.chunked) == found


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_every_field_of_one_hop_is_looked_for(name):
    head, _ = REQUESTS.read(request(HOST), 1)
    assert name not in head.headers
    assert head.headers.wire(HOP_BY_HOP) == HOST
    answer, *_ = RESPONSES.read(response(b""), 1, b"GET")
    assert name not in answer.headers
    # None of these questions has made a list of lines.
    assert head.headers.ordinary
    line = name + b": x\r\n"
    assert REQUESTS.read(request(HOST + line), 1) == (None, 0)
