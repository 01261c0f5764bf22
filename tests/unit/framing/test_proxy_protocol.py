"""The PROXY protocol, byte by byte as its specification writes it."""

from __future__ import annotations

import pytest

from lbproto.framing.proxy_protocol import (
    MAX_LENGTH,
    MAX_LINE,
    Endpoint,
    ProxyHeader,
    ProxyHeaderReader,
    encode_v1,
    encode_v2,
)
from lbproto.machine.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from lbproto.testing import cuts

SIGNATURE = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"
UNKNOWN = ProxyHeader(None, None)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

IPV4 = b"\xc0\xa8\x00\x01\xc0\xa8\x00\x0b\xdc\x04\x01\xbb"
IPV4_HEADER = ProxyHeader(Endpoint("192.168.0.1", 56324), Endpoint("192.168.0.11", 443))
SIX, SIX_TOO = bytes.fromhex("20010db8" + "00" * 11 + "01"), bytes(15) + b"\x01"
IPV6 = SIX + SIX_TOO + b"\xff\xff\x00\x00"
IPV6_HEADER = ProxyHeader(Endpoint("2001:db8::1", 65535), Endpoint("::1", 0))

CRC_OF_HAPROXY = (
    SIGNATURE + b"!\x11\x00\x16\x7f\x00\x00\x01\x7f\x00\x00\x01\xd6\xa8\xd8\xaf"
    b"\x03\x00\x04 \x94b\xfd\x05\x00\x00"
)
"""What haproxy 2.6 sends with `proxy-v2-options crc32c,unique-id`."""


def crc32c(data: bytes) -> int:
    """Divide bit by bit, to have another opinion than a table's."""
    crc = 0xFFFFFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def v2(command: int, family: int, block: bytes) -> bytes:
    size = len(block).to_bytes(2, "big")
    return SIGNATURE + bytes([command, family]) + size + block


def tlv(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + len(content).to_bytes(2, "big") + content


def summed(before: bytes, after: bytes = b"", *, command: int = 0x21) -> bytes:
    """A header over IPv4 with a right CRC32C among its TLVs."""
    empty = v2(command, 0x11, IPV4 + before + tlv(3, bytes(4)) + after)
    at = 16 + len(IPV4) + len(before) + 3
    return empty[:at] + crc32c(empty).to_bytes(4, "big") + empty[at + 4 :]


def read(pieces: list[bytes]) -> tuple[ProxyHeader | str | None, bytes, int]:
    """Return the header or the error, what is left, and how many bytes it took."""
    reader = ProxyHeaderReader()
    taken = 0
    for place, piece in enumerate(pieces, 1):
        taken += len(piece)
        assert reader.rest == b""
        try:
            header = reader.receive(piece)
        except RemoteProtocolError as error:
            left = reader.rest + bytes(reader.buffered)
            return error.detail, left, taken
        if header is not None:
            assert reader.buffered == 0
            return header, reader.rest + b"".join(pieces[place:]), taken
        assert reader.buffered == taken
    return None, b"", taken


def accepted(data: bytes) -> ProxyHeader:
    """Read a header, however cut; no byte of it is superfluous, none behind taken."""
    header, rest, _ = read([data + GET])
    assert isinstance(header, ProxyHeader), header
    assert rest == GET
    for pieces in cuts.segmentations(data + GET):
        assert read(pieces)[:2] == (header, GET)
    assert read(cuts.bytewise(data)) == (header, b"", len(data))
    assert read([data[:-1]])[0] is None
    return header


def refused(wrong: bytes, behind: bytes = GET) -> str:
    """Read what is wrong with its last byte, however cut; return the detail."""
    detail, left, _ = read([wrong + behind])
    assert isinstance(detail, str), detail
    assert left == b"", "bytes are kept after the error"
    assert read(cuts.bytewise(wrong + behind)) == (detail, b"", len(wrong))
    for pieces in cuts.segmentations(wrong + behind):
        assert read(pieces)[0] == detail
    return detail


# -- version 1 -----------------------------------------------------------------


def test_the_line_of_the_specification() -> None:
    line = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"
    assert accepted(line) == IPV4_HEADER
    assert encode_v1(IPV4_HEADER.source, IPV4_HEADER.destination) == line


def test_the_longest_line_over_ipv4() -> None:
    line = b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"
    assert len(line) == 56
    end = Endpoint("255.255.255.255", 65535)
    assert accepted(line) == ProxyHeader(end, end)
    assert encode_v1(end, end) == line


def test_the_longest_line_over_ipv6() -> None:
    host = ":".join(["ffff"] * 8)
    line = f"PROXY TCP6 {host} {host} 65535 65535\r\n".encode()
    assert len(line) == 104
    end = Endpoint(host, 65535)
    assert accepted(line) == ProxyHeader(end, end)
    assert encode_v1(end, end) == line


def test_the_longest_line_of_all() -> None:
    host = b":".join([b"ffff"] * 8)
    line = b"PROXY UNKNOWN %b %b 65535 65535\r\n" % (host, host)
    assert len(line) == MAX_LINE == 107
    assert accepted(line) == UNKNOWN


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN \r\n",
        b"PROXY UNKNOWN  TCP4\t\x00\xff\r\n",
        b"PROXY UNKNOWN 192.168.0.1 192.168.0.11 56324 443\r\n",
    ],
)
def test_of_unknown_all_up_to_crlf_is_ignored(line: bytes) -> None:
    assert accepted(line) == UNKNOWN


@pytest.mark.parametrize(
    ("text", "host"),
    [
        (b"::", "::"),
        (b"::1", "::1"),
        (b"1::", "1::"),
        (b"2001:DB8:0:0::A", "2001:db8::a"),
        (b"0:0:0:0:0:0:0:0", "::"),
        (b"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
        (b"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"),
        (b"::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        (b"::ffff:c000:201", "::ffff:192.0.2.1"),
        (b"1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"),
        (b"fe80::1", "fe80::1"),
    ],
)
def test_ipv6_addresses_become_canonical(text: bytes, host: str) -> None:
    header = accepted(b"PROXY TCP6 " + text + b" ::1 0 10\r\n")
    assert header == ProxyHeader(Endpoint(host, 0), Endpoint("::1", 10))


@pytest.mark.parametrize(
    ("wrong", "seen"),
    [
        # Each is wrong with its last byte.
        (b"G", b"G"),
        (b"\n", b"\n"),
        (b"\x00", b"\x00"),
        (b"p", b"p"),
        (b"PO", b"PO"),
        (b"PROXYT", b"PROXYT"),
        (b"PROXY  ", b"PROXY  "),
        (b"PROXY\r", b"PROXY\r"),
        (b"PROXY t", b"PROXY t"),
        (b"PROXY TCP5", b"PROXY TCP5"),
        (b"PROXY UD", b"PROXY UD"),
        (b"PROXY TCP4\r", b"PROXY TCP4\r"),
        (b"PROXY TCP4\t", b"PROXY TCP4\t"),
        (b"PROXY UNKNOWN\n", b"PROXY UNKNOWN\n"),
        (b"PROXY UNKNOWNS", b"PROXY UNKNOWNS"),
    ],
)
def test_what_begins_no_header_is_refused(wrong: bytes, seen: bytes) -> None:
    assert refused(wrong) == f"no PROXY header begins with this: {seen!r}"


@pytest.mark.parametrize(
    "seen",
    [
        b" ",
        b"\r",
        b"\n",
        b".",
        b":",
        b"x",
        b"-",
        b"01",
        b"256",
        b"1.2.3.4.",
        b"1.2.3.4/",
        b"1.2.3.4\r",
        b"1.2.3.4\n",
        b"1.2.3.4\t",
        b"1.2.3.4\x00",
        b"1.2.3 ",
        b"1.2.3. ",
        b"1..",
        b"1.02",
        b"0x",
        b"\xb2",
    ],
)
def test_wrong_ipv4_addresses_are_refused(seen: bytes) -> None:
    shown = f"in a PROXY header: {seen!r}"
    assert refused(b"PROXY TCP4 " + seen) == f"no source address {shown}"
    both = b"PROXY TCP4 1.2.3.4 " + seen
    assert refused(both) == f"no destination address {shown}"


@pytest.mark.parametrize(
    "seen",
    [
        b" ",
        b"\r",
        b"g",
        b".",
        b"1 ",
        b"1.",
        b"12345",
        b":::",
        b":1",
        b"1::2::",
        b"1:2:3:4:5:6:7:8:",
        b"::1%",
        b"fe80::1%",
        b"::1/",
        b"[",
        b"::256.",
        b"::1.2.3.04",
        b"::1.2.3 ",
        b"1:2:3:4:5:6:7:1.",
        b"1:2:3:4:5:6:7 ",
        b"::1\r",
        b"::1\n",
    ],
)
def test_wrong_ipv6_addresses_are_refused(seen: bytes) -> None:
    shown = f"in a PROXY header: {seen!r}"
    assert refused(b"PROXY TCP6 " + seen) == f"no source address {shown}"
    assert refused(b"PROXY TCP6 ::1 " + seen) == f"no destination address {shown}"


@pytest.mark.parametrize(
    "seen",
    [
        b"-",
        b"+",
        b"a",
        b"00",
        b"01",
        b"65536",
        b"99999",
        b"123456",
        b"1_",
        b"\xb2",
        b"1\n",
        b"1\t",
    ],
)
def test_wrong_ports_are_refused(seen: bytes) -> None:
    start, shown = b"PROXY TCP4 1.2.3.4 5.6.7.8 ", f"in a PROXY header: {seen!r}"
    assert refused(start + seen) == f"no source port {shown}"
    assert refused(start + b"1 " + seen) == f"no destination port {shown}"


@pytest.mark.parametrize(
    ("wrong", "name", "seen"),
    [
        (b"PROXY TCP4 1.2.3.4 5.6.7.8  ", "source port", b" "),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r", "source port", b"1\r"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 \r", "destination port", b"\r"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 ", "destination port", b"2 "),
        (b"PROXY TCP4 1.2.3.4 :", "destination address", b":"),
        (b"PROXY TCP6 1.", "source address", b"1."),
    ],
)
def test_parts_are_four_with_one_space_between(
    wrong: bytes, name: str, seen: bytes
) -> None:
    assert refused(wrong) == f"no {name} in a PROXY header: {seen!r}"


@pytest.mark.parametrize(
    "line", [b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2", b"PROXY UNKNOWN", b"PROXY UNKNOWN a"]
)
@pytest.mark.parametrize("behind", [b"\r", b" ", b"G", b"\0"])
def test_cr_needs_lf(line: bytes, behind: bytes) -> None:
    wrong = line + b"\r" + behind
    detail = f"CR without LF in a PROXY header: {wrong[-2:]!r}"
    assert refused(wrong) == detail


def test_lf_needs_cr() -> None:
    wrong = b"PROXY UNKNOWN a\n"
    assert refused(wrong) == f"LF without CR in a PROXY header: {wrong!r}"
    assert refused(wrong, b"\r\n") == refused(wrong)


@pytest.mark.parametrize("behind", [b"", b"\r\n", b"a\r\n", b"a" * 500, GET])
def test_a_line_without_crlf_ends_with_its_limit(behind: bytes) -> None:
    wrong = b"PROXY UNKNOWN ".ljust(106, b"x")
    seen = f"{wrong[:64]!r}..."
    assert refused(wrong, behind) == f"no CRLF in 107 bytes of a PROXY header: {seen}"


def test_two_long_addresses_of_ipv6_may_be_too_much() -> None:
    host = b"1111:2222:3333:4444:5555:6666:101.101.101.101"
    assert len(host) == 45
    wrong = b"PROXY TCP6 %b %b 100 2" % (host, host)
    assert "no CRLF in 107 bytes" in refused(wrong[:106], b"\r\n")


# -- version 2 -----------------------------------------------------------------


def test_tcp_over_ipv4() -> None:
    header = SIGNATURE + b"\x21\x11\x00\x0c" + IPV4
    assert len(header) == 28
    assert accepted(header) == IPV4_HEADER
    assert encode_v2(IPV4_HEADER.source, IPV4_HEADER.destination) == header


def test_tcp_over_ipv6() -> None:
    header = SIGNATURE + b"\x21\x21\x00\x24" + IPV6
    assert len(header) == 52
    assert accepted(header) == IPV6_HEADER
    assert encode_v2(IPV6_HEADER.source, IPV6_HEADER.destination) == header


def test_mapped_addresses_stay_ipv6() -> None:
    mapped = bytes(10) + b"\xff\xff\xc0\x00\x02\x01"
    header = accepted(v2(0x21, 0x21, mapped + SIX + b"\x00\x01\x00\x02"))
    assert header == ProxyHeader(
        Endpoint("::ffff:192.0.2.1", 1), Endpoint("2001:db8::1", 2)
    )


@pytest.mark.parametrize(
    ("family", "block"),
    [
        (0x00, b""),
        (0x00, tlv(0x04, b"pad")),
        (0x01, b""),
        (0x10, IPV4),
        (0x20, IPV6 + tlv(0x04, b"")),
        (0x30, bytes(216)),
        (0x31, b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")),
        (0x31, bytes(216) + tlv(0x05, b"id")),
    ],
)
def test_addresses_that_are_not_of_tcp_are_not_used(family: int, block: bytes) -> None:
    assert accepted(v2(0x21, family, block)) == UNKNOWN


@pytest.mark.parametrize("family", [0x00, 0x11, 0x12, 0x21, 0x31, 0x4F, 0xFF])
@pytest.mark.parametrize("block", [b"", b"\x03", IPV4, b"\xff" * 300])
def test_of_local_only_the_length_counts(family: int, block: bytes) -> None:
    assert accepted(v2(0x20, family, block)) == UNKNOWN


@pytest.mark.parametrize(
    "extra",
    [
        tlv(0x01, b"http/1.1"),
        tlv(0x02, b"a.example") + tlv(0x04, b"") + tlv(0xEA, b"\x01vpce-1"),
        tlv(0x20, b"\x01\0\0\0\0" + tlv(0x21, b"TLSv1.3")),
        tlv(0x30, b"ns") * 40,
        tlv(0xFF, b"\xff" * (MAX_LENGTH - len(IPV4) - 3)),
    ],
)
def test_tlvs_are_skipped(extra: bytes) -> None:
    assert accepted(v2(0x21, 0x11, IPV4 + extra)) == IPV4_HEADER


def test_a_right_crc32c_passes() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of its catalogue
    assert accepted(summed(b"")) == IPV4_HEADER
    around = summed(tlv(0x05, b"\x03\0\x04abcd"), tlv(0x02, b"a.example"))
    assert accepted(around) == IPV4_HEADER


def test_a_crc32c_of_haproxy_passes() -> None:
    header = accepted(CRC_OF_HAPROXY)
    assert header.source == Endpoint("127.0.0.1", 0xD6A8)
    local = v2(0x20, 0x00, b"\x03\0\x04\xa9\xb8~\x8f")
    assert accepted(local) == UNKNOWN
    unspec = v2(0x21, 0x00, b"\x03\0\x04\0\0\0\0")
    unspec = unspec[:-4] + crc32c(unspec).to_bytes(4, "big")
    assert accepted(unspec) == UNKNOWN


@pytest.mark.parametrize("place", [16, 23, 27, -1])
def test_a_wrong_crc32c_is_refused(place: int) -> None:
    wrong = bytearray(summed(b""))
    wrong[place] ^= 0x10
    seen = bytes(wrong[-4:])
    assert refused(bytes(wrong)) == f"wrong CRC32C in a PROXY header: {seen!r}"


def test_a_wrong_crc32c_of_local_is_ignored() -> None:
    assert accepted(v2(0x20, 0x11, IPV4 + tlv(3, b"abcd"))) == UNKNOWN


@pytest.mark.parametrize("content", [b"", b"abc", b"abcde"])
def test_a_crc32c_of_another_size_is_refused(content: bytes) -> None:
    whole = v2(0x21, 0x11, IPV4 + tlv(3, content) + tlv(4, bytes(9)))
    wrong = whole[: 28 + 3]
    detail = f"not one CRC32C of 4 bytes in a PROXY header: {wrong[-3:]!r}"
    assert refused(wrong, whole[28 + 3 :]) == detail


def test_a_second_crc32c_is_refused() -> None:
    whole = v2(0x21, 0x11, IPV4 + tlv(3, b"abcd") * 2)
    assert "not one CRC32C" in refused(whole[:-4], whole[-4:])


@pytest.mark.parametrize("size", range(1, 12))
def test_every_byte_of_the_signature_counts(size: int) -> None:
    wrong = SIGNATURE[:size] + bytes([SIGNATURE[size] ^ 0x80])
    assert refused(wrong) == f"no PROXY header begins with this: {wrong!r}"


@pytest.mark.parametrize("code", [0x00, 0x01, 0x11, 0x2F, 0x22, 0x30, 0x31, 0xFF])
def test_other_versions_and_commands_are_refused(code: int) -> None:
    detail = refused(SIGNATURE + bytes([code]))
    seen = bytes([code])
    assert detail == f"PROXY header is not of version 2, LOCAL or PROXY: {seen!r}"


@pytest.mark.parametrize("code", [0x40, 0x51, 0xF1, 0x4F])
def test_other_families_are_refused(code: int) -> None:
    detail = refused(SIGNATURE + bytes([0x21, code]))
    seen = bytes([code])
    assert detail == f"unknown address family in a PROXY header: {seen!r}"


@pytest.mark.parametrize("code", [0x02, 0x12, 0x22, 0x32, 0x13, 0x1F])
def test_datagrams_are_refused(code: int) -> None:
    detail = refused(SIGNATURE + bytes([0x21, code]))
    assert detail == f"PROXY header for what is no stream: {bytes([code])!r}"


@pytest.mark.parametrize("command", [0x20, 0x21])
@pytest.mark.parametrize("size", [b"\x10\x01", b"\x11", b"\xff"])
def test_a_header_that_is_too_long_is_refused_before_it_comes(
    command: int, size: bytes
) -> None:
    detail = refused(SIGNATURE + bytes([command, 0x11]) + size, bytes(100))
    assert detail == f"PROXY header is too long: {size!r}"


def test_a_header_may_be_as_long_as_the_limit() -> None:
    assert MAX_LENGTH == 4096
    header = v2(0x21, 0x00, tlv(4, bytes(MAX_LENGTH - 3)))
    assert read([header + GET]) == (UNKNOWN, GET, len(header + GET))


@pytest.mark.parametrize(
    ("code", "size"),
    [(0x11, 0), (0x11, 11), (0x10, 11), (0x21, 35), (0x31, 215), (0x30, 1)],
)
def test_a_header_too_short_for_its_addresses_is_refused(code: int, size: int) -> None:
    seen = bytes([code, 0, size])
    detail = refused(SIGNATURE + b"\x21" + seen, bytes(300))
    assert detail == f"PROXY header is too short for its addresses: {seen!r}"


@pytest.mark.parametrize("stub", [1, 2])
def test_a_header_that_ends_inside_the_head_of_a_tlv_is_refused(stub: int) -> None:
    sizes = bytes([0, 12 + stub])
    detail = refused(SIGNATURE + b"\x21\x11" + sizes, IPV4 + bytes(stub))
    assert detail == f"PROXY header ends inside a TLV: {sizes!r}"
    first = SIGNATURE + b"\x21\x11" + bytes([0, 12 + 3 + stub]) + IPV4 + b"\x04\0\0"
    assert "ends inside a TLV" in refused(first, bytes(stub))


def test_a_tlv_that_runs_past_the_header_is_refused() -> None:
    start = SIGNATURE + b"\x21\x11\x00\x13" + IPV4  # a TLV of 4 bytes has room
    detail = "TLV is longer than its PROXY header"
    assert refused(start + b"\x05\0\x05", b"abcde") == f"{detail}: {bytes([0, 5])!r}"
    assert refused(start + b"\x05\x01", bytes(9)) == f"{detail}: {bytes([1])!r}"
    assert accepted(start + b"\x05\0\x04abcd") == IPV4_HEADER


# -- both ----------------------------------------------------------------------


def test_nothing_is_not_wrong_yet() -> None:
    reader = ProxyHeaderReader()
    assert reader.receive(b"") is None
    assert reader.receive(b"P") is None
    assert reader.receive(b"") is None
    assert (reader.buffered, reader.rest) == (1, b"")


def test_a_reader_reads_one_header() -> None:
    reader = ProxyHeaderReader()
    assert reader.receive(b"PROXY UNKNOWN\r\nPROXY UNKNOWN\r\n") == UNKNOWN
    assert reader.rest == b"PROXY UNKNOWN\r\n"
    with pytest.raises(LocalProtocolError, match="over"):
        reader.receive(b"a")
    assert reader.rest == b"PROXY UNKNOWN\r\n"


def test_a_reader_that_has_refused_takes_no_more() -> None:
    reader = ProxyHeaderReader()
    with pytest.raises(RemoteProtocolError) as refusal:
        reader.receive(b"GET / HTTP/1.1\r\n")
    assert refusal.value.code is ErrorCode.SYNTAX
    with pytest.raises(LocalProtocolError, match="over"):
        reader.receive(b"PROXY UNKNOWN\r\n")


FOUR, OTHER = Endpoint("192.0.2.1", 1), Endpoint("2001:db8::1", 65535)


def test_unlike_addresses_are_both_written_as_ipv6() -> None:
    one = encode_v1(FOUR, OTHER)
    assert one == b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 65535\r\n"
    mapped = bytes(10) + b"\xff\xff\xc0\x00\x02\x01"
    other = encode_v2(OTHER, FOUR)
    assert other == v2(0x21, 0x21, SIX + mapped + b"\xff\xff\x00\x01")
    found = ProxyHeader(OTHER, Endpoint("::ffff:192.0.2.1", 1))
    assert accepted(other) == found
    assert accepted(encode_v1(OTHER, FOUR)) == found


def test_addresses_are_written_canonically() -> None:
    wordy = Endpoint("2001:0DB8:0:0:0:0:0:1", 1)
    mapped = Endpoint("::FFFF:c000:201", 2)
    line = b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 1 2\r\n"
    assert encode_v1(wordy, mapped) == line
    assert encode_v1(Endpoint("2001:db8::1%eth0", 1), mapped) == line


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        (None, None),
        (FOUR, None),
        (None, FOUR),
        (Endpoint("unix:", 0), FOUR),
        (FOUR, Endpoint("a.example", 80)),
    ],
)
def test_addresses_that_are_not_known_are_not_written(
    source: Endpoint | None, destination: Endpoint | None
) -> None:
    assert encode_v1(source, destination) == b"PROXY UNKNOWN\r\n"
    assert encode_v2(source, destination) == SIGNATURE + b"\x21\x00\x00\x00"
    assert accepted(encode_v1(source, destination)) == UNKNOWN
    assert accepted(encode_v2(source, destination)) == UNKNOWN
