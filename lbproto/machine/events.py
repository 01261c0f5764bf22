"""Facts that a runtime tells a machine.

Names are nouns or past participles: an event has happened and cannot be
refused. An event for a connection that the machine has closed or parked was on
its way and is ignored; an event for one it never knew is the runtime's bug.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, TypeAlias

from lbproto.machine.values import ConnId, value

__all__ = [
    "BackendEvent",
    "ConnectError",
    "ConnectFailed",
    "Connected",
    "Data",
    "Drain",
    "Eof",
    "Event",
    "Lost",
    "Opened",
    "PeerInfo",
    "Relayed",
    "Secured",
    "Settled",
    "TlsInfo",
    "Wake",
    "WriteBlocked",
    "WriteUnblocked",
]


class ConnectError(Enum):
    """Why there is no connection to a backend."""

    REFUSED = "connection refused"
    TIMEOUT = "connection timed out"
    UNREACHABLE = "host unreachable"
    DNS = "name not resolved"
    TLS = "TLS handshake failed"
    STALE = "idle connection was already closed"
    LOCAL = "no descriptor or port left here"
    """Our own shortage: the backend is not to blame."""


@value
class TlsInfo:
    """What the runtime's TLS handshake agreed on."""

    alpn: str
    sni: str
    version: str
    peer_cert: str
    """The verified subject of the peer's certificate (RFC 4514, printable ASCII);
    empty without one."""
    verified: bool = False
    """The peer has shown a certificate, and it is good; its subject may be empty."""


@value
class PeerInfo:
    """Who connected, and to which of our addresses."""

    address: str
    """An IP address; `unix:` for a client of a Unix-domain socket."""
    port: int
    local: str
    """Our end, as `host:port`, `[v6]:port` or `unix:path`."""
    tls: TlsInfo | None = None


@value
class Opened:
    """A client connection was accepted; nothing was read from it yet."""

    conn: ConnId
    peer: PeerInfo
    moved: bool = False
    """It was open and idle in another process, so `peer` is final, and HTTP goes on."""


@value
class Secured:
    """The answer to `StartTls` when the handshake succeeded.

    From here on `Data` and `Send` are what TLS carries, and `Eof` is the peer's
    close_notify; a stream that ends without one is `Lost`.
    """

    conn: ConnId
    tls: TlsInfo


@value
class Connected:
    """The answer to `Connect` when it succeeded."""

    conn: ConnId
    tls: TlsInfo | None = None


@value
class ConnectFailed:
    """The answer to `Connect`, or to `Adopt` of a dead connection (`STALE`).

    It is the last event of the connection; what was sent on it never left.
    """

    conn: ConnId
    why: ConnectError
    detail: str


@value
class Data:
    """Bytes arrived; never empty."""

    conn: ConnId
    data: bytes


@value
class Relayed:
    """The runtime has passed bytes on by itself, as `Relay` allows.

    Told before whatever the machine hears next, for all that have come until then.
    """

    conn: ConnId
    """Where they came from."""
    octets: int
    """How many since it was last told; never none."""
    last: float
    """When the last of them came, in seconds of the machine's time."""


@value
class Eof:
    """The peer sends no more (its FIN arrived); at most once a connection."""

    conn: ConnId


@value
class Lost:
    """The connection was reset or failed; the last event of the connection."""

    conn: ConnId
    detail: str


@value
class WriteBlocked:
    """The runtime's write buffer rose above its high-water mark."""

    conn: ConnId


@value
class WriteUnblocked:
    """The runtime's write buffer fell below its low-water mark again."""

    conn: ConnId


@value
class Settled:
    """The answer to `Await`: what was awaited has returned or raised."""

    conn: ConnId
    ticket: int
    result: Any  # mypyc 2.4 would look for `object` among the names of this module
    error: BaseException | None = None


@value
class Wake:
    """The machine's `deadline` has come."""


@value
class Drain:
    """The operator asks for a graceful stop.

    For `grace` seconds idle clients may still speak and are answered with
    `Connection: close`; then idle connections are closed, and what is in flight
    has `timeout` more seconds.
    """

    grace: float
    timeout: float


Event: TypeAlias = (
    Opened
    | Secured
    | Connected
    | ConnectFailed
    | Data
    | Relayed
    | Eof
    | Lost
    | WriteBlocked
    | WriteUnblocked
    | Settled
    | Wake
    | Drain
)

BackendEvent: TypeAlias = (
    Connected | ConnectFailed | Eof | Lost | WriteBlocked | WriteUnblocked
)
"""What happens on a connection to a backend, beside `Data`."""
