"""The PROXY header that tells a backend whom we speak for.

It names the client as this service knows it, and the address that the client
reached, so it differs from client to client: a connection that began with one is
never used for another client.
"""

from __future__ import annotations

from typing import Literal

from lbproto.framing.proxy_protocol import Endpoint, encode_v1, encode_v2
from lbproto.machine.events import PeerInfo

__all__ = ["proxy_header"]


def proxy_header(version: Literal["v1", "v2"], peer: PeerInfo) -> bytes:
    """Write the header for a client; one of a Unix-domain socket is not named."""
    encode = encode_v1 if version == "v1" else encode_v2
    if peer.local.startswith("unix:"):
        return encode(None, None)
    host, _, port = peer.local.rpartition(":")
    destination = Endpoint(host.strip("[]"), int(port))
    return encode(Endpoint(peer.address, peer.port), destination)
