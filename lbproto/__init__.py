"""A load balancer as pure protocol: bytes and time in, orders out.

Nothing here touches a socket, a clock or a thread, and importing it starts
nothing. `Gateway` is the whole balancer of one process; its parts (`framing`,
`rewriting`, `selection`, `proxy`) can be used one by one. `lbproto.testing` has
what tests of an embedding program need.
"""

from __future__ import annotations

from lbproto.config import (
    Backend,
    Backoff,
    Config,
    DnsSource,
    FileSource,
    HashOn,
    HeaderRules,
    HealthCheck,
    Limits,
    Listen,
    Match,
    OutlierDetection,
    Redirect,
    Respond,
    Retry,
    Rewrite,
    Route,
    RouteLimits,
    RouteTimeouts,
    Secret,
    Service,
    Share,
    Sticky,
    Template,
    Timeouts,
    Upstream,
    Variable,
)
from lbproto.health.monitor import BackendKey, HealthMonitor, Report
from lbproto.machine.effects import (
    Access,
    AccessRecord,
    Adopt,
    Await,
    Cancel,
    Close,
    Connect,
    Effect,
    HalfClose,
    Level,
    Log,
    Park,
    Relay,
    Send,
    SetReading,
    StartTls,
    Target,
)
from lbproto.machine.env import Env, Machine
from lbproto.machine.errors import ErrorCode, LbError, LocalProtocolError
from lbproto.machine.events import (
    Connected,
    ConnectError,
    ConnectFailed,
    Data,
    Drain,
    Eof,
    Event,
    Lost,
    Opened,
    PeerInfo,
    Relayed,
    Secured,
    Settled,
    TlsInfo,
    Wake,
    WriteBlocked,
    WriteUnblocked,
)
from lbproto.machine.tls import Certificate, ClientTls, ServerTls
from lbproto.machine.values import ConnId
from lbproto.phases.errors import FailToProxy, HttpError, NoPeer, ProxyError
from lbproto.phases.header import RequestHeader, ResponseHeader
from lbproto.phases.http import ProxyHttp, coroutine_phases
from lbproto.phases.peer import HttpPeer
from lbproto.phases.session import Session
from lbproto.proxy.connection import ProxyConnection
from lbproto.proxy.gateway import Gateway
from lbproto.selection.addresses import AddressError
from lbproto.selection.backend import BackendId, BackendState
from lbproto.selection.balancer import Balancer, Lease, News, Outcome
from lbproto.selection.checks import (
    HttpHealthCheck,
    OwnHealthCheck,
    ServiceDiscovery,
    StaticDiscovery,
    TcpHealthCheck,
)
from lbproto.selection.fnv_hash import FnvHash
from lbproto.selection.ketama import Ketama
from lbproto.selection.least_connections import LeastConnections
from lbproto.selection.load_balancer import LoadBalancer
from lbproto.selection.maglev import Maglev
from lbproto.selection.p2c import P2C
from lbproto.selection.peak_ewma import PeakEwma
from lbproto.selection.policy import Policy
from lbproto.selection.round_robin import RoundRobin
from lbproto.selection.waiting import Ticket
from lbproto.selection.weighted_random import Random

__all__ = [
    "Access",
    "AccessRecord",
    "AddressError",
    "Adopt",
    "Await",
    "Backend",
    "BackendId",
    "BackendKey",
    "BackendState",
    "Backoff",
    "Balancer",
    "Cancel",
    "Certificate",
    "ClientTls",
    "Close",
    "Config",
    "ConnId",
    "Connect",
    "ConnectError",
    "ConnectFailed",
    "Connected",
    "Data",
    "DnsSource",
    "Drain",
    "Effect",
    "Env",
    "Eof",
    "ErrorCode",
    "Event",
    "FailToProxy",
    "FileSource",
    "FnvHash",
    "Gateway",
    "HalfClose",
    "HashOn",
    "HeaderRules",
    "HealthCheck",
    "HealthMonitor",
    "HttpError",
    "HttpHealthCheck",
    "HttpPeer",
    "Ketama",
    "LbError",
    "Lease",
    "LeastConnections",
    "Level",
    "Limits",
    "Listen",
    "LoadBalancer",
    "LocalProtocolError",
    "Log",
    "Lost",
    "Machine",
    "Maglev",
    "Match",
    "News",
    "NoPeer",
    "Opened",
    "Outcome",
    "OutlierDetection",
    "OwnHealthCheck",
    "P2C",
    "Park",
    "PeakEwma",
    "PeerInfo",
    "Policy",
    "ProxyConnection",
    "ProxyError",
    "ProxyHttp",
    "Random",
    "Redirect",
    "Relay",
    "Relayed",
    "Report",
    "RequestHeader",
    "Respond",
    "ResponseHeader",
    "Retry",
    "Rewrite",
    "RoundRobin",
    "Route",
    "RouteLimits",
    "RouteTimeouts",
    "Secret",
    "Secured",
    "Send",
    "ServerTls",
    "Service",
    "ServiceDiscovery",
    "Session",
    "SetReading",
    "Settled",
    "Share",
    "StartTls",
    "StaticDiscovery",
    "Sticky",
    "Target",
    "TcpHealthCheck",
    "Template",
    "Ticket",
    "Timeouts",
    "TlsInfo",
    "Upstream",
    "Variable",
    "Wake",
    "WriteBlocked",
    "WriteUnblocked",
    "coroutine_phases",
]
