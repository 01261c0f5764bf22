"""Whatever a backend answers: the input is what it sends for one request.

The first byte chooses the request, and whether the backend ends with FIN, a reset,
or silence. The balancer never raises; what the client gets, h11 can read, unless a
tunnel was agreed on; however the answer is cut, and whichever codec reads it, the
client reads the same; and nothing is left afterwards.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Run as a script, this knows only its own folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.arena import (
    ADDRESSES,
    GET,
    Codec,
    responses,
    segmentations,
    settle,
    silent,
    world,
)
from lbproto.testing import cuts

__all__ = ["REQUESTS", "one_input"]

REQUESTS = (
    GET,
    GET.replace(b"GET", b"HEAD"),
    GET.replace(b"1.1", b"1.0"),
    b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n"
    b"Expect: 100-continue\r\n\r\nhello",
    b"GET / HTTP/1.1\r\nHost: a.example\r\n"
    b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
)
"""What the client asked; the first byte of an input says which."""
ENDS = ("keep", "close", "abort")


def play(
    request: bytes, pieces: list[bytes], end: str, framing: Codec = "native"
) -> tuple[object, ...]:
    """Answer one request with these reads; return what the client reads."""
    sim = world(framing=framing)
    backend = sim.backend(ADDRESSES[0], silent)
    client = sim.client()
    client.send(request)
    (origin,) = backend.connections
    for piece in pieces:
        origin.send(piece, [piece])
    if end == "close":
        origin.close()
    elif end == "abort":
        origin.abort()
    sim.advance(1.0)
    wire, closed = client.received, client.eof
    settle(sim)
    if any(record.status == 101 for record in sim.access):
        return (wire, closed)
    method = request.split(b" ", 1)[0]
    read = responses(wire, [method])
    if end == "abort":
        # How much came through before a reset is a matter of timing.
        read = [one[:-2] for one in read if len(one) > 2]
    return (read, closed)


def one_input(data: bytes) -> None:
    """Check one answer in several segmentations."""
    choice, answer = (data[0], data[1:]) if data else (0, b"")
    request = REQUESTS[choice % len(REQUESTS)]
    end = ENDS[choice // len(REQUESTS) % len(ENDS)]
    first, *others = [play(request, pieces, end) for pieces in segmentations(answer)]
    for other in others:
        assert other == first, "the way the bytes are cut matters"
    assert play(request, cuts.whole(answer), end, "h11") == first, "the codecs differ"


if __name__ == "__main__":
    from fuzz import engine

    engine.run("fuzz_response")
