"""A load balancer as pure protocol: bytes and time in, orders out.

Nothing here touches a socket, a clock or a thread, and importing it starts
nothing. `Gateway` is the whole balancer of one process; its parts (`framing`,
`rewriting`, `selection`, `proxy`) can be used one by one. `lbproto.testing` has
what tests of an embedding program need.
"""

from __future__ import annotations

from lbproto.config import (
    Backend,
    Config,
    DnsSource,
    FileSource,
    HeaderRules,
    HealthCheck,
    Limits,
    Listen,
    Service,
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
    Close,
    Connect,
    Effect,
    HalfClose,
    Level,
    Log,
    Park,
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
    Secured,
    TlsInfo,
    Wake,
    WriteBlocked,
    WriteUnblocked,
)
from lbproto.machine.tls import Certificate, ClientTls, ServerTls
from lbproto.machine.values import ConnId
from lbproto.proxy.connection import ProxyConnection
from lbproto.proxy.gateway import Gateway
from lbproto.selection.balancer import Balancer, Lease, Outcome
from lbproto.selection.round_robin import RoundRobin

__all__ = [
    "Access",
    "AccessRecord",
    "Adopt",
    "Backend",
    "BackendKey",
    "Balancer",
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
    "FileSource",
    "Gateway",
    "HalfClose",
    "HeaderRules",
    "HealthCheck",
    "HealthMonitor",
    "LbError",
    "Lease",
    "Level",
    "Limits",
    "Listen",
    "LocalProtocolError",
    "Log",
    "Lost",
    "Machine",
    "Opened",
    "Outcome",
    "Park",
    "PeerInfo",
    "ProxyConnection",
    "Report",
    "RoundRobin",
    "Secured",
    "Send",
    "ServerTls",
    "Service",
    "SetReading",
    "StartTls",
    "Target",
    "Template",
    "Timeouts",
    "TlsInfo",
    "Upstream",
    "Variable",
    "Wake",
    "WriteBlocked",
    "WriteUnblocked",
]
