"""What a service wants of the heads that it sends on.

It stands in the configuration, which is made of records that anybody may build. What
every head asks for is copied here once, so that it is at hand.
"""

from __future__ import annotations

from lbproto.config import HeaderRules, Service
from lbproto.framing.field_lines import field_line
from lbproto.framing.messages import HTTP10, HTTP11, Version

__all__ = ["HeadPolicy"]


class HeadPolicy:
    """The rules for heads of one service, or of one of its routes."""

    __slots__ = (
        "drops_underscores",
        "forwarded",
        "request_rules",
        "response_rules",
        "service",
        "trailers",
        "upgrades",
        "via_10",
        "via_11",
    )

    def __init__(self, service: Service) -> None:
        self.service = service
        self.trailers = service.trailers
        self.forwarded = service.forwarded
        """Forwarded (RFC 7239) is written, too."""
        self.drops_underscores = service.underscores == "drop"
        self.upgrades = frozenset(name.lower() for name in service.upgrades)
        """Protocols that may be switched to, in lower case; `*`: any."""
        self.request_rules = _if_any(service.request_headers)
        """The operator's edits; None: there are none."""
        self.response_rules = _if_any(service.response_headers)
        # The lines that name us, for what came in 1.0 and in 1.1.
        self.via_10 = _via_line(HTTP10, service.via)
        self.via_11 = _via_line(HTTP11, service.via)


def _if_any(rules: HeaderRules) -> HeaderRules | None:
    return rules if rules.remove or rules.set or rules.add else None


def _via_line(version: Version, pseudonym: bytes | None) -> bytes:
    """Write Via, which says that we received a message; empty without a pseudonym."""
    if pseudonym is None:
        return b""
    return field_line(b"Via", version.value + b" " + pseudonym) + b"\r\n"
