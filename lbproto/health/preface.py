"""The PROXY header of a probe: the balancer speaks for itself.

A backend that expects the header gets one that names nobody: LOCAL in version 2,
which is made for health checks (PROXY protocol 2.2), and UNKNOWN in version 1.
"""

from __future__ import annotations

from typing import Final, Literal

from lbproto.framing.proxy_protocol import encode_v1

__all__ = ["own_header"]

LOCAL: Final = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
"""The signature, version 2 with LOCAL, AF_UNSPEC, and no addresses."""


def own_header(version: Literal["v1", "v2"] | None) -> bytes:
    """Write the header that opens a probe's connection; empty without a version."""
    if version is None:
        return b""
    return encode_v1(None, None) if version == "v1" else LOCAL
