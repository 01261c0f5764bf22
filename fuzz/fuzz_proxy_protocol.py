"""Whatever stands where a PROXY header is expected: the input is the connection.

The reader accepts it or refuses it with `RemoteProtocolError`, in the same words
however the bytes are cut; it never keeps more than a header can have, and takes
nothing of what follows; and what it accepts reads the same after it is written
again in either version.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

# Run as a script, this knows only its own folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from lbproto.framing.proxy_protocol import (
    MAX_LENGTH,
    MAX_LINE,
    ProxyHeader,
    ProxyHeaderReader,
    encode_v1,
    encode_v2,
)
from lbproto.machine.errors import RemoteProtocolError
from lbproto.testing import cuts

__all__ = ["one_input", "read"]

LONGEST: Final = 16 + MAX_LENGTH


def read(pieces: list[bytes]) -> tuple[ProxyHeader | str | None, bytes]:
    """Return the header, the detail of the error or None, and what follows."""
    reader = ProxyHeaderReader()
    for place, piece in enumerate(pieces, 1):
        try:
            header = reader.receive(piece)
        except RemoteProtocolError as error:
            return error.detail, b""
        finally:
            assert reader.buffered <= LONGEST, "the reader keeps too much"
        if header is not None:
            assert reader.buffered == 0, "the reader keeps a header"
            return header, reader.rest + b"".join(pieces[place:])
        assert reader.rest == b"", "something follows what is not complete"
    return None, b""


def one_input(data: bytes) -> None:
    """Check one connection in several segmentations."""
    found, rest = read([data])
    for size in (1, 2, 7, 16, 61):
        pieces = cuts.at(data, range(size, len(data), size))
        assert read(pieces) == (found, rest), "the way the bytes are cut matters"
    if isinstance(found, str):
        assert found.isprintable(), "no line for a log"
        assert len(found) < 400, "too long for a log"
    elif found is None:
        assert len(data) < LONGEST, "no header, and no end of it"
    else:
        assert data.endswith(rest), "what follows is changed"
        assert len(data) - len(rest) <= LONGEST, "a header over the limit"
        check_written(found)


def check_written(header: ProxyHeader) -> None:
    """Check that a header is the same after it was written and read again."""
    assert (header.source is None) == (header.destination is None)
    line = encode_v1(header.source, header.destination)
    assert len(line) <= MAX_LINE
    for written in (line, encode_v2(header.source, header.destination)):
        assert read([written + b"\r\n"]) == (header, b"\r\n"), "it reads differently"


if __name__ == "__main__":
    from fuzz import engine

    engine.run("fuzz_proxy_protocol")
