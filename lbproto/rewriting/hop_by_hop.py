"""Which fields end at this hop (RFC 9110 7.6.1).

A field is for one connection only if Connection names it, or if it is one of
those that were always so and that some senders forget to name. Both kinds are
taken out in one step, and what we say about our own hop is written afterwards;
so a sender cannot use Connection to delete a field that we set.

Two fields are out of Connection's reach whatever it says, because the meaning of
the message hangs on them: Content-Length and Host. The grammar refuses such a
message; here the same is true by construction.
"""

from __future__ import annotations

from typing import Final, Literal

from lbproto.framing.messages import (
    KEEP_ALIVE,
    NO_OPTIONS,
    STREAMED,
    RequestHead,
    ResponseHead,
)
from lbproto.framing.search import HOP_BY_HOP, HOP_BY_HOP_AND_LENGTH

__all__ = ["HOP_BY_HOP", "hop_fields"]

BUT_TRAILER: Final = HOP_BY_HOP - {b"trailer"}
"""It announces fields that follow, if they do."""

COMMON_OPTIONS: Final = frozenset({b"close", b"keep-alive"})
"""Both stand in `HOP_BY_HOP`."""

NEVER_NOMINATED: Final = frozenset({b"content-length", b"host"})


def hop_fields(
    head: RequestHead | ResponseHead, trailers: Literal["drop", "pass"] = "drop"
) -> frozenset[bytes]:
    """Return the lower-case names of the fields that must not be passed on."""
    streamed = head.body.kind is STREAMED
    nominated = head.nominated
    if trailers == "drop" and (
        nominated is KEEP_ALIVE
        or nominated is NO_OPTIONS
        or nominated <= COMMON_OPTIONS
    ):
        return HOP_BY_HOP_AND_LENGTH if streamed else HOP_BY_HOP
    names = HOP_BY_HOP if trailers == "drop" else BUT_TRAILER
    names |= nominated - NEVER_NOMINATED
    if streamed:
        # Transfer-Encoding overrides a length (RFC 9112 6.3); one that came
        # beside it must not reach a peer that may think otherwise.
        names |= {b"content-length"}
    return names
