"""What TLS is to be spoken: named by files, never read here.

The core decides when a connection is secured and what must be true of the other
end; the runtime owns keys, contexts and the handshake itself. These records are
what the two agree on. They are hashable: a runtime makes one context for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Certificate", "ClientTls", "ServerTls"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate chain and its private key, as paths of PEM files."""

    cert: str
    """The certificate first, then those that lead to its authority."""
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """How a listener speaks TLS to its clients."""

    certificates: tuple[Certificate, ...]
    """The first one serves clients whose name (SNI, RFC 6066 3) fits none."""
    client_ca: str | None = None
    """The authorities, as a PEM file, that certificates of clients must have."""
    client_auth: Literal["none", "optional", "require"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """How a backend is spoken to over TLS."""

    sni: str = ""
    """The name to ask for and to find in the certificate; empty: the backend's
    own, which is not sent when it is an address (RFC 6066 3)."""
    verify: bool = True
    """Whether the certificate must be valid, trusted, and for that name."""
    ca_file: str | None = None
    """The authorities to trust, as a PEM file; None: those of the system."""
    certificate: Certificate | None = None
    """What proves who we are, if the backend asks."""
