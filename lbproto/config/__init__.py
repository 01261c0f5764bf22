"""What the core is told to do: complete, immutable, every default stated once.

These records are what a configuration file becomes after it was checked; a
program that embeds the core builds them directly. Durations are seconds, sizes
bytes. Nothing here reads a file. What fills a page of its own is in a module beside
this one; everything can be imported from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Literal, TypeAlias

from lbproto.config.health import DnsSource, FileSource, HealthCheck
from lbproto.config.routes import (
    Match,
    Redirect,
    Respond,
    Rewrite,
    Route,
    RouteLimits,
    RouteTimeouts,
    Share,
)
from lbproto.config.rules import HeaderRules, Template, Variable
from lbproto.machine.effects import Target
from lbproto.machine.tls import ClientTls, ServerTls

__all__ = [
    "Backend",
    "Backoff",
    "Config",
    "DnsSource",
    "FileSource",
    "HashOn",
    "HeaderRules",
    "HealthCheck",
    "Limits",
    "Listen",
    "Match",
    "Redirect",
    "Respond",
    "Retry",
    "RetryOn",
    "Rewrite",
    "Route",
    "RouteLimits",
    "RouteTimeouts",
    "Secret",
    "OutlierDetection",
    "PolicyName",
    "Service",
    "Share",
    "Sticky",
    "Template",
    "Timeouts",
    "Upstream",
    "Variable",
]


PolicyName: TypeAlias = Literal[
    "round_robin",
    "random",
    "least_connections",
    "p2c",
    "peak_ewma",
    "hash",
    "ketama",
    "maglev",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Past these a request is refused; the comment says with which status."""

    request_line: int = 16 * 1024  # 414
    header_size: int = 32 * 1024  # 431
    header_count: int = 100  # 431
    body_size: int | None = None  # 413
    chunk_extensions: int = 4 * 1024  # 400
    trailer_size: int = 8 * 1024  # 431
    response_header_size: int = 64 * 1024  # 502
    interim_responses: int = 16  # 502
    connections: int | None = 10_000  # new ones wait in the kernel's queue
    connections_per_address: int | None = None  # closed at once
    requests_per_connection: int | None = 1000  # the last one is told to close
    request_body_rate: int = 240  # bytes a second, else 408; 0: any
    lingering: int = 64 * 1024  # of a client that was answered early; not read


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds."""

    request_header: float = 10.0
    request_body: float = 60.0
    request_body_grace: float = 60.0
    keepalive: float = 75.0  # 0: the first response is the last
    connection_age: float = 3600.0
    send: float = 60.0
    connect: float = 5.0
    response_header: float = 60.0
    response_body: float = 60.0
    upstream_keepalive: float = 60.0
    tunnel: float = 3600.0
    proxy_protocol: float = 5.0
    tls_handshake: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """An address that a service listens on, and what clients must say there first."""

    target: Target
    tls: ServerTls | None = None
    proxy_protocol: bool = False
    """A PROXY header of a trusted proxy opens each connection, before TLS."""
    mode: int | None = None
    """Rights of the file of a Unix-domain socket; None: what umask leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One proxy: where it listens, what it checks, where it sends requests."""

    name: str
    upstream: str | None = None
    """Who gets what no route takes; None: nobody, it is not found."""
    routes: tuple[Route, ...] = ()
    """The first that matches wins."""
    listen: tuple[Listen, ...] = ()
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    trust_unix: bool = False
    """Clients of a Unix-domain socket are trusted proxies."""
    framing: Literal["native", "h11"] = "native"
    via: bytes | None = b"lb"
    underscores: Literal["drop", "reject", "pass"] = "drop"
    upgrades: tuple[bytes, ...] = (b"websocket",)
    """Lower-case protocols that may be tunnelled; `*` is any but h2c."""
    proxy_status: bool = True
    forwarded: bool = False
    """Say who the client is in `Forwarded` (RFC 7239) too."""
    trailers: Literal["drop", "pass"] = "drop"
    """What becomes of fields behind chunked content."""
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    request_headers: HeaderRules = field(default_factory=HeaderRules)
    response_headers: HeaderRules = field(default_factory=HeaderRules)

    @property
    def upstreams(self) -> tuple[str, ...]:
        """The names of all upstreams that its requests may go to, each once."""
        names = [self.upstream] if self.upstream is not None else []
        for route in self.routes:
            names += [route.upstream] if route.upstream is not None else []
            names += [share.upstream for share in route.split]
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One server of an upstream."""

    target: Target
    weight: int = 1
    backup: bool = False
    """It is used only when no other is usable."""
    drain: bool = False
    """It finishes what it has and gets nothing new."""
    max_connections: int | None = None
    """Exchanges at a time, in each worker; None: no bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HashOn:
    """What of a request makes the key of a policy that hashes."""

    kind: Literal["client_ip", "path", "uri", "header", "cookie"]
    name: bytes = b""
    """Of the header field, in lower case, or of the cookie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierDetection:
    """When a backend that fails is left alone for a while."""

    consecutive_failures: int = 5
    base_ejection: float = 30.0
    """Seconds of the first ejection; the second in a row is twice as long."""
    max_ejected_percent: int = 50
    """Of the backends of the upstream, at most so many at a time."""


RetryOn: TypeAlias = Literal[
    "connect_failure", "reused_connection_closed", "connection_closed", "timeout"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long to wait before another try: at random, up to a bound that doubles."""

    base: float = 0.025
    """Seconds: the bound before the first."""
    max: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When a request goes out again; `lbproto.proxy.retry` has the whole table."""

    on: tuple[RetryOn, ...] = ("connect_failure", "reused_connection_closed")
    statuses: tuple[int, ...] = ()
    """Responses of 5xx that another backend may improve on."""
    budget_percent: int | None = None
    """How many of the requests may be repeated lately; None: as many as it takes."""
    per_try_timeout: float | None = None
    """Seconds to connect, and then to begin a response; None: as for the last try."""
    backoff: Backoff | None = None
    """None: at once."""


@dataclass(frozen=True, slots=True)
class Secret:
    """Bytes that no message shows."""

    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sticky:
    """A cookie that brings a client back to the backend it had."""

    cookie: bytes
    secret: Secret
    """Signs the values; who knows it can tell which backend one is for."""
    secure: bool | None = None
    """None: if the client speaks TLS to us."""
    http_only: bool = True
    same_site: Literal["lax", "strict", "none"] | None = None
    max_age: int | None = None
    """Seconds; None: as long as the browser runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """Servers that answer the same requests."""

    name: str
    backends: tuple[Backend, ...]
    policy: PolicyName = "round_robin"
    hash_on: HashOn = field(default_factory=lambda: HashOn(kind="client_ip"))
    """For `hash`, `ketama` and `maglev`."""
    balance_factor: int | None = None
    """For `ketama` and `maglev`: percent of its fair share that a backend may have."""
    panic_percent: int = 0
    """With fewer healthy backends than this all are used; 0: never."""
    slow_start: float = 0.0
    """Seconds in which a backend that comes back gets its full weight."""
    outlier_detection: OutlierDetection | None = None
    max_queue: int = 100
    """Requests that may wait for a backend when all have `max_connections`."""
    queue_timeout: float = 1.0
    """Seconds that they wait."""
    tls: ClientTls | None = None
    proxy_protocol: Literal["v1", "v2"] | None = None
    """The PROXY header that opens each connection to a backend."""
    health_check: HealthCheck | None = None
    source: FileSource | DnsSource | None = None
    """Where other backends come from than those it begins with; None: nowhere."""
    retry: Retry = field(default_factory=Retry)
    sticky: Sticky | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that one `lb` does."""

    services: tuple[Service, ...]
    upstreams: Mapping[str, Upstream]
    version: int = 1
    runtime: str = "uvloop"
    threads: int = 1
    daemon: bool = False
    pid_file: str | None = None
    error_log: str | None = None
    upgrade_sock: str | None = None
    upgrade_sock_mode: int = 0o600
    """Bits of the file mode."""
    upgrade_timeout: float = 30.0
    """Seconds that each side of an upgrade waits for the other."""
    upgrade_bake: float = 10.0
    """Seconds after it for which the old process would take the service back."""
    user: str | None = None
    """Names of the system; None: who started it."""
    group: str | None = None
    grace_period_seconds: float = 0.0
    graceful_shutdown_timeout_seconds: float = 300.0
    upstream_keepalive_pool_size: int = 128
    max_retries: int = 1
    buffer_budget: int = 512 * 1024 * 1024
    """Bytes that wait in a worker for all its connections together."""
