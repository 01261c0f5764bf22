"""Every codec: events from bytes, bytes from messages."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproto.framing.codec import ClientCodec, CodecLimits, ServerCodec
from lbproto.framing.codecs import Framing
from lbproto.framing.headers import Headers
from lbproto.framing.messages import (
    NO_BODY,
    STREAM,
    Body,
    End,
    RequestHead,
    Reset,
    ResponseHead,
    Version,
    length,
)
from lbproto.machine.errors import VERDICTS, ErrorCode, LocalProtocolError
from lbproto.testing import cuts

LIMITS = CodecLimits(body_size=2000, header_size=2048)
H = b"Host: a.example\r\n"
GET = b"GET / HTTP/1.1\r\n" + H + b"\r\n"
POST = b"POST / HTTP/1.1\r\n" + H
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
WS = (
    b"GET /ws HTTP/1.1\r\n"
    + H
    + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n"
)


KIND = "native"


@pytest.fixture(params=["native", "h11"], autouse=True, scope="module")
def kind(request):
    """Run every test with every codec."""
    global KIND
    KIND = request.param
    return KIND


def server(limits=LIMITS):
    return Framing(KIND, limits).server()


def fresh_client(limits=LIMITS):
    return Framing(KIND, limits).client()


TWO = length(2)


def answer(stream, body=TWO, status=200, fields=b"", **facts):
    return ResponseHead(
        stream, status, b"OK", Headers(fields), body, Version.HTTP11, **facts
    )


def reply(codec, stream, content=b"OK"):
    """Answer a request whole; return what was written."""
    codec.send(answer(stream, length(len(content))))
    if content:
        codec.send(Body(stream, content))
    codec.send(End(stream))
    return codec.take_output()


def ask(method=b"GET", body=NO_BODY, fields=H, stream=1, **facts):
    return RequestHead(
        stream=stream,
        method=method,
        target=b"/p?q",
        authority=b"a.example",
        scheme=b"http",
        headers=Headers(fields),
        body=body,
        version=Version.HTTP11,
        **facts,
    )


def merged(events):
    """Join pieces of content that follow each other; reduce errors to codes."""
    out = []
    for event in events:
        last = out[-1] if out else None
        if isinstance(event, Body) and isinstance(last, Body):
            out[-1] = Body(event.stream, last.data + event.data)
        elif isinstance(event, Reset):
            assert event.detail
            out.append((event.stream, event.error))
        else:
            out.append(event)
    return out


def converse(codec, pieces, eof=False):
    """Feed pieces, and answer each request once it is complete."""
    events = []

    def take(found):
        events.extend(found)
        while found and isinstance(found[-1], End):
            reply(codec, found[-1].stream, b"")
            if codec.closing:
                return
            found = codec.resume()
            events.extend(found)

    for data in pieces:
        found = codec.receive(data)
        assert sum(isinstance(event, Body) for event in found) <= 1
        assert all(event.data for event in found if isinstance(event, Body))
        take(found)
    if eof:
        take(codec.receive_eof())
    return merged(events)


# -- the server's side: reading ----------------------------------------------


def test_a_request_without_content():
    codec = server()
    assert codec.idle
    assert codec.want_read()
    head, end = codec.receive(GET)
    assert isinstance(head, RequestHead)
    assert end == End(1)
    assert not codec.idle
    assert codec.want_read()
    assert codec.buffered == 0
    assert not codec.closing


def test_content_by_length_comes_as_it_arrives():
    codec = server()
    head, body = codec.receive(POST + b"Content-Length: 5\r\n\r\nhe")
    assert isinstance(head, RequestHead)
    assert head.body == length(5)
    assert body == Body(1, b"he")
    assert codec.receive(b"lloGET") == [Body(1, b"llo"), End(1)]
    assert codec.buffered == 3
    assert not codec.want_read()


def test_chunks_of_one_read_are_one_piece():
    codec = server()
    events = codec.receive(CHUNKED + b"1\r\na\r\n2;x=y\r\nbc\r\n0\r\nX: y\r\n\r\n")
    assert events[1:] == [Body(1, b"abc"), End(1)]


def test_an_empty_read_of_framing_is_no_event():
    codec = server()
    assert len(codec.receive(CHUNKED)) == 1
    assert codec.receive(b"1;a") == []
    assert codec.buffered == 3
    assert codec.receive(b"\r\n") == []
    assert codec.receive(b"x") == [Body(1, b"x")]


def test_pipelined_requests_wait_for_their_turn():
    codec = server()
    assert len(codec.receive(GET + GET + GET)) == 2
    assert codec.buffered == 2 * len(GET)
    assert codec.receive(b"GET") == []
    reply(codec, 1)
    head, end = codec.resume()
    assert (head.stream, end) == (3, End(3))
    assert codec.buffered == len(GET) + 3
    reply(codec, 3)
    assert [event.stream for event in codec.resume()] == [5, 5]
    reply(codec, 5)
    assert codec.resume() == []
    assert not codec.idle
    assert codec.buffered == 3
    assert codec.want_read()


def test_an_empty_line_between_requests_is_nothing():
    codec = server()
    codec.receive(GET + b"\r\n")
    reply(codec, 1)
    assert codec.resume() == []
    assert codec.idle
    assert [event.stream for event in codec.receive(GET)] == [3, 3]


def test_content_before_an_error_is_delivered():
    events = server().receive(CHUNKED + b"3\r\nabc\r\n5\nxx")
    assert merged(events[1:]) == [Body(1, b"abc"), (1, ErrorCode.SYNTAX)]


@pytest.mark.parametrize(
    "wire", [b"GET / HTTP/1.1\nHost: a\n\n", CHUNKED + b"x\r\n", b"\x16\x03"]
)
def test_after_an_error_nothing_more_is_read_but_a_response_fits(wire):
    codec = server()
    reset = codec.receive(wire)[-1]
    assert isinstance(reset, Reset)
    assert reset.stream == 1
    assert codec.closing
    assert not codec.want_read()
    assert not codec.idle
    assert codec.receive(GET) == []
    assert codec.receive_eof() == []
    assert codec.buffered == 0
    with pytest.raises(LocalProtocolError):
        codec.resume()
    assert reply(codec, 1) == (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK"
    )


def test_a_second_request_that_is_wrong_has_its_own_stream():
    codec = server()
    codec.receive(GET + b"GET / HTTP/9.9\r\n")
    reply(codec, 1)
    (reset,) = codec.resume()
    assert (reset.stream, reset.error) == (3, ErrorCode.VERSION)
    codec.send(answer(3, STREAM))
    codec.send(Body(3, b"no"))
    codec.send(End(3))
    assert b"Transfer-Encoding: chunked\r\nConnection: close" in codec.take_output()


@pytest.mark.parametrize(
    "wire",
    [
        b"GET / HTTP/1.1\r\n" + H + b"Connection: ClOsE\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    ],
)
def test_after_close_nothing_counts(wire):
    codec = server()
    events = codec.receive(wire + GET)
    assert [type(event) for event in events] == [RequestHead, End]
    assert codec.closing
    assert codec.want_read()  # so that it is noticed when the client leaves
    assert codec.receive(GET * 100) == []
    assert codec.buffered == 0
    assert b"\r\nConnection: close\r\n" in reply(codec, 1)
    with pytest.raises(LocalProtocolError):
        codec.resume()


@pytest.mark.parametrize(
    ("wire", "cut_short"),
    [
        (b"", False),
        (b"\r\n\r", False),
        (b"G", True),
        (POST + b"Content-Length: 5\r\n\r\nhell", True),
        (CHUNKED + b"0\r\n", True),
        (GET, False),
    ],
)
def test_end_of_stream(wire, cut_short):
    codec = server()
    if wire:
        codec.receive(wire)
    events = merged(codec.receive_eof())
    assert events == ([(1, ErrorCode.CLIENT_LEFT)] if cut_short else [])
    assert codec.closing


def test_a_client_that_half_closed_gets_every_response():
    codec = server()
    codec.receive(GET + GET + b"\r\n")
    assert codec.receive_eof() == []
    assert not codec.closing
    assert b"Connection" not in reply(codec, 1)
    assert len(codec.resume()) == 2
    assert codec.closing
    assert codec.want_read() is False or codec.buffered == 0
    assert b"Connection: close" in reply(codec, 3)


def test_a_request_cut_short_behind_another():
    codec = server()
    codec.receive(GET + b"GET /")
    codec.receive_eof()
    reply(codec, 1)
    assert merged(codec.resume()) == [(3, ErrorCode.CLIENT_LEFT)]


def test_reading_goes_on_after_the_end_to_notice_a_reset():
    codec = server()
    codec.receive(GET)
    codec.receive_eof()
    assert codec.closing
    assert codec.want_read()


# -- the server's side: writing ----------------------------------------------


def test_fields_keep_order_case_and_bytes():
    codec = server()
    codec.receive(GET)
    fields = Headers(
        b"b: 2\r\nCONTENT-length: 002\r\nConnection: x\r\nA:\xff\r\n"
        b"Transfer-Encoding: x\r\na: 1\r\n"
    )
    before = fields.copy()
    codec.send(ResponseHead(1, 200, b"", fields, length(2), Version.HTTP10))
    assert codec.take_output() == (
        b"HTTP/1.1 200 \r\nb: 2\r\nContent-Length: 2\r\nA:\xff\r\na: 1\r\n\r\n"
    )
    assert codec.take_output() == b""
    assert fields == before


def test_a_stream_to_1_1_is_chunked():
    codec = server()
    codec.receive(GET)
    codec.send(answer(1, STREAM, fields=b"Content-Length: 9\r\n"))
    codec.send(Body(1, b"hello"))
    codec.send(End(1))
    assert codec.take_output() == (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    )
    assert codec.resume() == []


@pytest.mark.parametrize("wire", [b"GET / HTTP/1.0\r\n\r\n", b"G T / HTTP/1.1\r\n"])
def test_a_stream_to_others_ends_with_the_connection(wire):
    codec = server()
    codec.receive(wire)
    codec.send(answer(1, STREAM))
    codec.send(Body(1, b"hello"))
    codec.send(End(1))
    assert codec.take_output() == (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")


def test_a_stream_before_any_request_closes():
    codec = server()
    codec.send(answer(1, STREAM))
    assert codec.closing


@pytest.mark.parametrize(
    ("method", "status", "fields", "body", "written"),
    [
        (b"HEAD", 200, b"Content-Length: 05\r\n", NO_BODY, b"Content-Length: 5\r\n"),
        (b"HEAD", 200, b"Content-Length: x\r\n", NO_BODY, b"Content-Length: x\r\n"),
        (b"HEAD", 200, b"", NO_BODY, b""),
        (b"HEAD", 200, b"", STREAM, b""),
        (b"GET", 304, b"Content-Length: 5\r\n", NO_BODY, b"Content-Length: 5\r\n"),
        (b"GET", 204, b"Content-Length: 5\r\n", NO_BODY, b""),
        (b"GET", 200, b"", NO_BODY, b"Content-Length: 0\r\n"),
        (b"GET", 200, b"", length(0), b"Content-Length: 0\r\n"),
    ],
)
def test_responses_without_content(method, status, fields, body, written):
    codec = server()
    codec.receive(method + GET[3:] + GET)
    codec.send(answer(1, body, status, fields))
    codec.send(End(1))
    line = b"HTTP/1.1 %d OK\r\n" % status
    assert codec.take_output() == line + written + b"\r\n"
    assert [event.stream for event in codec.resume()] == [3, 3]


def test_interim_responses_have_no_framing_and_come_first():
    codec = server()
    codec.receive(POST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    codec.send(answer(1, NO_BODY, 100, b"Content-Length: 5\r\n"))
    codec.send(answer(1, STREAM, 103, b"Link: x\r\n"))
    assert codec.take_output() == (
        b"HTTP/1.1 100 OK\r\n\r\nHTTP/1.1 103 OK\r\nLink: x\r\n\r\n"
    )
    assert codec.receive(b"x") == [Body(1, b"x"), End(1)]
    assert reply(codec, 1).startswith(b"HTTP/1.1 200 ")
    assert codec.resume() == []


def test_interim_responses_are_not_for_1_0():
    codec = server()
    codec.receive(b"GET / HTTP/1.0\r\n\r\n")
    codec.send(answer(1, NO_BODY, 103))
    assert codec.take_output() == b""
    assert reply(codec, 1).startswith(b"HTTP/1.1 200 ")


def test_a_response_may_come_before_the_request_is_complete():
    codec = server()
    codec.receive(POST + b"Content-Length: 5\r\n\r\nh")
    codec.go_away()
    assert b"Connection: close" in reply(codec, 1)
    assert codec.receive(b"ello" + GET) == [Body(1, b"ello"), End(1)]
    assert codec.buffered == 0


def test_going_away_while_idle_still_takes_a_request():
    codec = server()
    codec.go_away()
    assert codec.closing
    assert codec.idle
    assert codec.want_read()
    assert len(codec.receive(GET + GET)) == 2
    assert codec.buffered == 0
    assert b"Connection: close" in reply(codec, 1)


def test_going_away_after_the_head_is_only_remembered():
    codec = server()
    codec.receive(GET + GET)
    codec.send(answer(1))
    codec.go_away()
    codec.send(Body(1, b"OK"))
    codec.send(End(1))
    assert b"Connection" not in codec.take_output()
    assert codec.closing
    assert codec.buffered == 0


@pytest.mark.parametrize(
    "wrong",
    [
        [Body(1, b"x")],
        [End(1)],
        [answer(3)],
        [answer(1), answer(1)],
        [answer(1), Body(1, b"xxx")],
        [answer(1), End(1)],
        [answer(1), Body(1, b"OK"), End(1), End(1)],
        [answer(1, NO_BODY, 101, upgrade=b"x")],
    ],
)
def test_a_wrong_order_is_our_bug(wrong):
    codec = server()
    codec.receive(GET)
    *fine, last = wrong
    for event in fine:
        codec.send(event)
    with pytest.raises(LocalProtocolError):
        codec.send(last)


def test_an_interim_response_to_no_request_is_our_bug():
    for status in (100, 101):
        with pytest.raises(LocalProtocolError):
            server().send(answer(1, NO_BODY, status))


def test_resuming_too_early_is_our_bug():
    codec = server()
    with pytest.raises(LocalProtocolError):
        codec.resume()
    codec.receive(GET)
    with pytest.raises(LocalProtocolError):
        codec.resume()
    assert b"200" in reply(codec, 1)
    assert codec.resume() == []


# -- upgrades ----------------------------------------------------------------


def test_a_tunnel_gets_what_came_early():
    codec = server()
    head, end = codec.receive(WS + b"early")
    assert head.upgrade == b"websocket"
    assert end == End(1)
    assert codec.buffered == 5
    codec.go_away()
    codec.receive(b" bytes")
    with pytest.raises(LocalProtocolError):
        codec.switch()
    codec.send(answer(1, NO_BODY, 101, b"X: y\r\n", upgrade=b"websocket"))
    assert codec.take_output() == (
        b"HTTP/1.1 101 OK\r\nX: y\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    assert codec.switch() == b"early bytes"
    assert codec.switch() == b""
    with pytest.raises(LocalProtocolError):
        codec.send(answer(1))


def test_a_refused_upgrade_is_an_ordinary_exchange():
    codec = server()
    codec.receive(WS + GET)
    codec.send(answer(1, length(0), 426, upgrade=b"x"))
    codec.send(End(1))
    assert codec.take_output() == (
        b"HTTP/1.1 426 OK\r\nContent-Length: 0\r\nConnection: upgrade\r\n"
        b"Upgrade: x\r\n\r\n"
    )
    assert [event.stream for event in codec.resume()] == [3, 3]


def test_what_a_refused_upgrade_left_is_dropped_on_close():
    codec = server()
    codec.receive(WS + GET)
    codec.go_away()
    assert codec.buffered == len(GET)
    reply(codec, 1)
    assert codec.buffered == 0


# -- the client's side -------------------------------------------------------


def client(method=b"GET", limits=LIMITS):
    codec = fresh_client(limits)
    codec.send(ask(method))
    codec.send(End(1))
    codec.take_output()
    return codec


def test_a_request_is_written_as_it_is():
    codec = fresh_client()
    fields = H + b"b: 2\r\nConnection: x\r\nContent-Length: 007\r\nExpect: 100-continue"
    codec.send(ask(b"PUT", length(7), fields + b"\r\nA: 1\r\n"))
    codec.send(Body(1, b"content"))
    codec.send(End(1))
    assert codec.take_output() == (
        b"PUT /p?q HTTP/1.1\r\n" + H + b"b: 2\r\nContent-Length: 7\r\n"
        b"Expect: 100-continue\r\nA: 1\r\n\r\ncontent"
    )
    assert codec.take_output() == b""


def test_a_stream_is_written_in_chunks():
    codec = fresh_client()
    codec.send(ask(b"PUT", STREAM, H + b"Content-Length: 7\r\n"))
    codec.send(Body(1, b"content"))
    codec.send(End(1))
    assert codec.take_output() == (
        b"PUT /p?q HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n"
        b"7\r\ncontent\r\n0\r\n\r\n"
    )


def test_an_upgrade_is_offered_for_this_hop():
    codec = fresh_client()
    codec.send(ask(fields=H + b"Upgrade: a, b\r\n", upgrade=b"a"))
    assert codec.take_output() == (
        b"GET /p?q HTTP/1.1\r\n" + H + b"Connection: upgrade\r\nUpgrade: a\r\n\r\n"
    )


RESPONSES = [
    # method, response, content, reusable
    (b"GET", b"200 OK\r\nContent-Length: 2\r\n\r\nOK", b"OK", True),
    (b"GET", b"200 OK\r\nContent-Length: 0\r\n\r\n", b"", True),
    (
        b"GET",
        b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nO\r\n1\r\nK\r\n0\r\n\r\n",
        b"OK",
        True,
    ),
    (b"HEAD", b"200 OK\r\nContent-Length: 2\r\n\r\n", b"", True),
    (b"HEAD", b"200 OK\r\n\r\n", b"", True),
    (b"GET", b"204 No\r\nContent-Length: 2\r\n\r\n", b"", True),
    (b"GET", b"304 No\r\nContent-Length: 2\r\n\r\n", b"", True),
    (b"GET", b"200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK", b"OK", 0),
]


@pytest.mark.parametrize(("method", "wire", "content", "reusable"), RESPONSES)
def test_responses_are_the_same_however_they_are_cut(method, wire, content, reusable):
    wire = b"HTTP/1.1 " + wire
    for pieces in cuts.segmentations(wire):
        codec = client(method)
        events = merged(event for data in pieces for event in codec.receive(data))
        assert isinstance(events[0], ResponseHead)
        assert events[-1] == End(1)
        assert events[1:-1] == ([Body(1, content)] if content else [])
        assert codec.reusable == bool(reusable)
        assert codec.buffered == 0
        assert codec.receive_eof() == []
        assert not codec.reusable


@pytest.mark.parametrize(("method", "wire", "content", "reusable"), RESPONSES)
def test_surplus_spoils_the_connection(method, wire, content, reusable):
    wire = b"HTTP/1.1 " + wire
    for pieces in ([wire + b"x"], [wire, b"x"]):
        codec = client(method)
        events = merged(event for data in pieces for event in codec.receive(data))
        assert events[-1] == End(1)
        assert not codec.reusable
        assert codec.buffered == 0


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_content_until_close(version):
    codec = client()
    (head,) = codec.receive(b"HTTP/" + version + b" 200 OK\r\n\r\n")
    assert head.body == STREAM
    assert codec.receive(b"O") == [Body(1, b"O")]
    assert codec.receive(b"K") == [Body(1, b"K")]
    assert codec.receive_eof() == [End(1)]
    assert not codec.reusable
    assert codec.receive_eof() == []


def test_a_1_0_response_is_the_last():
    codec = client()
    events = codec.receive(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nOK")
    assert events[-1] == End(1)
    assert not codec.reusable


def test_the_size_of_a_response_is_not_limited():
    wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFF\r\n"
    codec = client(limits=replace(LIMITS, body_size=10))
    assert codec.receive(wire + b"x" * 0xFFFF)[1] == Body(1, b"x" * 0xFFFF)


def test_interim_responses_come_before_the_final_one():
    wire = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n"
        b"Content-Length: 4\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    )
    for pieces in cuts.segmentations(wire):
        codec = client()
        events = [event for data in pieces for event in codec.receive(data)]
        assert [event.status for event in events[:-1]] == [100, 103, 200]
        assert events[0].body == events[1].body == NO_BODY
        assert codec.reusable


def test_an_early_response_is_delivered_and_not_reusable():
    codec = fresh_client()
    codec.send(ask(b"POST", length(5)))
    codec.send(Body(1, b"h"))
    wire = b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n"
    assert codec.receive(wire)[-1] == End(1)
    assert not codec.reusable
    codec.send(Body(1, b"ello"))
    codec.send(End(1))
    assert codec.reusable


def test_events_bear_the_stream_of_the_request():
    codec = fresh_client()
    codec.send(ask(stream=9))
    codec.send(End(9))
    events = codec.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
    assert [event.stream for event in events] == [9, 9, 9]


@pytest.mark.parametrize("early", [b"", b"GET / HTTP"])
def test_after_a_101_bytes_are_the_tunnels(early):
    wire = b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n" + early
    for pieces in cuts.segmentations(wire):
        codec = fresh_client()
        codec.send(ask(upgrade=b"a"))
        codec.send(End(1))
        events = [event for data in pieces for event in codec.receive(data)]
        assert [(event.status, event.upgrade) for event in events] == [(101, b"a")]
        assert codec.buffered == len(early)
        assert codec.receive_eof() == []
        assert codec.switch() == early
        assert codec.switch() == b""
        assert not codec.reusable
        with pytest.raises(LocalProtocolError):
            codec.send(Body(1, b"x"))


def test_switching_without_a_101_is_our_bug():
    with pytest.raises(LocalProtocolError):
        client().switch()


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", ErrorCode.RESPONSE_INVALID),
        (b"HTTP/2.0 200 OK\r\n", ErrorCode.RESPONSE_INVALID),
        (b"HTTP/1.1 200 " + b"x" * 70000, ErrorCode.RESPONSE_TOO_LARGE),
    ],
)
def test_a_wrong_response_head(wire, code):
    for pieces in ([wire], [wire[:9], wire[9:]], cuts.bytewise(wire)):
        codec = client()
        events = [event for data in pieces for event in codec.receive(data)]
        assert merged(events) == [(1, code)]
        assert codec.buffered == 0
        assert codec.receive_eof() == []
        assert not codec.reusable


def test_wrong_content_of_a_response():
    wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nOKXX"
    for pieces in cuts.segmentations(wire):
        codec = client()
        events = merged(event for data in pieces for event in codec.receive(data))
        assert events[1:] == [Body(1, b"OK"), (1, ErrorCode.RESPONSE_INVALID)]


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"", ErrorCode.BACKEND_CLOSED),
        (b"HTTP/1.1 2", ErrorCode.RESPONSE_INCOMPLETE),
        (b"HTTP/1.1 103 E\r\n\r\n", ErrorCode.RESPONSE_INCOMPLETE),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nO",
            ErrorCode.RESPONSE_INCOMPLETE,
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            ErrorCode.RESPONSE_INCOMPLETE,
        ),
    ],
)
def test_a_response_cut_short(wire, code):
    codec = client()
    if wire:
        codec.receive(wire)
    assert merged(codec.receive_eof()) == [(1, code)]
    assert not codec.reusable


def test_bytes_before_any_request_are_no_response():
    codec = fresh_client()
    events = codec.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert merged(events) == [(1, ErrorCode.RESPONSE_INVALID)]


@pytest.mark.parametrize(
    "wrong",
    [
        [Body(1, b"x")],
        [End(1)],
        [ask(), ask()],
        [ask(), Body(1, b"x")],
        [ask(body=length(1)), End(1)],
    ],
)
def test_a_wrong_order_of_a_request_is_our_bug(wrong):
    codec = fresh_client()
    *fine, last = wrong
    for event in fine:
        codec.send(event)
    with pytest.raises(LocalProtocolError):
        codec.send(last)


def test_what_h11_alone_refuses_is_an_error_like_any(monkeypatch, kind):
    if kind != "h11":
        return

    def refuse(_self):
        raise h11.RemoteProtocolError("no")

    ours, theirs = server(), client()
    monkeypatch.setattr(h11.Connection, "next_event", refuse)
    assert merged(ours.receive(GET)) == [(1, ErrorCode.SYNTAX)]
    wire = b"HTTP/1.1 200 OK\r\n\r\n"
    assert merged(theirs.receive(wire)) == [(1, ErrorCode.RESPONSE_INVALID)]


def test_whole_chunks_pass_as_they_came(kind):
    chunk = b"10\r\n" + b"x" * 16 + b"\r\n"
    wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 2
    head, body = client().receive(wire)
    codec = server()
    codec.receive(GET)
    codec.send(head)
    codec.take_output()
    codec.send(body)
    codec.send(End(1))
    anew = b"20\r\n" + b"x" * 32 + b"\r\n"
    whole = {"native": chunk * 2, "h11": anew}[kind]
    assert codec.take_output() == whole + b"0\r\n\r\n"


def test_a_response_may_come_in_many_small_chunks():
    wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    codec = client()
    codec.receive(wire)
    assert codec.receive(b"1\r\nx\r\n" * 2000) == [Body(1, b"x" * 2000)]


def test_both_keep_their_protocols():
    ours: ServerCodec = server()
    theirs: ClientCodec = client()
    assert ours.buffered == theirs.buffered == 0


# -- the catalogue of byte streams -------------------------------------------

VECTORS = Path(__file__).parents[2] / "scenario" / "data" / "vectors.jsonl"
POLICY = {
    # Refused, but not by the grammar.
    "lim-body-timeout",
    "lim-connections",
    "lim-head-drip",
    "mxf-options-0",
    "via-loop",
}
REFUSALS = {400, 405, 413, 414, 417, 431, 501, 505}
OPTIONS = {
    "max_body": "body_size",
    "max_chunk_ext": "chunk_extensions",
    "max_header_bytes": "header_size",
    "max_headers": "header_count",
}


def load():
    vectors = [json.loads(line) for line in VECTORS.read_text("utf-8").splitlines()]
    return [
        pytest.param(vector, id=vector["id"])
        for vector in vectors
        if "steps" not in vector and vector["id"] not in POLICY
    ]


def octets(vector):
    if "client_bytes_b64" in vector:
        return base64.b64decode(vector["client_bytes_b64"])
    return vector["client_text"].encode("latin-1")


@pytest.mark.parametrize("vector", load())
def test_a_vector_is_judged_alike_however_it_is_cut(vector):
    wire = octets(vector)
    config = vector.get("config", {})
    known = {OPTIONS[key]: config[key] for key in config if key in OPTIONS}
    limits = CodecLimits(**known)
    found = converse(server(limits), [wire], eof=True)
    resets = [event for event in found if isinstance(event, tuple)]
    heads = [event for event in found if isinstance(event, RequestHead)]
    expect = vector["expect"]
    status = expect["status"]
    allowed = {status} if isinstance(status, int) else set(status)
    if not expect["forwarded"]:
        assert len(resets) == 1, found
        assert VERDICTS[resets[0][1]].status in allowed & REFUSALS
    elif not resets and "requests_out" in expect:
        # A request that only tunnels would carry on is one more here.
        assert len(heads) >= expect["requests_out"]
    assert converse(server(limits), cuts.bytewise(wire), eof=True) == found
    every = max(1, len(wire) // 2000)
    for place in range(1, len(wire), every):
        pieces = [wire[:place], wire[place:]]
        assert converse(server(limits), pieces, eof=True) == found


# -- what we write is what was meant -----------------------------------------

names = st.sampled_from([b"A", b"x-b", b"Set-Cookie", b"ETAG", b"Via", b"Warning"])
texts = st.binary(max_size=12).map(
    lambda raw: bytes(c for c in raw if 32 <= c != 127).strip()
)
extra = st.lists(st.tuples(names, texts), max_size=4)
contents = st.lists(st.binary(min_size=1, max_size=40), max_size=4)


def judge(role, wire, method=None):
    """Let h11 parse; return the head, the content and whether it ended."""
    parser = h11.Connection(role)
    if role is h11.CLIENT:
        parser.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        parser.send(h11.EndOfMessage())
    parser.receive_data(wire)
    head, content = parser.next_event(), b""
    while isinstance(event := parser.next_event(), h11.Data):
        content += event.data
    assert parser.trailing_data[0] == b""
    return head, content, isinstance(event, h11.EndOfMessage)


@given(extra, contents, st.booleans())
def test_requests_mean_to_h11_what_was_meant(fields, parts, streamed):
    content = b"".join(parts)
    body = STREAM if streamed else length(len(content))
    headers = Headers.from_pairs([(b"Host", b"a.example"), *fields])
    codec = fresh_client()
    codec.send(ask(b"PUT", body, headers.wire()))
    for part in parts:
        codec.send(Body(1, part))
    codec.send(End(1))
    wire = codec.take_output()
    head, found, ended = judge(h11.SERVER, wire)
    assert (head.method, head.target, found, ended) == (b"PUT", b"/p?q", content, True)
    assert head.headers.raw_items()[: len(fields) + 1] == list(headers.raw_items())
    assert len(head.headers) == len(fields) + 2
    # Our own gate takes it for the same.
    ours, *rest = merged(server().receive(wire))
    assert (ours.body, ours.target) == (body, b"/p?q")
    assert rest == [*([Body(1, content)] if content else []), End(1)]


@given(extra, contents, st.booleans(), st.booleans())
def test_responses_mean_to_h11_what_was_meant(fields, parts, streamed, last):
    content = b"".join(parts)
    body = STREAM if streamed else length(len(content))
    headers = Headers.from_pairs(fields)
    codec = server()
    codec.receive(GET)
    if last:
        codec.go_away()
    codec.send(ResponseHead(1, 200, b"Fine", headers, body, Version.HTTP11))
    for part in parts:
        codec.send(Body(1, part))
    codec.send(End(1))
    wire = codec.take_output()
    head, found, ended = judge(h11.CLIENT, wire, "GET")
    assert (head.status_code, head.reason, found) == (200, b"Fine", content)
    assert ended
    assert head.headers.raw_items()[: len(fields)] == list(headers.raw_items())
    assert ((b"connection", b"close") in list(head.headers)) == last
    codec = client()
    ours, *rest = merged(codec.receive(wire))
    assert ours.body == body
    assert rest == [*([Body(1, content)] if content else []), End(1)]
    assert codec.reusable != last


@given(
    st.lists(
        st.sampled_from([GET, WS, CHUNKED, b"5\r\nhello\r\n", b"0\r\n\r\n", b"\r\n"])
        | st.binary(max_size=8),
        max_size=8,
    ).map(b"".join),
    st.lists(st.integers(1, 300), max_size=5),
)
def test_any_stream_means_the_same_however_it_is_cut(wire, places):
    expected = converse(server(), [wire] if wire else [], eof=True)
    assert converse(server(), cuts.bytewise(wire), eof=True) == expected
    assert converse(server(), cuts.at(wire, places), eof=True) == expected
    resets = [event for event in expected if isinstance(event, tuple)]
    assert resets in ([], expected[-1:])


@given(st.lists(st.binary(min_size=1, max_size=3000), max_size=10))
def test_what_is_kept_is_bounded(reads):
    codec = server()
    for data in reads:
        if codec.want_read():
            codec.receive(data)
        assert codec.buffered <= LIMITS.header_size + 3000
