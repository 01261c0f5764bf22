"""Trailers: fields that follow content (RFC 9110 6.5).

They are dropped unless `trailers: pass` asks for them, since much that reads them
merges them into the header section, behind the back of whoever has checked that one.
Passed or not, some never go on: what frames or routes a message, tells of its content,
controls or authenticates a request, or is for one connection, would be acted on too
late or by a peer that should not (RFC 9110 6.5.1); what we ourselves say of a client
nobody else may say; and what a rule of the operator edits in the header section, a
sender may not hide behind the content.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from lbproto.framing.field_lines import field_line
from lbproto.rewriting.hop_by_hop import HOP_BY_HOP

if TYPE_CHECKING:
    from lbproto.config import HeaderRules, Service
    from lbproto.framing.messages import End

__all__ = ["NEVER_TRAILERS", "passed_on"]

NEVER_TRAILERS: Final = HOP_BY_HOP | frozenset(
    {
        b"accept",
        b"age",
        b"allow",
        b"authorization",
        b"cache-control",
        b"cookie",
        b"date",
        b"expect",
        b"expires",
        b"forwarded",
        b"from",
        b"host",
        b"last-modified",
        b"location",
        b"max-forwards",
        b"origin",
        b"pragma",
        b"range",
        b"referer",
        b"retry-after",
        b"set-cookie",
        b"strict-transport-security",
        b"user-agent",
        b"vary",
        b"via",
        b"warning",
        b"www-authenticate",
        b"x-real-ip",
    }
)
"""Lower-case names of fields that are no trailers."""

NEVER_BEGINNINGS: Final = (
    b"accept-",
    b"access-control-",
    b"content-",
    b"if-",
    b"proxy-",
    b"sec-",
    b"x-forwarded-",
)

LINE: Final = re.compile(rb"([^:]++):[ \t]*+([^\r]*+)\r\n")


def passed_on(
    event: End, nominated: frozenset[bytes], service: Service, rules: HeaderRules
) -> End:
    """Return the end of a message with the trailers that may go on.

    `nominated` is what the message's own Connection names, `rules` are those for its
    header section.
    """
    edited = [*rules.remove, *(name.lower() for name, _ in (*rules.set, *rules.add))]
    kept = []
    for found in LINE.finditer(event.trailers):
        name = found[1].lower()
        # A name that only differs in `_` is the same to CGI.
        known = name.replace(b"_", b"-")
        if b"_" in name and service.underscores != "pass":
            continue
        if known in NEVER_TRAILERS or known.startswith(NEVER_BEGINNINGS):
            continue
        if name not in nominated and name not in edited:
            kept.append(field_line(found[1], found[2].rstrip(b" \t")) + b"\r\n")
    return replace(event, trailers=b"".join(kept))
