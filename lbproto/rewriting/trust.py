"""Whose word about a client counts, and who the client is by it.

A peer among `trusted_proxies` is believed, and so is the one that it names in
X-Forwarded-For if that is one of them, too: the list is walked from its right end,
where our peer has written, to the first address that is not trusted. That is the
client, and what stands left of it is the client's own claim. If all are trusted it
is the last one that was walked.

A member that is no address says nothing about who wrote what stands left of it, so
the list ends there. It ends also where it is longer than a chain of proxies is in
earnest; else whoever makes up its left end could have us read for long.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import Final

from lbproto.config import Service
from lbproto.framing.headers import Headers
from lbproto.machine.events import PeerInfo
from lbproto.machine.values import value

__all__ = ["MOST_LINKS", "MOST_OCTETS", "Link", "client_of", "is_trusted", "links"]

MOST_LINKS: Final = 32
"""How many members of X-Forwarded-For are read, from the right."""

MOST_OCTETS: Final = 2048
"""In how many bytes, with what is between them."""

FORWARDED_FOR: Final = b"x-forwarded-for"

ADDRESS: Final = re.compile(
    rb"(?:(?P<v4>[0-9.]{7,15}+)|\[(?P<v6>[0-9A-Fa-f:.]{2,45}+)\])"
    rb"(?::(?P<port>[0-9]{1,5}+))?+"
    rb"|(?P<bare>[0-9A-Fa-f:.]{2,45}+)"
)
"""How proxies write an address. No zone: it means nothing but on its own machine."""


@value
class Link:
    """One member of X-Forwarded-For."""

    text: bytes
    """As it was written."""
    address: IPv4Address | IPv6Address
    port: int
    """0 where it names none."""


def is_trusted(peer: PeerInfo, service: Service) -> bool:
    """Tell whether a peer's forwarding fields are believed."""
    if peer.address.startswith("unix:"):
        return service.trust_unix
    if not service.trusted_proxies:
        return False
    try:
        address = ip_address(peer.address)
    except ValueError:
        return False
    return _is_among(address, service.trusted_proxies)


def client_of(headers: Headers, peer: PeerInfo, service: Service) -> PeerInfo:
    """Return who asks: the peer itself, or the client that it speaks for.

    `headers` are the request's as they came. Of the peer's facts a client that is
    named so has its address and its port, 0 if that is not known; the others are
    about the connection, and stay.
    """
    if FORWARDED_FOR not in headers or not is_trusted(peer, service):
        return peer
    client: Link | None = None
    for link in reversed(links(headers)):
        client = link
        if not _is_among(link.address, service.trusted_proxies):
            break
    if client is None:
        return peer
    return replace(peer, address=_written(client.address), port=client.port)


def links(headers: Headers) -> list[Link]:
    """Return what X-Forwarded-For tells, in order; the last member is the nearest.

    The list begins behind the nearest member that is no address, and has at most
    `MOST_LINKS` members. Empty ones do not count (RFC 9110 5.6.1.2).
    """
    text = b",".join(headers.get_all(FORWARDED_FOR))
    if len(text) > MOST_OCTETS:
        # With one octet more: the rest of a member must not pass for a whole one.
        text = text[-MOST_OCTETS - 1 :].partition(b",")[2]
    found: list[Link] = []
    for member in reversed(text.split(b",")):
        if not (written := member.strip(b" \t")):
            continue
        link = _link(written)
        if link is None or len(found) == MOST_LINKS:
            break
        found.append(link)
    found.reverse()
    return found


@lru_cache(maxsize=1024)
def _link(text: bytes) -> Link | None:
    """Read a member; None: it is no address."""
    found = ADDRESS.fullmatch(text)
    if found is None:
        return None
    v4, port = found["v4"], int(found["port"] or 0)
    v6 = found["v6"] or found["bare"]
    if port > 65535:
        return None
    try:
        if v4 is not None:
            return Link(text, IPv4Address(v4.decode("ascii")), port)
        return Link(text, IPv6Address(v6.decode("ascii")), port)
    except ValueError:
        return None


def _is_among(
    address: IPv4Address | IPv6Address, networks: Sequence[IPv4Network | IPv6Network]
) -> bool:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        # An IPv4 client of a dual-stack socket (RFC 4291 2.5.5.2).
        mapped = address.ipv4_mapped
        return any(mapped in network or address in network for network in networks)
    return any(address in network for network in networks)


def _written(address: IPv4Address | IPv6Address) -> str:
    """Write an address in the one way that logs and hashes shall see."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
