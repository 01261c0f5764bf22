"""Much data without much memory: a pattern that never repeats in step with reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

from tests.runtimes.wire import Wire

MIB: Final = 1024 * 1024
BLOCK: Final = b"".join(n.to_bytes(4, "big") for n in range(65_521))
"""A prime number of words, so that a lost or doubled read shows."""


def blocks(size: int) -> Iterator[bytes]:
    """Yield `size` bytes in blocks."""
    while size > 0:
        yield BLOCK[:size]
        size -= len(BLOCK)


def digest(size: int) -> str:
    """The checksum of what `blocks` yields."""
    found = hashlib.sha1(usedforsecurity=False)
    for block in blocks(size):
        found.update(block)
    return found.hexdigest()


def pour(wire: Wire, size: int, *, chunked: bool) -> None:
    """Send `size` bytes as the content of a message whose head is out."""
    for block in blocks(size):
        if chunked:
            wire.send(b"%x\r\n%b\r\n" % (len(block), block))
        else:
            wire.send(block)
    if chunked:
        wire.send(b"0\r\n\r\n")


class Sink:
    """Reads content and keeps its checksum alone."""

    def __init__(self) -> None:
        self.size = 0
        self._digest = hashlib.sha1(usedforsecurity=False)

    def counted(self, wire: Wire, size: int) -> str:
        """Read `size` bytes."""
        self._take(wire, size)
        return self._digest.hexdigest()

    def chunked(self, wire: Wire) -> str:
        """Read chunks up to the last one."""
        while True:
            count = int(self._line(wire), 16)
            self._take(wire, count)
            assert self._line(wire) == b""
            if count == 0:
                return self._digest.hexdigest()

    def _take(self, wire: Wire, left: int) -> None:
        ahead, wire.ahead = wire.ahead[:left], wire.ahead[left:]
        self._add(ahead)
        left -= len(ahead)
        buffer = memoryview(bytearray(MIB))
        while left:
            got = wire.sock.recv_into(buffer, min(left, MIB))
            if not got:
                raise EOFError(left)
            self._add(buffer[:got])
            left -= got

    def _add(self, data: bytes | memoryview) -> None:
        self.size += len(data)
        self._digest.update(data)

    def _line(self, wire: Wire) -> bytes:
        while b"\r\n" not in wire.ahead:
            data = wire.sock.recv(65536)
            if not data:
                raise EOFError
            wire.ahead += data
        line, _, wire.ahead = wire.ahead.partition(b"\r\n")
        return line
