"""Which requests go where, and what becomes of them on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lbproto.config.rules import HeaderRules, Template

__all__ = [
    "Match",
    "Redirect",
    "Respond",
    "Rewrite",
    "Route",
    "RouteLimits",
    "RouteTimeouts",
    "Share",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What a request must be for a route to take it; what is empty takes all."""

    hosts: tuple[str, ...] = ()
    """One of these names; `*.example.com` is for every name below example.com."""
    path: str | None = None
    """Exactly this path."""
    path_prefix: str | None = None
    """This path, or one below it."""
    path_regex: str | None = None
    """A path in which this is found; see `lbproto.routing.pattern`."""
    methods: tuple[bytes, ...] = ()
    headers: tuple[tuple[bytes, bytes | bool], ...] = ()
    """Lower-case names and a value; True: the field is there, False: it is not."""


@dataclass(frozen=True, slots=True)
class Share:
    """One of the upstreams among which a route splits requests."""

    upstream: str
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """What becomes of the path: of a part at its beginning, or of what a regex finds.

    Exactly one of `prefix` and `regex` is given.
    """

    to: str
    """Instead of the prefix, or of the whole path; `$1` is the regex's first group."""
    prefix: str | None = None
    regex: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Send the client elsewhere."""

    location: bytes | Template
    status: int = 302


@dataclass(frozen=True, slots=True, kw_only=True)
class Respond:
    """Answer without a backend."""

    status: int = 200
    body: bytes = b""
    content_type: bytes = b"text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteLimits:
    """Limits of a route; what is not given is the service's."""

    body_size: int | Literal["inherit"] | None = "inherit"
    """None: no limit."""
    interim_responses: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTimeouts:
    """Seconds; None is the service's."""

    request_body: float | None = None
    connect: float | None = None
    response_header: float | None = None
    response_body: float | None = None
    tunnel: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Which requests, and what becomes of them.

    One of `upstream`, `split`, `redirect` and `respond` says what.
    """

    match: Match = field(default_factory=Match)
    upstream: str | None = None
    split: tuple[Share, ...] = ()
    redirect: Redirect | None = None
    respond: Respond | None = None
    strip_prefix: str | None = None
    rewrite: Rewrite | None = None
    request_headers: HeaderRules = field(default_factory=HeaderRules)
    """Applied after the service's; so are the next."""
    response_headers: HeaderRules = field(default_factory=HeaderRules)
    timeouts: RouteTimeouts = field(default_factory=RouteTimeouts)
    limits: RouteLimits = field(default_factory=RouteLimits)
