"""Two codecs and two other parsers on many broken streams: they never disagree.

Streams are drawn from the catalogue of vectors and from messages that are right,
broken by the mutations that attackers use, and cut at random. Both codecs must give
the same events and write the same bytes; and what is written for what they took
must mean to h11 and to llhttp what it means to us.

`LBPROTO_STREAMS` sets how many streams there are.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

import h11
import httptools
import pytest

from lbproto.config import Service
from lbproto.framing.codec import ClientCodec, CodecLimits, ServerCodec
from lbproto.framing.codecs import Framing
from lbproto.framing.headers import Headers
from lbproto.framing.messages import (
    NO_BODY,
    Body,
    End,
    HttpEvent,
    RequestHead,
    Reset,
    ResponseHead,
    Version,
    length,
)
from lbproto.machine.events import PeerInfo
from lbproto.rewriting.outgoing import downstream_response, upstream_request
from lbproto.rewriting.policy import HeadPolicy
from lbproto.testing import cuts
from tests.scenario import vectors

STREAMS = int(os.environ.get("LBPROTO_STREAMS", "20000"))
BATCHES = 20
LIMITS = CodecLimits(
    request_line=300,
    header_size=600,
    header_count=12,
    body_size=400,
    chunk_extensions=40,
    trailer_size=60,
    keep_trailers=True,
    response_header_size=700,
)
NATIVE, JUDGE = Framing("native", LIMITS), Framing("h11", LIMITS)
PEER = PeerInfo("192.0.2.1", 4711, "127.0.0.1:80")
SERVICE = Service(name="web", upstream="web")

CATALOGUE = [
    data
    for vector in vectors.load()
    for data in (vectors.octets(vector, "client"), vectors.octets(vector, "backend"))
    if 0 < len(data) < 1500
]
ASKED = [data for data in CATALOGUE if not data.startswith(b"HTTP")]
ANSWERED = [data for data in CATALOGUE if data.startswith(b"HTTP")]
REQUEST_STARTS = [
    b"GET / HTTP/1.1",
    b"POST /p?q=1 HTTP/1.1",
    b"HEAD /%20 HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"PUT http://b.example:81/x HTTP/1.1",
    b"GET / HTTP/1.0",
    b"BREW /pot HTTP/1.2",
]
RESPONSE_STARTS = [
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 404 ",
    b"HTTP/1.1 304 Not Modified",
    b"HTTP/1.1 204",
    b"HTTP/1.0 200 OK",
    b"HTTP/1.1 103 Early Hints",
    b"HTTP/1.1 500 \xe9",
]
FIELDS = [
    b"Host: a.example",
    b"host: a.example:8080",
    b"HOST: [::1]:80",
    b"Host:a",
    b"Connection: keep-alive",
    b"connection: Close",
    b"Connection: close, X-Foo",
    b"Connection: upgrade\r\nUpgrade: websocket",
    b"Keep-Alive: timeout=5",
    b"Content-Length: 5",
    b"content-length: 0",
    b"Content-Length: 005",
    b"Content-Length: 5, 5",
    b"Transfer-Encoding: chunked",
    b"TRANSFER-ENCODING: Chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"TE: trailers",
    b"Trailer: X-Sum",
    b"Date: Mon, 23 Nov 2026 09:14:00 GMT",
    b"Via: 1.0 fred",
    b"Expect: 100-continue",
    b"X-Forwarded-For: 6.6.6.6",
    b"x-forwarded_host: evil",
    b"X-Real-IP: 6.6.6.6",
    b"Forwarded: for=6.6.6.6",
    b"Proxy-Connection: keep-alive",
    b"Close: x",
    b"X-Foo: bar",
    b"User-Agent: Mozilla/5.0 (X11; Linux)",
    b"Cookie: a_b=c; d=\xff",
    b"Set-Cookie: a=b",
    b"Upgrade-Insecure-Requests: 1",
    b"Empty:",
    b"Odd:\t  spaced  ",
    b"X_Under: score",
]
COMMON = [
    field
    for field in FIELDS
    if field.partition(b":")[0].lower()
    in {
        b"connection",
        b"content-length",
        b"transfer-encoding",
        b"date",
        b"keep-alive",
        b"cookie",
        b"user-agent",
        b"set-cookie",
        b"upgrade-insecure-requests",
        b"empty",
        b"x-foo",
    }
    and b", " not in field.partition(b":")[2]
    and b"upgrade" not in field.partition(b":")[2]
]
BODIES = [
    b"",
    b"hello",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n",
    b"1;a=b\r\nx\r\n00\r\n\r\n",
    b"f" * 90,
    b"10\r\n0123456789abcdef\r\n0\r\n\r\n",
    b"1F\r\n" + b"x" * 31 + b"\r\n10\r\n0\r\n\r\n0\r\n\r\n0123\r\n0\r\n\r\n",
]
TOKENS = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\0",
    b":",
    b";",
    b",",
    b"_",
    b"\x7f",
    b"\x80",
    b"5\r\n",
    b"0\r\n\r\n",
    b"\r\n\r\n",
    b"HTTP/1.0",
    *(field + b"\r\n" for field in FIELDS),
]


def message(rng: random.Random, starts: Sequence[bytes]) -> bytes:
    # Half of them are such as nearly all are, before they are broken.
    source = FIELDS if rng.random() < 0.5 else COMMON
    fields = rng.sample(source, rng.choice([0, 1, 2, 3, 4, 7]))
    if starts is REQUEST_STARTS:
        fields.insert(rng.randrange(len(fields) + 1), rng.choice(FIELDS[:2]))
    head = b"\r\n".join([rng.choice(starts), *fields, b"", b""])
    return head + rng.choice(BODIES)


def stream(rng: random.Random, starts: Sequence[bytes], known: list[bytes]) -> bytes:
    parts = [
        rng.choice(known) if rng.random() < 0.3 else message(rng, starts)
        for _ in range(rng.choice([1, 1, 2, 3]))
    ]
    data = b"".join(parts)
    for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
        data = broken(rng, data)
    return data


def broken(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    match rng.randrange(7):
        case 0:
            return data[:at] + rng.choice(TOKENS) + data[at:]
        case 1:
            return data[:at] + data[at + rng.randint(1, 8) :]
        case 2:  # a line twice
            end = data.find(b"\r\n", at) + 2
            return data[:end] + data[at:end] + data[end:]
        case 3:
            return data[:at] + data[at:].replace(b"\r\n", b"\n", 1)
        case 4:
            changed = data[at : at + 1].swapcase() or b"x"
            return data[:at] + changed + data[at + 1 :]
        case 5:  # a field behind some line
            end = data.find(b"\r\n", at) + 2
            return data[:end] + rng.choice(FIELDS) + b"\r\n" + data[end:]
        case _:
            flipped = bytes((rng.randrange(256),))
            return data[:at] + flipped + data[at + 1 :]


def pieces(rng: random.Random, data: bytes) -> list[bytes]:
    if rng.random() < 0.5:
        return [data]
    places = [rng.randrange(len(data) + 1) for _ in range(rng.randint(1, 4))]
    return cuts.at(data, places)


def merged(events: list[HttpEvent]) -> list[object]:
    out: list[object] = []
    for event in events:
        last = out[-1] if out else None
        if isinstance(event, Body) and isinstance(last, Body):  # forgets the chunks
            out[-1] = Body(event.stream, last.data + event.data)
        elif isinstance(event, Reset):
            out.append((event.stream, event.error))
        else:
            out.append(event)
    return out


def kept(codec: ServerCodec | ClientCodec, events: list[HttpEvent]) -> int:
    """Tell what is buffered; nobody looks at it after an error."""
    return 0 if events and isinstance(events[-1], Reset) else codec.buffered


def as_server(framing: Framing, reads: list[bytes]) -> tuple[object, ...]:
    """Read requests, answer each, and tell all that can be seen."""
    codec = framing.server()
    events: list[HttpEvent] = []
    out = b""
    for data in reads:
        found = codec.receive(data)
        events += found
        while found and isinstance(found[-1], End):
            stream = found[-1].stream
            head = ResponseHead(
                stream, 200, b"OK", Headers(), length(2), Version.HTTP11
            )
            codec.send(head)
            asked = [one for one in events if isinstance(one, RequestHead)]
            if asked[-1].method != b"HEAD":
                codec.send(Body(stream, b"OK"))
            codec.send(End(stream))
            out += codec.take_output()
            if codec.closing:
                break
            found = codec.resume()
            events += found
    facts = (codec.closing, codec.idle, codec.want_read(), kept(codec, events))
    events += codec.receive_eof()
    return merged(events), facts, codec.closing, out


def as_client(
    framing: Framing, reads: list[bytes], method: bytes
) -> tuple[object, ...]:
    """Read a response, and tell all that can be seen."""
    codec = framing.client()
    codec.send(
        RequestHead(
            1,
            method,
            b"/",
            b"a",
            b"http",
            Headers(b"Host: a\r\n"),
            NO_BODY,
            Version.HTTP11,
        )
    )
    codec.send(End(1))
    events: list[HttpEvent] = []
    for data in reads:
        events += codec.receive(data)
    facts = (codec.reusable, kept(codec, events))
    events += codec.receive_eof()
    return merged(events), facts, codec.take_output()


class LlhttpView:
    """What llhttp reads."""

    def __init__(self, parser: type) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.content = b""
        self.complete = False
        self.parser = parser(self)

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.strip(b" \t")))

    def on_body(self, data: bytes) -> None:
        self.content += data

    def on_message_complete(self) -> None:
        assert not self.complete, "a second message"
        self.complete = True


def h11_view(role: type, wire: bytes, method: bytes = b"GET") -> tuple[object, ...]:
    judge = h11.Connection(role)
    if role is h11.CLIENT:
        judge.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        judge.send(h11.EndOfMessage())
    judge.receive_data(wire)
    head, content = judge.next_event(), b""
    while isinstance(event := judge.next_event(), h11.Data):
        content += event.data
    assert isinstance(event, h11.EndOfMessage), event
    assert judge.trailing_data[0] == b""
    return head, content


def check_request_out(head: RequestHead, body: Body | None) -> None:
    """What goes to a backend means to two others what it means to us."""
    out = upstream_request(head, PEER, HeadPolicy(SERVICE))
    if out.upgrade and out.body not in (NO_BODY, length(0)):
        return  # an exchange refuses that: parsers take the content for a tunnel's
    content = b"" if body is None else body.data
    wires = []
    for framing in (NATIVE, JUDGE):
        codec = framing.client()
        codec.send(out)
        if body is not None:
            codec.send(body)
        codec.send(End(1))
        wires.append(codec.take_output())
    wire = wires[0]
    assert wires[1] == wire or (body is not None and body.chunks)
    seen, read = h11_view(h11.SERVER, wire)
    assert (seen.method, seen.target, read) == (out.method, out.target, content)
    fields = seen.headers.raw_items()
    llhttp = LlhttpView(httptools.HttpRequestParser)
    try:
        llhttp.parser.feed_data(wire)
    except httptools.HttpParserUpgrade:
        llhttp.complete = True
    except httptools.HttpParserInvalidMethodError:
        return  # it knows a list of methods, and no others
    assert llhttp.complete
    assert llhttp.parser.get_method() == out.method
    assert (llhttp.target, llhttp.content) == (out.target, content)
    assert llhttp.fields == fields
    names = [name.lower() for name, _ in fields]
    assert names.count(b"host") == 1
    framed = names.count(b"content-length") + names.count(b"transfer-encoding")
    assert framed == (out.body != NO_BODY)
    for name in (b"te", b"keep-alive", b"proxy-connection", b"close"):
        assert name not in names


def check_response_out(head: ResponseHead, body: Body | None, method: bytes) -> None:
    """What goes to a client means to two others what it means to us."""
    asked = RequestHead(
        1, method, b"/", b"a", b"http", Headers(), NO_BODY, Version.HTTP11
    )
    out = downstream_response(head, asked, PEER, HeadPolicy(SERVICE), b"now")
    content = b"" if body is None else body.data
    wires = []
    for framing in (NATIVE, JUDGE):
        codec = framing.server()
        codec.receive(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
        codec.send(out)
        if body is not None:
            codec.send(body)
        codec.send(End(1))
        wires.append(codec.take_output())
    wire = wires[0]
    assert wires[1] == wire or (body is not None and body.chunks)
    seen, read = h11_view(h11.CLIENT, wire, method)
    assert (seen.status_code, read) == (out.status, content)
    if method == b"HEAD":
        return  # llhttp is not told what was asked
    llhttp = LlhttpView(httptools.HttpResponseParser)
    llhttp.parser.feed_data(wire)
    assert llhttp.complete
    assert llhttp.parser.get_status_code() == out.status
    assert llhttp.content == content
    assert llhttp.fields == seen.headers.raw_items()


@pytest.mark.parametrize("seed", range(BATCHES))
def test_codecs_agree_on_broken_requests(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(STREAMS // BATCHES // 2):
        data = stream(rng, REQUEST_STARTS, ASKED)
        reads = pieces(rng, data)
        ours, theirs = as_server(NATIVE, reads), as_server(JUDGE, reads)
        assert ours == theirs, data
        events = ours[0]
        assert isinstance(events, list)
        if End(1) in events[1:3] and isinstance(events[0], RequestHead):
            body = events[1]
            check_request_out(events[0], body if isinstance(body, Body) else None)


@pytest.mark.parametrize("seed", range(BATCHES))
def test_codecs_agree_on_broken_responses(seed: int) -> None:
    rng = random.Random(1000 + seed)
    for _ in range(STREAMS // BATCHES // 2):
        data = stream(rng, RESPONSE_STARTS, ANSWERED)
        reads = pieces(rng, data)
        method = rng.choice([b"GET", b"GET", b"POST", b"HEAD"])
        ours = as_client(NATIVE, reads, method)
        assert ours == as_client(JUDGE, reads, method), data
        events = ours[0]
        assert isinstance(events, list)
        head = events[0] if events else None
        if not isinstance(head, ResponseHead) or head.status < 200:
            continue
        if End(1) in events[1:3]:
            body = events[1]
            check_response_out(head, body if isinstance(body, Body) else None, method)
