"""The PROXY protocol, for every header and for every damage to one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.fuzz_proxy_protocol import one_input, read
from lbproto.framing.proxy_protocol import (
    MAX_LENGTH,
    MAX_LINE,
    Endpoint,
    ProxyHeader,
    ProxyHeaderReader,
    encode_v1,
    encode_v2,
)
from lbproto.machine.errors import RemoteProtocolError
from lbproto.testing import cuts

Pair: TypeAlias = tuple[Endpoint, Endpoint]
Tlvs: TypeAlias = list[tuple[int, bytes]]
Encoder: TypeAlias = Callable[[Endpoint | None, Endpoint | None], bytes]

PORTS = st.integers(0, 65535)
IPV4 = st.builds(Endpoint, st.ip_addresses(v=4).map(str), PORTS)
# `str` writes addresses of ::ffff:0:0/96 differently from one Python to the next.
IPV6 = st.builds(
    Endpoint,
    st.ip_addresses(v=6).filter(lambda one: one.ipv4_mapped is None).map(str)
    | st.ip_addresses(v=4).map("::ffff:{}".format),
    PORTS,
)
PAIRS = st.tuples(IPV4, IPV4) | st.tuples(IPV6, IPV6)
ENCODERS = st.sampled_from([encode_v1, encode_v2])
TLVS = st.lists(
    st.tuples(st.integers(0, 255).filter(lambda kind: kind != 3), st.binary()),
    max_size=8,
)


def with_tlvs(pair: Pair, tlvs: Tlvs) -> bytes:
    """Put TLVs behind the addresses of a version 2 header."""
    header = encode_v2(*pair)
    extra = b"".join(
        bytes([kind]) + len(content).to_bytes(2, "big") + content
        for kind, content in tlvs
    )
    size = len(header) - 16 + len(extra)
    return header[:14] + size.to_bytes(2, "big") + header[16:] + extra


HEADERS = (
    st.builds(lambda encode, pair: encode(*pair), ENCODERS, PAIRS)
    | st.builds(with_tlvs, PAIRS, TLVS)
    | st.sampled_from([encode_v1(None, None), encode_v2(None, None)])
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a header that was right before something happened to it."""
    data = bytearray(draw(HEADERS))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                data[at:at] = draw(st.sampled_from([b" ", b"0", b"\r", b":", b"\0"]))
            case 2:
                del data[at : at + draw(st.integers(1, 4))]
            case _:
                data[at:at] = data[at : at + draw(st.integers(1, 20))]
    return bytes(data)


@given(ENCODERS, PAIRS, st.binary())
def test_what_is_written_is_read(encode: Encoder, pair: Pair, rest: bytes) -> None:
    data = encode(*pair) + rest
    assert read([data]) == (ProxyHeader(*pair), rest)


@given(PAIRS, TLVS, st.binary())
def test_tlvs_change_nothing(pair: Pair, tlvs: Tlvs, rest: bytes) -> None:
    data = with_tlvs(pair, tlvs) + rest
    assert read([data]) == (ProxyHeader(*pair), rest)


@given(ENCODERS, IPV4, IPV6, st.booleans())
def test_unlike_addresses_are_read_as_ipv6(
    encode: Encoder, four: Endpoint, six: Endpoint, swap: bool
) -> None:
    mapped = Endpoint(f"::ffff:{four.host}", four.port)
    written, found = (four, six), (mapped, six)
    if swap:
        written, found = written[::-1], found[::-1]
    assert read([encode(*written)]) == (ProxyHeader(*found), b"")


@given(HEADERS, st.binary(), st.lists(st.integers(0, 400)))
def test_cuts_do_not_matter(header: bytes, rest: bytes, places: list[int]) -> None:
    data = header + rest
    assert read(cuts.at(data, places)) == read([data])
    assert read([data])[1] == rest


@given(HEADERS)
def test_no_beginning_of_a_header_is_refused_or_taken_for_one(header: bytes) -> None:
    reader = ProxyHeaderReader()
    for octet in cuts.bytewise(header[:-1]):
        assert reader.receive(octet) is None
    assert reader.buffered == len(header) - 1
    assert isinstance(reader.receive(header[-1:]), ProxyHeader)


@given(damaged(), st.sampled_from([b"", b"\r\n", b"GET / HTTP/1.1\r\n\r\n"]))
def test_damage_is_judged_alike_however_it_is_cut(data: bytes, rest: bytes) -> None:
    one_input(data + rest)


@given(st.binary() | st.binary().map(lambda data: encode_v2(None, None)[:12] + data))
@example(b"PROXY UNKNOWN " + b"a" * 200)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    one_input(data)


@given(
    st.sampled_from([b"PROXY UNKNOWN ", b"PROXY TCP6 ", b"PROXY TCP4 "]),
    st.text("0123456789abcdef:. ", max_size=200),
)
def test_lines_are_judged_within_their_limit(start: bytes, text: str) -> None:
    data = start + text.encode()
    one_input(data)
    if len(data) >= MAX_LINE:
        assert isinstance(read([data])[0], str)


@given(st.integers(0, 65535), st.lists(st.integers(1, 3000), max_size=40))
def test_a_reader_keeps_no_more_than_a_header(size: int, amounts: list[int]) -> None:
    start = encode_v2(None, None)[:12] + b"\x20\x00" + size.to_bytes(2, "big")
    reader = ProxyHeaderReader()
    sent = 0
    for piece in (start, *(bytes(amount) for amount in amounts)):
        try:
            header = reader.receive(piece)
        except RemoteProtocolError:
            assert size > MAX_LENGTH
            assert reader.buffered == 0
            return
        sent += len(piece)
        if header is not None:
            assert sent >= 16 + size
            assert len(reader.rest) == sent - 16 - size
            assert reader.buffered == 0
            return
        assert reader.buffered == sent < 16 + size
