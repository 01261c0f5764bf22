"""What a reader of a head has found in its lines.

Who reads a head looks for the few fields that a proxy must know. `Headers` is told
which those are and which were there, so that nothing is taken apart a second time.
There are few different findings, and each is one record, made beforehand.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from lbproto.machine.values import value

__all__ = ["HOP_BY_HOP", "HOP_BY_HOP_AND_LENGTH", "Place", "Search"]

Place: TypeAlias = tuple[int, int]
"""Where a line begins, and where it ends behind its CRLF."""


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

HOP_BY_HOP_AND_LENGTH: Final = HOP_BY_HOP | {b"content-length"}


@value
class Search:
    """What was looked for and found, in lines without unusual white space."""

    names: frozenset[bytes]
    """Lower-case names; each stands in one line at most."""
    there: frozenset[bytes]
    """Those of them that were found."""
    ordinary: bool
    """The head is one of a usual request: no name holds `_`, or begins as those do by
    which proxies tell of a client, and none of `names` but Host and those of this hop
    and of framing is there."""
    dated: bool = False
    """Date is there; else it may be."""
    passed: Search | None = None
    """The same without the fields of this hop, if who searched knows their lines."""

    @classmethod
    def of(
        cls, names: frozenset[bytes], there: frozenset[bytes], *, ordinary: bool
    ) -> Search:
        """Make one of who knows the lines of `HOP_BY_HOP` fields."""
        passed = cls(names, there - HOP_BY_HOP, ordinary, b"date" in there)
        return cls(names, there, ordinary, b"date" in there, passed)
