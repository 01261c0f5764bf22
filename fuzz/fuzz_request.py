"""Whatever a client sends: every byte of the input is one client's stream.

The balancer never raises; however the stream is cut, and whichever codec reads it, the
client gets the same bytes and the backend the same requests; what the backend gets,
h11 can read; and afterwards no lease and no connection is left.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Run as a script, this knows only its own folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.arena import (
    ADDRESSES,
    Codec,
    Judge,
    client_of,
    segmentations,
    settle,
    without_continue,
    world,
)
from lbproto.testing import cuts

__all__ = ["one_input"]


def play(pieces: list[bytes], framing: Codec = "native") -> tuple[object, ...]:
    """Send these reads; return what came out on both sides."""
    sim, judge = world(framing=framing), Judge()
    sim.backend(ADDRESSES[0], judge)
    client = sim.client()
    for piece in pieces:
        client.send(piece, [piece])
    sim.advance(5.0)
    seen = (without_continue(client.received), client.eof, client.closed)
    settle(sim)
    finals = client_of(sim).received.count(b"HTTP/1.1 ")
    assert len(judge.seen) <= finals, "a request without a response"
    asked = [
        (head.method, head.target, head.headers.raw_items(), body)
        for head, body in judge.seen
    ]
    return (*seen, asked)


def one_input(data: bytes) -> None:
    """Check one stream in several segmentations."""
    first, *others = [play(pieces) for pieces in segmentations(data)]
    for other in others:
        assert other == first, "the way the bytes are cut matters"
    assert play(cuts.whole(data), "h11") == first, "the codecs differ"


if __name__ == "__main__":
    from fuzz import engine

    engine.run("fuzz_request")
