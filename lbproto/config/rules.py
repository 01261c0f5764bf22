"""What the operator wants to be done to header fields."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["HeaderRules", "Template", "Variable"]


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
    METHOD = "request_method"
    TARGET = "request_uri"
    """The path and the query, as the client wrote them."""
    PATH = "uri"
    """The path in the form that routes look at, without the query."""
    QUERY = "args"
    """What follows the question mark."""


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
