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

from lbproto.framing.messages import STREAMED, RequestHead, ResponseHead

__all__ = ["HOP_BY_HOP", "hop_fields"]

HOP_BY_HOP: Final = frozenset(
    {
        b"close",
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Lower-case names of fields that go no further, named in Connection or not.

The credentials and challenges of a proxy are ours, not the backend's (RFC 9110
11.7); Trailer announces fields that we pass on only if asked to. Close is the name of
an option and, so that it may never be one of a field, reserved (RFC 9110 16.3.1).
"""

BUT_TRAILER: Final = HOP_BY_HOP - {b"trailer"}
"""It announces fields that follow, if they do."""

COMMON_OPTIONS: Final = frozenset({b"close", b"keep-alive"})
"""Both stand in `HOP_BY_HOP`."""

NEVER_NOMINATED: Final = frozenset({b"content-length", b"host"})


def hop_fields(
    head: RequestHead | ResponseHead, trailers: Literal["drop", "pass"] = "drop"
) -> frozenset[bytes]:
    """Return the lower-case names of the fields that must not be passed on."""
    names = HOP_BY_HOP if trailers == "drop" else BUT_TRAILER
    if not head.nominated <= COMMON_OPTIONS:
        names |= head.nominated - NEVER_NOMINATED
    if head.body.kind is STREAMED:
        # Transfer-Encoding overrides a length (RFC 9112 6.3); one that came
        # beside it must not reach a peer that may think otherwise.
        names |= {b"content-length"}
    return names
