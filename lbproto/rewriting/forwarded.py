"""Who the client was: the fields that tell a backend.

Fields such as X-Forwarded-* are only as good as their sender. A peer that is
trusted (`trust.py` has the rule) is believed: its account is kept and our own link
is added; of X-Forwarded-For that much is kept as we have read. Any other peer is
the client as far as we know, and whatever it says about itself is removed before we
say what we saw. A name that reads like a forwarding field once `_` and `-` are
confused, as CGI and WSGI do, counts as one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from lbproto.framing.field_lines import TOKEN, field_line
from lbproto.framing.headers import Headers
from lbproto.machine.events import PeerInfo
from lbproto.rewriting.trust import links

__all__ = ["forwarded_line", "set_forwarding", "told_lines"]

PREFIX: Final = b"x-forwarded-"
IDENTITY: Final = frozenset({b"forwarded", b"x-real-ip"})


def set_forwarding(
    headers: Headers,
    authority: bytes,
    peer: PeerInfo,
    *,
    trusted: bool,
    standard: bool = False,
) -> None:
    """Edit the forwarding fields of a request in place.

    `authority` is the one that the client asked for; empty if it named none.
    `standard`: say it in Forwarded (RFC 7239), too.
    """
    link = peer.address.encode("ascii")
    if trusted:
        link = b", ".join([*[known.text for known in links(headers)], link])
    else:
        _forget(headers)
    headers.insert_header(b"X-Forwarded-For", link)
    if standard:
        known = [value for value in headers.get_all(b"forwarded") if value]
        element = _element(authority, peer)
        headers.insert_header(b"Forwarded", b", ".join([*known, element]))
    if b"x-forwarded-proto" not in headers:
        scheme = b"http" if peer.tls is None else b"https"
        headers.append_header(b"X-Forwarded-Proto", scheme)
    if authority and b"x-forwarded-host" not in headers:
        headers.append_header(b"X-Forwarded-Host", authority)


MOST: Final = 1024
"""How many clients' lines are kept."""

PLAIN: Final[dict[str, bytes]] = {}
SECURE: Final[dict[str, bytes]] = {}
"""By address. Compiled, a dictionary takes a fifth of what `lru_cache` does."""


def told_lines(address: str, secure: bool) -> bytes:
    """Write the lines that are the same for all requests of a client's connection."""
    known = SECURE if secure else PLAIN
    lines = known.get(address)
    if lines is None:
        if len(known) >= MOST:
            known.clear()
        lines = known[address] = _told_lines(address, secure)
    return lines


def _told_lines(address: str, secure: bool) -> bytes:
    scheme = b"https" if secure else b"http"
    return b"%b\r\n%b\r\n" % (
        field_line(b"X-Forwarded-For", address.encode("ascii")),
        field_line(b"X-Forwarded-Proto", scheme),
    )


def forwarded_line(authority: bytes, peer: PeerInfo) -> bytes:
    """Write the line that tells of a client and what it asked for (RFC 7239 4)."""
    return field_line(b"Forwarded", _element(authority, peer)) + b"\r\n"


def _element(authority: bytes, peer: PeerInfo) -> bytes:
    parts = [b"for=" + _node(peer.address)]
    if authority:
        parts.append(b"host=" + _value(authority))
    parts.append(b"proto=http" if peer.tls is None else b"proto=https")
    return b";".join(parts)


@lru_cache(maxsize=1024)
def _node(address: str) -> bytes:
    """Write who a client is (RFC 7239 6)."""
    if address.startswith("unix:"):
        return b"unknown"
    plain = address.partition("%")[0]  # the zone of a link means nothing elsewhere
    return _value((f"[{plain}]" if ":" in plain else plain).encode("ascii"))


def _value(text: bytes) -> bytes:
    """Write a value; an authority has nothing that a string escapes."""
    return text if TOKEN.fullmatch(text) else b'"%b"' % text


def _forget(headers: Headers) -> None:
    """Remove what a peer that is not trusted says about itself."""
    if not (headers.any_name_has(b"forwarded") or headers.any_name_has(b"real")):
        return  # every name that counts has one of these
    names = headers.names()
    headers.remove_all([name for name in names if _is_claim(name.replace(b"_", b"-"))])


def _is_claim(name: bytes) -> bool:
    return name.startswith(PREFIX) or name in IDENTITY
