"""What the core is told to do: complete, immutable, every default stated once.

These records are what a configuration file becomes after it was checked; a
program that embeds the core builds them directly. Durations are seconds, sizes
bytes. Nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import Literal, TypeAlias

from lbproto.machine.effects import Target
from lbproto.machine.tls import ClientTls, ServerTls

__all__ = [
    "Backend",
    "Config",
    "HashOn",
    "HeaderRules",
    "Limits",
    "Listen",
    "OutlierDetection",
    "PolicyName",
    "Service",
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
    connections: int = 10_000  # new ones wait in the kernel's queue


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds."""

    request_header: float = 10.0
    request_body: float = 60.0
    keepalive: float = 75.0
    send: float = 60.0
    connect: float = 5.0
    response_header: float = 60.0
    response_body: float = 60.0
    upstream_keepalive: float = 60.0
    tunnel: float = 3600.0
    proxy_protocol: float = 5.0
    tls_handshake: float = 5.0


class Variable(Enum):
    """A fact about a request that a header rule may repeat, by nginx's name for it."""

    CLIENT_SUBJECT = "ssl_client_s_dn"
    """The subject of the client's certificate; empty unless it was verified."""
    CLIENT_VERIFIED = "ssl_client_verify"
    """SUCCESS with a verified certificate of the client, NONE without one."""
    SERVER_NAME = "ssl_server_name"
    """The name that the client asked for in its handshake (SNI)."""
    TLS_VERSION = "ssl_protocol"
    CLIENT_ADDRESS = "remote_addr"
    CLIENT_PORT = "remote_port"
    """Empty for a client of a Unix-domain socket."""
    SCHEME = "scheme"
    """http or https: what the client speaks to us."""
    HOST = "host"
    """Whom the client asked for, in lower case, without a port."""


@dataclass(frozen=True, slots=True)
class Template:
    """A field value that is put together for each request."""

    parts: tuple[bytes | Variable, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderRules:
    """Edits of the header fields, in the order remove, set, add."""

    remove: tuple[bytes, ...] = ()
    """Lower-case names."""
    set: tuple[tuple[bytes, bytes | Template], ...] = ()
    """A template that comes out empty removes the field."""
    add: tuple[tuple[bytes, bytes | Template], ...] = ()
    """A template that comes out empty adds nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """An address that a service listens on, and what clients must say there first."""

    target: Target
    tls: ServerTls | None = None
    proxy_protocol: bool = False
    """A PROXY header of a trusted proxy opens each connection, before TLS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One proxy: where it listens, what it checks, where it sends requests."""

    name: str
    upstream: str
    listen: tuple[Listen, ...] = ()
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    trust_unix: bool = False
    """Clients of a Unix-domain socket are trusted proxies."""
    framing: Literal["h11"] = "h11"
    via: bytes | None = b"lb"
    underscores: Literal["drop", "reject", "pass"] = "drop"
    upgrades: tuple[bytes, ...] = (b"websocket",)
    """Lower-case protocols that may be tunnelled; `*` is any but h2c."""
    proxy_status: bool = True
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    request_headers: HeaderRules = field(default_factory=HeaderRules)
    response_headers: HeaderRules = field(default_factory=HeaderRules)


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
    max_queue: int = 0
    """Requests that may wait for a backend when all have `max_connections`."""
    queue_timeout: float = 1.0
    """Seconds that they wait."""
    tls: ClientTls | None = None
    proxy_protocol: Literal["v1", "v2"] | None = None
    """The PROXY header that opens each connection to a backend."""


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
    user: str | None = None
    """Names of the system; None: who started it."""
    group: str | None = None
    grace_period_seconds: float = 0.0
    graceful_shutdown_timeout_seconds: float = 300.0
    upstream_keepalive_pool_size: int = 128
    max_retries: int = 1
