"""The shape of the configuration file.

One model for each mapping of the file; a field is a key, and its annotation names
the reader that turns a value of the tree into what the core takes. Defaults are
those of the records in `lbproto.config`, which state each of them once. Keys that
are promised but do not work yet stand here too, so that they are refused as such
and neither ignored nor called unknown.

`SHAPES` says which model describes which place of the file. What concerns two
places at once (names that are used, addresses that are used twice) is in
`references`.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Final, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    PlainValidator,
    Tag,
)

from lbproto.config import Config, Limits, Service, Timeouts, Upstream, addresses
from lbproto.config.shown import shown
from lbproto.machine.effects import Target
from lbproto_cli import affinity, health, quantities, retries, words
from lbproto_cli.balancing import (
    BalanceFactor,
    MaxConnections,
    OfHash,
    OfOutliers,
    OutlierEntry,
    Percent,
    Policy,
)
from lbproto_cli.header_rules import NULL_IS_EMPTY, RequestRules, ResponseRules
from lbproto_cli.problems import Path
from lbproto_cli.routes import (
    MatchEntry,
    RedirectEntry,
    RespondEntry,
    RewriteEntry,
    RouteEntry,
    RouteLimitsEntry,
    RouteTimeoutsEntry,
    ShareEntry,
)
from lbproto_cli.sources import DnsEntry, SourceEntry
from lbproto_cli.tls import (
    CertificateEntry,
    ClientTlsEntry,
    OfListener,
    OfUpstream,
    ServerTlsEntry,
)

__all__ = [
    "LIST",
    "MAPPING",
    "NAME",
    "SHAPES",
    "BackendEntry",
    "BackendList",
    "File",
    "LimitsEntry",
    "ListenEntry",
    "ServiceEntry",
    "TimeoutsEntry",
    "UpstreamEntry",
    "model_at",
]

NAME: Final = "<name>"
MAPPING: Final = "<mapping>"
LIST: Final = "<list>"
"""Tags of a union's branches; pydantic puts them into the paths of errors."""

_MANY: Final = 1_000_000
_STRICT: Final = ConfigDict(strict=True, extra="forbid", frozen=True)
_LIMITS: Final = Limits()
_TIMEOUTS: Final = Timeouts()
_SERVICE: Final = Service(name="")
_UPSTREAM: Final = Upstream(name="", backends=())
_CONFIG: Final = Config(services=(), upstreams={})


def _address_or_mapping(value: object) -> object:
    if isinstance(value, str):
        return {"address": value}
    if isinstance(value, dict):
        return value
    raise ValueError(f"got {shown(value)}, expected an address or a mapping with one")


def _listed_if_one(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _none_if_null(value: object) -> object:
    return [] if value is None else value


def _branch(value: object) -> str | None:
    if isinstance(value, dict):
        return MAPPING
    return NAME if isinstance(value, str) else None


_SHORT_FORM: Final = BeforeValidator(_address_or_mapping)

Name: TypeAlias = Annotated[str, PlainValidator(words.name)]
FilePath: TypeAlias = Annotated[str | None, PlainValidator(words.path)]
Flag: TypeAlias = Annotated[bool, PlainValidator(quantities.flag)]
Count: TypeAlias = Annotated[int, PlainValidator(quantities.whole(0, _MANY))]
Positive: TypeAlias = Annotated[int, PlainValidator(quantities.whole(1, _MANY))]
Bound: TypeAlias = Annotated[int | None, PlainValidator(quantities.bound(_MANY))]
PositiveOrNull: TypeAlias = Annotated[
    int | None, PlainValidator(quantities.whole_or_null(1, _MANY))
]
Size: TypeAlias = Annotated[int, PlainValidator(quantities.size(zero=True))]
PositiveSize: TypeAlias = Annotated[int, PlainValidator(quantities.size(zero=False))]
Duration: TypeAlias = Annotated[float, PlainValidator(quantities.duration(zero=False))]
Grace: TypeAlias = Annotated[float, PlainValidator(quantities.duration(zero=True))]
Later: TypeAlias = Annotated[None, PlainValidator(words.later)]


def _switch(value: object) -> bool:
    return value is not None and quantities.flag(value)


def _header_version(value: object) -> str | None:
    """Which PROXY header a backend gets."""
    if value is None or value is False:
        return None
    if value in ("v1", "v2"):
        return str(value)
    raise ValueError(f"got {shown(value)}, expected v1, v2 or null")


class LimitsEntry(BaseModel):
    """`limits` of a service."""

    model_config = _STRICT

    request_line: PositiveSize = _LIMITS.request_line
    header_size: PositiveSize = _LIMITS.header_size
    header_count: Positive = _LIMITS.header_count
    body_size: Annotated[int | None, PlainValidator(quantities.body_size)] = (
        _LIMITS.body_size
    )
    chunk_extensions: Size = _LIMITS.chunk_extensions
    trailer_size: Size = _LIMITS.trailer_size
    response_header_size: PositiveSize = _LIMITS.response_header_size
    interim_responses: Count = _LIMITS.interim_responses
    connections: Bound = _LIMITS.connections
    connections_per_address: PositiveOrNull = _LIMITS.connections_per_address
    requests_per_connection: PositiveOrNull = _LIMITS.requests_per_connection
    request_body_rate: Size = _LIMITS.request_body_rate
    lingering: Size = _LIMITS.lingering


class TimeoutsEntry(BaseModel):
    """`timeouts` of a service."""

    model_config = _STRICT

    request_header: Duration = _TIMEOUTS.request_header
    request_body: Duration = _TIMEOUTS.request_body
    request_body_grace: Grace = _TIMEOUTS.request_body_grace
    keepalive: Grace = _TIMEOUTS.keepalive
    connection_age: Duration = _TIMEOUTS.connection_age
    send: Duration = _TIMEOUTS.send
    connect: Duration = _TIMEOUTS.connect
    response_header: Duration = _TIMEOUTS.response_header
    response_body: Duration = _TIMEOUTS.response_body
    upstream_keepalive: Duration = _TIMEOUTS.upstream_keepalive
    tunnel: Duration = _TIMEOUTS.tunnel
    proxy_protocol: Duration = _TIMEOUTS.proxy_protocol
    tls_handshake: Duration = _TIMEOUTS.tls_handshake


class ListenEntry(BaseModel):
    """One of `listen`; the short form is its address."""

    model_config = _STRICT

    address: Annotated[Target, PlainValidator(addresses.listen_target)]
    tls: OfListener = None
    proxy_protocol: Annotated[bool, PlainValidator(_switch)] = False


class BackendEntry(BaseModel):
    """One of `backends`; the short form is its address."""

    model_config = _STRICT

    address: Annotated[Target, PlainValidator(addresses.backend_target)]
    weight: Annotated[int, PlainValidator(quantities.whole(1, 65535))] = 1
    backup: Flag = False
    drain: Flag = False
    max_connections: MaxConnections = None


BackendList: TypeAlias = list[Annotated[BackendEntry, _SHORT_FORM]]


def _listed(value: object) -> str:
    return MAPPING if isinstance(value, dict) else LIST


class UpstreamEntry(BaseModel):
    """One of `upstreams`, or the inline `upstream` of a service."""

    model_config = _STRICT

    backends: Annotated[
        Annotated[BackendList, Tag(LIST)] | Annotated[SourceEntry, Tag(MAPPING)],
        Discriminator(_listed),
    ]
    policy: Policy = _UPSTREAM.policy
    hash_on: OfHash = _UPSTREAM.hash_on
    balance_factor: BalanceFactor = _UPSTREAM.balance_factor
    panic_percent: Percent = _UPSTREAM.panic_percent
    sticky: affinity.OfUpstream = None
    tls: OfUpstream = None
    proxy_protocol: Annotated[str | None, PlainValidator(_header_version)] = None
    max_queue: Count = _UPSTREAM.max_queue
    queue_timeout: Duration = _UPSTREAM.queue_timeout
    slow_start: Grace = _UPSTREAM.slow_start
    health_check: health.OfUpstream = None
    outlier_detection: OfOutliers = None
    retry: retries.OfUpstream = None


Network: TypeAlias = Annotated[
    IPv4Network | IPv6Network | None, PlainValidator(addresses.trusted_network)
]


class ServiceEntry(BaseModel):
    """One of `services`."""

    model_config = _STRICT

    name: Name | None = None
    listen: list[Annotated[ListenEntry, _SHORT_FORM]]
    trusted_proxies: list[Network] = []
    framing: Annotated[str, PlainValidator(words.choice("native", "h11"))] = (
        _SERVICE.framing
    )
    via: Annotated[bytes | None, PlainValidator(words.pseudonym)] = _SERVICE.via
    underscores: Annotated[
        str, PlainValidator(words.choice("drop", "reject", "pass"))
    ] = _SERVICE.underscores
    upgrades: Annotated[
        list[Annotated[bytes, PlainValidator(words.protocol)]],
        BeforeValidator(_listed_if_one),
    ] = list(_SERVICE.upgrades)
    proxy_status: Flag = _SERVICE.proxy_status
    forwarded: Flag = _SERVICE.forwarded
    trailers: Annotated[str, PlainValidator(words.choice("drop", "pass"))] = (
        _SERVICE.trailers
    )
    limits: Annotated[LimitsEntry, NULL_IS_EMPTY] = LimitsEntry()
    timeouts: Annotated[TimeoutsEntry, NULL_IS_EMPTY] = TimeoutsEntry()
    request_headers: Annotated[RequestRules, NULL_IS_EMPTY] = RequestRules()
    response_headers: Annotated[ResponseRules, NULL_IS_EMPTY] = ResponseRules()
    routes: Annotated[list[RouteEntry], BeforeValidator(_none_if_null)] = []
    upstream: (
        Annotated[
            Annotated[str, Tag(NAME)] | Annotated[UpstreamEntry, Tag(MAPPING)],
            Discriminator(_branch),
        ]
        | None
    ) = None


def _access_log(value: object) -> None:
    """Only the forms that say `off` work."""
    if not (isinstance(value, dict) and value.get("format") == "off"):
        words.later(value)


class File(BaseModel):
    """The whole file."""

    model_config = _STRICT

    version: Annotated[int, PlainValidator(quantities.whole(1, 1))] = _CONFIG.version
    runtime: Name = _CONFIG.runtime
    threads: Annotated[int, PlainValidator(quantities.whole(0, 1024))] = _CONFIG.threads
    daemon: Flag = _CONFIG.daemon
    pid_file: FilePath = _CONFIG.pid_file
    error_log: FilePath = _CONFIG.error_log
    upgrade_sock: FilePath = _CONFIG.upgrade_sock
    upgrade_sock_mode: Annotated[int, PlainValidator(quantities.file_mode)] = (
        _CONFIG.upgrade_sock_mode
    )
    upgrade_timeout: Duration = _CONFIG.upgrade_timeout
    upgrade_bake: Grace = _CONFIG.upgrade_bake
    user: Annotated[str | None, PlainValidator(words.account)] = _CONFIG.user
    group: Annotated[str | None, PlainValidator(words.account)] = _CONFIG.group
    grace_period_seconds: Grace = _CONFIG.grace_period_seconds
    graceful_shutdown_timeout_seconds: Grace = _CONFIG.graceful_shutdown_timeout_seconds
    upstream_keepalive_pool_size: Count = _CONFIG.upstream_keepalive_pool_size
    max_retries: Annotated[int, PlainValidator(quantities.whole(0, 1000))] = (
        _CONFIG.max_retries
    )
    buffer_budget: PositiveSize = _CONFIG.buffer_budget
    access_log: Annotated[None, PlainValidator(_access_log)] = None
    metrics: Later = None
    services: list[ServiceEntry] = []
    upstreams: Annotated[dict[Name, UpstreamEntry], NULL_IS_EMPTY] = {}


SHAPES: Final[tuple[tuple[tuple[str, ...], type[BaseModel]], ...]] = (
    ((), File),
    (("services", "*"), ServiceEntry),
    (("services", "*", "listen", "*"), ListenEntry),
    (("services", "*", "listen", "*", "tls"), ServerTlsEntry),
    (
        ("services", "*", "listen", "*", "tls", "certificates", "*"),
        CertificateEntry,
    ),
    (("services", "*", "limits"), LimitsEntry),
    (("services", "*", "timeouts"), TimeoutsEntry),
    (("services", "*", "request_headers"), RequestRules),
    (("services", "*", "response_headers"), ResponseRules),
    (("services", "*", "routes", "*"), RouteEntry),
    (("services", "*", "routes", "*", "match"), MatchEntry),
    (("services", "*", "routes", "*", "split", "*"), ShareEntry),
    (("services", "*", "routes", "*", "redirect"), RedirectEntry),
    (("services", "*", "routes", "*", "respond"), RespondEntry),
    (("services", "*", "routes", "*", "rewrite"), RewriteEntry),
    (("services", "*", "routes", "*", "timeouts"), RouteTimeoutsEntry),
    (("services", "*", "routes", "*", "limits"), RouteLimitsEntry),
    (("services", "*", "routes", "*", "request_headers"), RequestRules),
    (("services", "*", "routes", "*", "response_headers"), ResponseRules),
    (("services", "*", "upstream"), UpstreamEntry),
    (("services", "*", "upstream", "backends", "dns"), DnsEntry),
    (("services", "*", "upstream", "backends"), SourceEntry),
    (("services", "*", "upstream", "backends", "*"), BackendEntry),
    (("services", "*", "upstream", "health_check"), health.HealthCheckEntry),
    (("services", "*", "upstream", "retry"), retries.RetryEntry),
    (("services", "*", "upstream", "retry", "backoff"), retries.BackoffEntry),
    (("services", "*", "upstream", "sticky"), affinity.StickyEntry),
    (("services", "*", "upstream", "tls"), ClientTlsEntry),
    (("services", "*", "upstream", "outlier_detection"), OutlierEntry),
    (("services", "*", "upstream", "tls", "certificate"), CertificateEntry),
    (("upstreams", "*"), UpstreamEntry),
    (("upstreams", "*", "backends", "dns"), DnsEntry),
    (("upstreams", "*", "backends"), SourceEntry),
    (("upstreams", "*", "backends", "*"), BackendEntry),
    (("upstreams", "*", "health_check"), health.HealthCheckEntry),
    (("upstreams", "*", "retry"), retries.RetryEntry),
    (("upstreams", "*", "retry", "backoff"), retries.BackoffEntry),
    (("upstreams", "*", "sticky"), affinity.StickyEntry),
    (("upstreams", "*", "tls"), ClientTlsEntry),
    (("upstreams", "*", "outlier_detection"), OutlierEntry),
    (("upstreams", "*", "tls", "certificate"), CertificateEntry),
)
"""Where each model stands; `*` is any index or name."""


def model_at(path: Path) -> type[BaseModel] | None:
    """Find the model that describes the mapping at this path."""
    for pattern, model in SHAPES:
        if len(pattern) == len(path) and all(
            want in ("*", part) for want, part in zip(pattern, path, strict=True)
        ):
            return model
    return None
