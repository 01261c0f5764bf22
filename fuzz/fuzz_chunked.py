"""Chunked content by itself: the input is the content of one message, and what follows.

The first byte chooses how tight the limits are. However the bytes are cut, the
content, the place where it ends and what is wrong with it are the same, and no more
is kept than a line may have. What is accepted, a plain reader reads in the same way,
with the same bytes left behind; and what may be passed on as it came is, to h11, whole
chunks of just the content that it came with. Inside a message the native codec and
that made with h11 see the same, whether a client sends it or a backend.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Run as a script, this knows only its own folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

import h11

from fuzz.arena import segmentations
from lbproto.framing.body import ChunkedDecoder
from lbproto.framing.codec import ClientCodec, CodecLimits, ServerCodec
from lbproto.framing.codecs import Framing
from lbproto.framing.headers import Headers
from lbproto.framing.messages import (
    HTTP11,
    NO_BODY,
    Body,
    End,
    HttpEvent,
    RequestHead,
    Reset,
)

__all__ = ["LIMITS", "one_input"]

LIMITS = (
    CodecLimits(),
    CodecLimits(body_size=None, small_chunks=None, chunk_extensions=100),
    CodecLimits(
        body_size=100,
        chunk_extensions=20,
        small_chunks=4,
        trailer_size=40,
        header_count=2,
    ),
)
"""What is accepted; the first byte of an input says which."""
LONGEST_LINE = 16 + 2
"""Size and CRLF, beside the extensions."""
REQUEST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ASKED = RequestHead(
    1, b"GET", b"/", b"a", b"http", Headers(b"Host: a\r\n"), NO_BODY, HTTP11
)


def decode(pieces: list[bytes], limits: CodecLimits) -> tuple[bytes, int, object]:
    """Read content; return it, how much of the input it is, and how it ended."""
    decoder = ChunkedDecoder(limits)
    trailers = limits.trailer_size + len(b"\r\n")  # the line that ends them
    most = max(limits.chunk_extensions + LONGEST_LINE, trailers)
    content, used = b"", 0
    for piece in pieces:
        found = decoder.receive(piece)
        content += found.content
        used += found.used
        if found.chunks:
            passed = judge(found.chunks + b"0\r\n\r\n")
            assert passed == (found.content[: len(passed[0])], b""), "not as it came"
        if found.error is not None:
            return content, -1, str(found.error)
        if found.complete:
            return content, used, "complete"
        assert found.used == len(piece), "bytes are lost"
        assert decoder.buffered <= most, "a line without end is kept"
    return content, used, "incomplete"


def judge(data: bytes) -> tuple[bytes, bytes]:
    """Read chunks with h11; return the content and what is left.

    Raises:
        RemoteProtocolError: of h11; this is no chunked content.
    """
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    parser.receive_data(REQUEST + data)
    content = b""
    parser.next_event()
    while isinstance(event := parser.next_event(), h11.Data):
        content += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage), "h11 waits for more"
    return content, parser.trailing_data[0]


def plainly(data: bytes) -> tuple[bytes, bytes]:
    """Read chunks as RFC 9112 7.1 has them; return the content and what is left.

    h11 does not take white space before an extension, so it cannot be asked.
    """
    content = b""
    while True:
        line, _, data = data.partition(b"\r\n")
        digits = line.partition(b";")[0].rstrip(b" \t")
        assert digits.isalnum(), "a size that is none"
        size = int(digits, 16)
        if size == 0:
            break
        content += data[:size]
        assert data[size : size + 2] == b"\r\n", "no end of a chunk"
        data = data[size + 2 :]
    while line:
        line, _, data = data.partition(b"\r\n")
        assert b":" in line or not line, "a trailer that is none"
    return content, data


def seen(codec: ServerCodec | ClientCodec, head: bytes, body: bytes) -> list[object]:
    """Read a message with a codec; return what it says, without the pieces."""
    out: list[object] = []
    events: list[HttpEvent] = codec.receive(head + body)
    if not any(isinstance(event, Reset) for event in events):
        events += codec.receive_eof()
    content = b""
    for event in events:
        if isinstance(event, Body):
            content += event.data
        elif isinstance(event, Reset):
            out.append(event.error)
        elif isinstance(event, End):
            out.append("end")
    return [content, *out]


def asked(codec: ClientCodec) -> ClientCodec:
    """Send a request, so that a response may come."""
    codec.send(ASKED)
    codec.send(End(1))
    return codec


def one_input(data: bytes) -> None:
    """Check one body."""
    choice, body = (data[0], data[1:]) if data else (0, b"")
    limits = LIMITS[choice % len(LIMITS)]
    first, *others = [decode(pieces, limits) for pieces in segmentations(body)]
    for other in others:
        assert other == first, "the way the bytes are cut matters"
    content, used, end = first
    if end == "complete":
        assert plainly(body) == (content, body[used:]), "another one reads otherwise"
    native, other_one = Framing("native", limits), Framing("h11", limits)
    assert seen(native.server(), REQUEST, body) == seen(
        other_one.server(), REQUEST, body
    ), "the codecs for clients differ"
    assert seen(asked(native.client()), RESPONSE, body) == seen(
        asked(other_one.client()), RESPONSE, body
    ), "the codecs for backends differ"


if __name__ == "__main__":
    from fuzz import engine

    engine.run("fuzz_chunked")
