"""What leaves: the heads that a gateway sends on, made from those it received.

The order of the steps is what makes it safe. First everything that was meant for
the hop before goes; then we write what is ours to say (Host, the forwarding
fields, Via), where no nomination can reach it; the operator's rules come last.
Fields that no step names keep their order, their case and their bytes.

The head that came in is left as it was, so that a second attempt at another
backend starts from the same facts.
"""

from __future__ import annotations

import re
from typing import Final

from lbproto.framing.field_lines import field_line
from lbproto.framing.headers import Headers
from lbproto.framing.messages import (
    HTTP10,
    NO_OPTIONS,
    RequestHead,
    ResponseHead,
)
from lbproto.machine.events import PeerInfo
from lbproto.rewriting.forwarded import forwarded_line, set_forwarding, told_lines
from lbproto.rewriting.hop_by_hop import HOP_BY_HOP, hop_fields
from lbproto.rewriting.policy import HeadPolicy
from lbproto.rewriting.rules import apply_rules
from lbproto.rewriting.trust import is_trusted

__all__ = [
    "answers_itself",
    "downstream_response",
    "has_underscore",
    "loops",
    "protocols",
    "upstream_request",
]

# As many as there are, or the compiler makes a tuple of them for each head.
DATE: Final[tuple[bytes, ...]] = (b"date",)
VIA: Final[tuple[bytes, ...]] = (b"via",)
TOLD: Final[tuple[bytes, ...]] = (
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
)
TOLD_AND_VIA: Final = TOLD + VIA
FORWARDED: Final[tuple[bytes, ...]] = (b"forwarded",)

RECEIVED_BY: Final = re.compile(rb"(?:\A|,)[ \t]*+[^ \t,]++[ \t]++([^ \t,]++)")
"""The second word of each member of Via (RFC 9110 7.6.3)."""

TRAILERS: Final = re.compile(rb"(?i)(?:\A|,)[ \t]*+trailers[ \t]*+(?:,|\Z)")
TE: Final = frozenset({b"te"})

DIGITS: Final = re.compile(rb"[0-9]++")

MOST_FORWARDS: Final = 999_999_999
"""The largest Max-Forwards that we support (RFC 9110 7.6.2)."""


def has_underscore(head: RequestHead) -> bool:
    """Tell whether a field name holds `_`, which CGI takes for `-`."""
    return not head.headers.ordinary and head.headers.any_name_has(b"_")


def loops(head: RequestHead, via: bytes | None) -> bool:
    """Tell whether a request has been through here: our pseudonym stands in Via.

    A comment that reads like a member counts as one: to take a comment for a hop
    costs its sender an error, to take a hop for a comment would let the loop run.
    """
    if via is None or head.headers.ordinary or b"via" not in head.headers:
        return False
    ours = via.lower()
    return any(
        found[1].lower() == ours
        for value in head.headers.get_all(b"via")
        for found in RECEIVED_BY.finditer(value)
    )


def answers_itself(head: RequestHead) -> bool:
    """Tell whether an OPTIONS request ends here: Max-Forwards is 0."""
    if head.method != b"OPTIONS":
        return False
    left = head.headers.get(b"max-forwards")
    if left is None or DIGITS.fullmatch(left) is None:
        return False
    return not _significant(left)


def upstream_request(
    head: RequestHead,
    peer: PeerInfo,
    policy: HeadPolicy,
    target: bytes | None = None,
    client: PeerInfo | None = None,
) -> RequestHead:
    """Make the request head that goes to a backend, with another target if given.

    `client`: for whom the peer speaks, of whom the rules tell; None: for itself.
    """
    if client is None:
        client = peer
    if head.headers.ordinary and head.headers.host == head.authority:
        headers = _ordinary_fields(head, peer, policy)
        authority = head.authority
        options = NO_OPTIONS
    else:
        headers = _any_fields(head, peer, policy, client)
        authority = headers.get(b"host") or b""
        options = _want_trailers(head, headers, policy)
    rules = policy.request_rules
    if rules is not None:
        apply_rules(headers, rules, head, client)
        authority = headers.get(b"host") or b""
    upgrade = head.upgrade
    if len(upgrade) and not _may_upgrade(head, policy.upgrades):
        upgrade = b""
    return RequestHead(
        head.stream,
        head.method,
        head.target if target is None else target,
        authority,
        head.scheme,
        headers,
        head.body,
        head.version,
        options,
        upgrade,
        head.expects_continue and b"expect" in headers,
    )


def _ordinary_fields(head: RequestHead, peer: PeerInfo, policy: HeadPolicy) -> Headers:
    """Make the fields of a head that has nothing but what is to be passed on.

    Whether the peer is trusted makes no difference: it gives no account of a client.
    """
    told = told_lines(peer.address, peer.tls is not None)
    via = _via_line(head, policy)
    names = TOLD_AND_VIA if len(via) else TOLD
    lines = b"%bX-Forwarded-Host: %b\r\n%b" % (told, head.authority, via)
    if policy.forwarded:
        lines += forwarded_line(head.authority, peer)
        names += FORWARDED
    return head.headers.passed_on(hop_fields(head), lines, names)


def _any_fields(
    head: RequestHead, peer: PeerInfo, policy: HeadPolicy, client: PeerInfo
) -> Headers:
    headers = head.headers.copy()
    headers.remove_all(hop_fields(head, policy.trailers))
    if policy.drops_underscores:
        _drop_underscores(headers)
    if not head.expects_continue or head.version is HTTP10:
        # A 1.0 client knows no 100 (RFC 9110 10.1.1).
        headers.remove_header(b"expect")
    headers = _with_host(headers, head.authority or _own_authority(peer))
    trusted = client is not peer or is_trusted(peer, policy.service)
    set_forwarding(
        headers, head.authority, peer, trusted=trusted, standard=policy.forwarded
    )
    via = _via_line(head, policy)
    if via:
        headers.append_lines(via, VIA)
    if head.method == b"OPTIONS":
        _count_forward(headers)
    return headers


def _want_trailers(
    head: RequestHead, headers: Headers, policy: HeadPolicy
) -> frozenset[bytes]:
    """Tell the backend that the client takes trailers; return what Connection names.

    RFC 9110 10.1.4: TE is for one hop, so it is ours, and says no more than that.
    """
    if policy.trailers == "drop" or b"te" not in head.nominated:
        return NO_OPTIONS
    if not any(TRAILERS.search(value) for value in head.headers.get_all(b"te")):
        return NO_OPTIONS
    headers.append_header(b"TE", b"trailers")
    return TE


def downstream_response(
    head: ResponseHead,
    request: RequestHead,
    client: PeerInfo,
    policy: HeadPolicy,
    date: bytes,
) -> ResponseHead:
    """Make the response head that goes to the client.

    `request` is what the client asked, as it came; `date` is an IMF-fixdate.
    """
    final = head.status >= 200
    # RFC 9110 6.6.1: a recipient with a clock says when it came.
    gone = hop_fields(head, policy.trailers)
    undated = final and not (head.headers.dated and _spares_date(gone))
    line = b"Date: %b\r\n" % date if undated else b""
    headers = head.headers.passed_on(gone, line, DATE)
    if not final or head.status == 204:
        # RFC 9110 8.6: no such response has a length.
        headers.remove_header(b"content-length")
    rules = policy.response_rules
    if final and rules is not None:
        apply_rules(headers, rules, request, client)
    return ResponseHead(
        request.stream,
        head.status,
        head.reason,
        headers,
        head.body,
        head.version,
        NO_OPTIONS,
        head.upgrade if head.status in (101, 426) else b"",
    )


def _spares_date(gone: frozenset[bytes]) -> bool:
    """Tell whether Date stays; Connection may name it, and hardly ever does."""
    return gone is HOP_BY_HOP or b"date" not in gone


def _via_line(head: RequestHead, policy: HeadPolicy) -> bytes:
    """Return what says in which version we received a request; empty for nothing."""
    return policy.via_10 if head.version is HTTP10 else policy.via_11


def _drop_underscores(headers: Headers) -> None:
    """Remove the fields that CGI could take for others."""
    if headers.any_name_has(b"_"):
        headers.remove_all([name for name in headers.names() if b"_" in name])


def _own_authority(peer: PeerInfo) -> bytes:
    """Say where a client arrived that did not say whom it wanted."""
    if peer.local.startswith("unix:"):
        return b"localhost"
    return peer.local.encode("ascii")


def _with_host(headers: Headers, authority: bytes) -> Headers:
    """Return fields whose Host is the target's authority (RFC 9112 3.2.2)."""
    host = headers.get(b"host")
    if host is None:
        # The first field, as RFC 9110 7.2 asks.
        host_line = field_line(b"Host", authority) + b"\r\n"
        return Headers(host_line + headers.wire())
    if host != authority:
        headers.insert_header(b"Host", authority)
    return headers


def _count_forward(headers: Headers) -> None:
    """Take one from Max-Forwards (RFC 9110 7.6.2); leave what is no number."""
    value = headers.get(b"max-forwards")
    if value is None or DIGITS.fullmatch(value) is None:
        return
    left = _significant(value)
    if left:
        # Cut long numbers before `int`, which refuses thousands of digits.
        count = int(left) - 1 if len(left) < 10 else MOST_FORWARDS
        headers.insert_header(b"Max-Forwards", b"%d" % count)


def _significant(digits: bytes) -> bytes:
    """Return a number without leading zeros; nothing is left of 0."""
    return digits.lstrip(b"0")


def _may_upgrade(head: RequestHead, allowed: frozenset[bytes]) -> bool:
    """Tell whether every protocol that the client offers may be tunnelled.

    All of them, since the backend chooses. Never h2c: a tunnel of requests that
    nobody checks.
    """
    if head.version is HTTP10:
        return False  # RFC 9110 7.8: a 1.0 client's Upgrade is ignored.
    offered = [name.partition(b"/")[0] for name in protocols(head.upgrade)]
    return bool(offered) and all(
        name != b"h2c" and (name in allowed or b"*" in allowed) for name in offered
    )


def protocols(upgrade: bytes) -> list[bytes]:
    """Return the members of an Upgrade field in lower case, without empty ones."""
    members = (member.strip(b" \t").lower() for member in upgrade.split(b","))
    return [member for member in members if member]
