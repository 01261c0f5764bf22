"""Hypothesis strategies for HTTP/1.1 and for the ways in which it goes wrong.

`requests` and `responses` draw a message together with what it means, so that
what comes out at the other end can be compared with the meaning rather than with
the bytes. `mutated` breaks a stream in the ways in which attackers do: swapped
line ends, doubled and moved lines, stray bytes. `pieces` divides bytes into reads.

This module needs hypothesis; nothing else of lbproto does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hypothesis import strategies as st

from lbproto.machine.values import value
from lbproto.testing import cuts

__all__ = ["Meaning", "mutated", "pieces", "requests", "responses"]

TCHAR: Final = b"!#$%&'*+-.^`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFXYZ"
FRAMING: Final = (
    b"content-length",
    b"transfer-encoding",
    b"connection",
    b"host",
    b"upgrade",
    b"expect",
    b"te",
    b"trailer",
    b"keep-alive",
    b"via",
    b"forwarded",
    b"date",
    b"max-forwards",
)

bodies: Final = st.binary(max_size=300) | st.sampled_from(
    [b"", b"0\r\n\r\n", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", b"x" * 5000]
)


@value
class Meaning:
    """A message, apart from how it is framed."""

    wire: bytes
    start: tuple[bytes, ...]
    """Method and target, or the status."""
    fields: tuple[tuple[bytes, bytes], ...]
    """End-to-end fields, as they were written."""
    body: bytes
    close: bool
    """The sender asks for the connection to end."""


@st.composite
def field_names(draw: st.DrawFn) -> bytes:
    """Draw a field name that neither frames nor routes."""
    chars = st.sampled_from(list(TCHAR)).map(lambda char: bytes([char]))
    name = b"".join(draw(st.lists(chars, min_size=1, max_size=12)))
    banned = name.lower() in FRAMING or name.lower().startswith((b"x-", b"proxy-"))
    return b"q" + name if banned else name


field_values: Final = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"),
    max_size=20,
).map(
    lambda text: bytes(
        byte for byte in text.encode("latin-1") if byte < 0x7F or byte >= 0x80
    ).strip(b" \t")
)

fields: Final = st.lists(st.tuples(field_names(), field_values), max_size=5)

targets: Final = st.sampled_from(
    [b"/", b"/a?b=c", b"/%0d%0aX:%20y", b"/a/../b//c", b"/a?b=[]|^`{}", b"*"]
)


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    """Frame content in chunks of any size, with extensions and trailers at times."""
    out = b""
    for piece in draw(pieces(body)):
        extension = draw(st.sampled_from([b"", b"", b";a", b";a=b", b' ; a = "q;\\""']))
        size = b"%x" % len(piece)
        size = draw(st.sampled_from([size, size.upper(), b"0" + size]))
        out += size + extension + b"\r\n" + piece + b"\r\n"
    return out + b"0\r\n" + draw(st.sampled_from([b"", b"", b"X-Sum: 1\r\n"])) + b"\r\n"


@st.composite
def requests(draw: st.DrawFn, last: bool = False) -> Meaning:
    """Draw a request; `last`: it may ask for the connection to end."""
    method = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"X"]))
    target = draw(targets)
    if target == b"*":
        method = b"OPTIONS"
    mine = draw(fields)
    close = last and draw(st.booleans())
    body = draw(bodies)
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    lines = [b"Host: a.example", *(name + b": " + text for name, text in mine)]
    if close:
        lines.insert(draw(st.integers(0, len(lines))), b"Connection: close")
    payload = b""
    if framing == "none":
        body = b""
    elif framing == "length":
        lines.append(b"Content-Length: %d" % len(body))
        payload = body
    else:
        lines.append(b"Transfer-Encoding: chunked")
        payload = draw(chunked(body))
    head = b"%b %b HTTP/1.1\r\n" % (method, target)
    wire = head + b"\r\n".join(lines) + b"\r\n\r\n" + payload
    return Meaning(wire, (method, target), tuple(mine), body, close)


@st.composite
def responses(draw: st.DrawFn, method: bytes = b"GET") -> Meaning:
    """Draw a response to a method; one until close has `close` set."""
    status = draw(st.sampled_from([b"200", b"404", b"500", b"204", b"304"]))
    mine = draw(fields)
    body = draw(bodies)
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    lines = [name + b": " + text for name, text in mine]
    close = False
    payload = body
    bodiless = method == b"HEAD" or status in (b"204", b"304")
    if bodiless:
        body, payload = b"", b""
    elif framing == "length":
        lines.append(b"Content-Length: %d" % len(body))
    elif framing == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
        payload = draw(chunked(body))
    else:
        close = True
    head = b"HTTP/1.1 %b Some Reason\r\n" % status
    wire = head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + payload
    return Meaning(wire, (status,), tuple(mine), body, close)


@st.composite
def pieces(draw: st.DrawFn, data: bytes) -> Sequence[bytes]:
    """Divide bytes into a few reads; none is empty."""
    if not data:
        return []
    places = draw(st.lists(st.integers(0, len(data)), max_size=6))
    return cuts.at(data, places)


TOKENS: Final = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\0",
    b":",
    b";",
    b",",
    b"0\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Connection: close\r\n",
    b"Upgrade: websocket\r\nConnection: upgrade\r\n",
    b"Expect: 100-continue\r\n",
    b"Host: b.example\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n",
    b"HTTP/1.0",
    b"\x80",
    b"_",
)


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """Break a stream in up to three places."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["insert", "delete", "double", "swap", "flip"]))
        if kind == "insert":
            data = data[:at] + draw(st.sampled_from(TOKENS)) + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + draw(st.integers(1, 8)) :]
        elif kind == "double":
            end = data.find(b"\r\n", at) + 2
            data = data[:end] + data[at:end] + data[end:]
        elif kind == "swap":
            data = data[:at] + data[at:].replace(b"\r\n", b"\n", 1)
        elif at < len(data):
            data = data[:at] + bytes([data[at] ^ 0x20]) + data[at + 1 :]
    return data
