"""The PROXY protocol: for whom a connection was opened, in front of its first byte.

This is haproxy's proxy-protocol.txt, versions 1 (a line of text, 2.1) and 2
(binary, 2.2), which the first byte tells apart. Every check looks at the fewest
bytes that can fail it, and checks are in the order of these bytes. So a wrong header
is refused early, and the result and the error, its text too, do not depend on how
the bytes were cut. A part of the line that is not complete is right if some ending
makes it right; a handful of endings is enough to try.

What the specification leaves open: UDP is refused, since a listener for TCP has no
datagrams; other addresses than TCP's are not used (UNKNOWN, AF_UNSPEC, transport
UNSPEC, AF_UNIX); TLVs are skipped, but must fit, and a CRC32C among them must be
right; of a LOCAL header only the length counts.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import Final

from lbproto.framing.grammar import syntax
from lbproto.machine.errors import LocalProtocolError
from lbproto.machine.values import value

__all__ = [
    "MAX_LENGTH",
    "MAX_LINE",
    "Endpoint",
    "ProxyHeader",
    "ProxyHeaderReader",
    "encode_v1",
    "encode_v2",
]

MAX_LINE: Final = 107
"""Bytes of a version 1 header, CRLF included (2.1)."""

MAX_LENGTH: Final = 4096
"""Bytes of a version 2 header behind its first 16; 2.2 would allow 65535."""


@value
class Endpoint:
    """One end of a TCP connection."""

    host: str
    """An IP address in canonical form (RFC 5952), without zone."""
    port: int


@value
class ProxyHeader:
    """For whom a proxy speaks; both ends are known, or none is.

    None: the connection is the proxy's own, or came to the proxy by other than TCP.
    """

    source: Endpoint | None
    destination: Endpoint | None


_UNKNOWN: Final = ProxyHeader(None, None)

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_TCP4: Final = b"PROXY TCP4 "
_TCP6: Final = b"PROXY TCP6 "
_STARTS: Final = (_TCP4, _TCP6, b"PROXY UNKNOWN ", b"PROXY UNKNOWN\r", _SIGNATURE)


class ProxyHeaderReader:
    """Reads the header at the start of a connection, however it is cut."""

    __slots__ = ("_block", "_buffer", "_over", "rest")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._block: _Block | None = None
        self._over = False
        self.rest = b""
        """What came behind the header; empty before it is complete."""

    @property
    def buffered(self) -> int:
        """How many bytes of an incomplete header are kept."""
        return len(self._buffer)

    def receive(self, data: bytes) -> ProxyHeader | None:
        """Take bytes; return the header once it is complete.

        Raises:
            RemoteProtocolError: the bytes so far cannot become a header.
            LocalProtocolError: the header was complete or refused already.
        """
        if self._over:
            raise LocalProtocolError("more bytes for a PROXY header that is over")
        self._buffer += data
        self._over = True  # unless there is more to come
        try:
            found = self._read()
            if found is None:
                self._over = False
                return None
            header, end = found
            self.rest = bytes(self._buffer[end:])
            return header
        finally:
            if self._over:
                self._buffer, self._block = bytearray(), None

    def _read(self) -> tuple[ProxyHeader, int] | None:
        if self._block is None:
            start = bytes(self._buffer[:MAX_LINE])
            if not start.startswith(_STARTS):
                if _may_start(start):
                    return None
                wrong = _shortest(start, _may_start)
                raise syntax("no PROXY header begins with this", wrong)
            if not start.startswith(_SIGNATURE):
                return _read_line(start)
            self._block = _read_fixed(start)
        return self._block.read(self._buffer) if self._block else None


def _may_start(start: bytes) -> bool:
    return any(known.startswith(start) for known in _STARTS)


def _shortest(data: bytes, right: Callable[[bytes], bool]) -> bytes:
    """Return the first bytes, as few as possible, that are not right."""
    beginnings = (data[:size] for size in range(1, len(data)))
    return next((one for one in beginnings if not right(one)), data)


# -- version 1 -----------------------------------------------------------------


def _is_address(text: bytes, version: int) -> bool:
    try:
        address = ip_address(text.decode("latin-1"))
    except ValueError:
        return False
    return address.version == version and b"%" not in text  # no zone


_PORT: Final = re.compile(rb"0|[1-9][0-9]{0,4}+")


def _is_port(text: bytes) -> bool:
    return _PORT.fullmatch(text) is not None and int(text) <= 65535


@value
class _Kind:
    """What a part of the line may be."""

    whole: Callable[[bytes], bool]
    endings: tuple[bytes, ...]
    """One of these completes every beginning of a right part."""

    def begun(self, text: bytes) -> bool:
        """Tell whether this is the beginning of a right part."""
        return any(self.whole(text + ending) for ending in self.endings)


_DOTTED: Final = (b"", b"0", b".0", b"0.0", b".0.0", b"0.0.0", b".0.0.0", b"0.0.0.0")
_IPV4: Final = _Kind(partial(_is_address, version=4), _DOTTED)
_IPV6: Final = _Kind(partial(_is_address, version=6), (*_DOTTED, b":", b"::"))
_NUMBER: Final = _Kind(_is_port, (b"", b"0"))

_STOP: Final = re.compile(rb"[ \r]")


def _read_line(line: bytes) -> tuple[ProxyHeader, int] | None:
    """Read a header from at most `MAX_LINE` bytes, whose start is right."""
    text = line[: MAX_LINE - 1]  # if CR is not in here, LF comes too late
    known = line.startswith((_TCP4, _TCP6))
    found = _read_tcp(text) if known else _read_unknown(text)
    if found is None:
        if len(text) == MAX_LINE - 1:
            raise syntax(f"no CRLF in {MAX_LINE} bytes of a PROXY header", text)
        return None
    header, end = found
    if line[end : end + 1] not in b"\n":
        raise syntax("CR without LF in a PROXY header", line[end - 1 : end + 1])
    return (header, end + 1) if len(line) > end else None


def _read_tcp(text: bytes) -> tuple[ProxyHeader, int] | None:
    """Read a line up to its CR."""
    address = _IPV4 if text.startswith(_TCP4) else _IPV6
    at = len(_TCP4)
    parts: list[str] = []
    for name, kind, stop in (
        ("source address", address, b" "),
        ("destination address", address, b" "),
        ("source port", _NUMBER, b" "),
        ("destination port", _NUMBER, b"\r"),
    ):
        found = _STOP.search(text, at)
        end = found.start() if found else len(text)
        part, seen = text[at:end], text[at : end + 1]
        if found is None and kind.begun(part):
            return None
        if seen != part + stop or not kind.whole(part):
            wrong = _shortest(seen, kind.begun)
            raise syntax(f"no {name} in a PROXY header", wrong)
        parts.append(part.decode("ascii"))
        at = end + 1
    source = _endpoint(parts[0], int(parts[2]))
    return ProxyHeader(source, _endpoint(parts[1], int(parts[3]))), at


def _read_unknown(text: bytes) -> tuple[ProxyHeader, int] | None:
    """Skip a line up to its CR; 2.1 wants ignored what else is in it."""
    at = text.find(b"\r")
    if b"\n" in (text if at < 0 else text[:at]):
        raise syntax("LF without CR in a PROXY header", text[: text.index(b"\n") + 1])
    return None if at < 0 else (_UNKNOWN, at + 1)


# -- version 2 -----------------------------------------------------------------

_FIXED: Final = struct.Struct(">12scBH")
"""Signature; version and command; family and transport; length."""

_LOCAL: Final = b"\x20"
_PROXY: Final = b"\x21"
_UNSPEC: Final = 0x00
_OVER_IPV4: Final = 0x11
_OVER_IPV6: Final = 0x21
_ADDRESSES: Final = {
    0x0: struct.Struct(""),  # AF_UNSPEC
    0x1: struct.Struct(">4s4sHH"),  # AF_INET
    0x2: struct.Struct(">16s16sHH"),  # AF_INET6
    0x3: struct.Struct("108s108s"),  # AF_UNIX
}
"""By family: both addresses, and both ports if there are any."""

_TLV_CRC32C: Final = 0x03


def _read_fixed(start: bytes) -> _Block | None:
    """Read the first 16 bytes, whose signature is right."""
    command, code = start[12:13], start[13:14]
    local = command == _LOCAL
    if command not in (b"", _LOCAL, _PROXY):
        raise syntax("PROXY header is not of version 2, LOCAL or PROXY", command)
    if code and not local:  # 2.2: with LOCAL the family is ignored too
        if code[0] >> 4 not in _ADDRESSES:
            raise syntax("unknown address family in a PROXY header", code)
        if code[0] & 0xF > 1:  # DGRAM, or one that there is not
            raise syntax("PROXY header for what is no stream", code)
    size = _read_length(start[14:16], MAX_LENGTH, "PROXY header is too long")
    if size is None:
        return None
    end = _FIXED.size + size
    if local:
        return _Block(_UNSPEC, end, end)
    addresses = _ADDRESSES[code[0] >> 4].size
    if size < addresses:
        raise syntax("PROXY header is too short for its addresses", start[13:16])
    return _Block(code[0], _FIXED.size + addresses, end)


def _read_length(data: bytes, most: int, wrong: str) -> int | None:
    """Read two bytes, of which the first alone can tell that it is too much."""
    length = int.from_bytes(data.ljust(2, b"\0"), "big")
    if length > most:
        raise syntax(wrong, data[:1] if data[0] > most >> 8 else data)
    return length if len(data) == 2 else None


class _Block:
    """Reads what follows the first 16 bytes: addresses, and then TLVs."""

    __slots__ = ("_at", "_checksum", "_code", "_end")

    def __init__(self, code: int, at: int, end: int) -> None:
        """`at` is where TLVs begin, `end` where the header ends."""
        self._code = code
        self._at = at
        self._end = end
        self._checksum = 0  # where it is, if there is one

    def read(self, buffer: bytearray) -> tuple[ProxyHeader, int] | None:
        """Go on as far as the header has come."""
        while self._at < self._end:
            after = self._skip(buffer)
            if after is None:
                return None
            self._at = after
        if len(buffer) < self._end:
            return None
        header = bytes(buffer[: self._end])
        if self._checksum:
            _check_crc32c(header, self._checksum)
        if self._code not in (_OVER_IPV4, _OVER_IPV6):
            return _UNKNOWN, self._end
        addresses = _ADDRESSES[self._code >> 4]
        one, other, port, to_port = addresses.unpack_from(header, _FIXED.size)
        source, destination = _endpoint(one, port), _endpoint(other, to_port)
        return ProxyHeader(source, destination), self._end

    def _skip(self, buffer: bytearray) -> int | None:
        """Return where the next TLV ends; its first three bytes say that."""
        start = self._at + 3
        if start > self._end:
            raise syntax("PROXY header ends inside a TLV", bytes(buffer[14:16]))
        head = bytes(buffer[self._at : start])
        wrong = "TLV is longer than its PROXY header"
        size = _read_length(head[1:], self._end - start, wrong)
        if size is None:
            return None
        if head[0] == _TLV_CRC32C:
            if size != 4 or self._checksum:
                raise syntax("not one CRC32C of 4 bytes in a PROXY header", head)
            self._checksum = start
        return start + size


def _crc32c_table() -> tuple[int, ...]:
    """Make the remainders of all bytes (RFC 9260 appendix A), bits reflected."""
    table = list(range(256))
    for _ in range(8):
        table = [(one >> 1) ^ (0x82F63B78 if one & 1 else 0) for one in table]
    return tuple(table)


_CRC32C: Final = _crc32c_table()


def _check_crc32c(header: bytes, at: int) -> None:
    """Check the sum over the header with zeros in place of the sum (2.2.3)."""
    seen = header[at : at + 4]
    crc = 0xFFFFFFFF
    for octet in header[:at] + bytes(4) + header[at + 4 :]:
        crc = (crc >> 8) ^ _CRC32C[(crc ^ octet) & 0xFF]
    if crc ^ 0xFFFFFFFF != int.from_bytes(seen, "big"):
        raise syntax("wrong CRC32C in a PROXY header", seen)


def _endpoint(host: str | bytes, port: int) -> Endpoint:
    address = ip_address(host)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        # RFC 5952 5; before Python 3.13 `str` does not write it so.
        return Endpoint(f"::ffff:{address.ipv4_mapped}", port)
    return Endpoint(str(address), port)


def encode_v1(source: Endpoint | None, destination: Endpoint | None) -> bytes:
    """Write a header of version 1; without both addresses it says UNKNOWN.

    Hosts that are no IP addresses count as none. If only one is IPv4 it is written
    as an IPv4-mapped IPv6 address.
    """
    known = _packed(source, destination)
    if known is None:
        return b"PROXY UNKNOWN\r\n"
    one, other, port, to_port = known
    start = _TCP4 if len(one) == 4 else _TCP6
    rest = f"{_endpoint(one, 0).host} {_endpoint(other, 0).host} {port} {to_port}\r\n"
    return start + rest.encode("ascii")


def encode_v2(source: Endpoint | None, destination: Endpoint | None) -> bytes:
    """Write a header of version 2; without both addresses its family is AF_UNSPEC.

    Hosts are treated as `encode_v1` does.
    """
    known = _packed(source, destination)
    if known is None:
        return _FIXED.pack(_SIGNATURE, _PROXY, _UNSPEC, 0)
    code = _OVER_IPV4 if len(known[0]) == 4 else _OVER_IPV6
    addresses = _ADDRESSES[code >> 4]
    fixed = _FIXED.pack(_SIGNATURE, _PROXY, code, addresses.size)
    return fixed + addresses.pack(*known)


def _packed(
    source: Endpoint | None, destination: Endpoint | None
) -> tuple[bytes, bytes, int, int] | None:
    """Return both addresses, of one family, and both ports."""
    if source is None or destination is None:
        return None
    try:
        pair = [ip_address(end.host).packed for end in (source, destination)]
    except ValueError:
        return None
    if len(pair[0]) != len(pair[1]):
        # RFC 4291 2.5.5.2: the one of IPv4 becomes ::ffff:a.b.c.d.
        pair = [packed.rjust(6, b"\xff").rjust(16, b"\0") for packed in pair]
    return pair[0], pair[1], source.port, destination.port
