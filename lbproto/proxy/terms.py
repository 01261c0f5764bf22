"""What holds for a request, where every exchange can reach it without a detour.

The configuration is made of records that anybody may build. What an exchange asks of
them again and again is copied when it is loaded: once for the service, and once for
each of its routes, which have a service of their own.
"""

from __future__ import annotations

from typing import Final

from lbproto.config import Service
from lbproto.rewriting.policy import HeadPolicy

__all__ = ["ANY_SIZE", "Terms"]

ANY_SIZE: Final = -1
"""Content may be as large as it likes."""


class Terms:
    """Deadlines in seconds, limits in bytes, of one service."""

    __slots__ = (
        "body_size",
        "connect",
        "heads",
        "interim_responses",
        "response_body",
        "response_header",
        "service",
        "tunnel",
        "upstream",
    )

    def __init__(self, service: Service, heads: HeadPolicy | None = None) -> None:
        """Copy them; `heads` are the service's, if they are there already."""
        timeouts, limits = service.timeouts, service.limits
        self.service = service
        self.upstream = service.upstream
        self.heads = HeadPolicy(service) if heads is None else heads
        self.connect = float(timeouts.connect)
        self.response_header = float(timeouts.response_header)
        self.response_body = float(timeouts.response_body)
        self.tunnel = float(timeouts.tunnel)
        self.body_size = ANY_SIZE if limits.body_size is None else limits.body_size
        self.interim_responses = limits.interim_responses
