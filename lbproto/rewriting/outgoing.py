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

from lbproto.config import Service
from lbproto.framing.headers import Headers, field_line
from lbproto.framing.messages import RequestHead, ResponseHead, Version
from lbproto.machine.events import PeerInfo
from lbproto.rewriting.forwarded import is_trusted, set_forwarding
from lbproto.rewriting.hop_by_hop import hop_fields
from lbproto.rewriting.rules import apply_rules

__all__ = [
    "answers_itself",
    "downstream_response",
    "has_underscore",
    "loops",
    "protocols",
    "upstream_request",
]

RECEIVED_BY: Final = re.compile(rb"(?:\A|,)[ \t]*+[^ \t,]++[ \t]++([^ \t,]++)")
"""The second word of each member of Via (RFC 9110 7.6.3)."""

DIGITS: Final = re.compile(rb"[0-9]++")

MOST_FORWARDS: Final = 999_999_999
"""The largest Max-Forwards that we support (RFC 9110 7.6.2)."""


def has_underscore(head: RequestHead) -> bool:
    """Tell whether a field name holds `_`, which CGI takes for `-`."""
    return head.headers.any_name_has(b"_")


def loops(head: RequestHead, via: bytes | None) -> bool:
    """Tell whether a request has been through here: our pseudonym stands in Via.

    A comment that reads like a member counts as one: to take a comment for a hop
    costs its sender an error, to take a hop for a comment would let the loop run.
    """
    if via is None or b"via" not in head.headers:
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
    head: RequestHead, peer: PeerInfo, service: Service, target: bytes | None = None
) -> RequestHead:
    """Make the request head that goes to a backend, with another target if given."""
    headers = head.headers.copy()
    headers.remove_all(hop_fields(head))
    if service.underscores == "drop":
        _drop_underscores(headers)
    if not head.expects_continue or head.version is Version.HTTP10:
        # A 1.0 client knows no 100 (RFC 9110 10.1.1).
        headers.remove_header(b"expect")
    headers = _with_host(headers, head.authority or _own_authority(peer))
    trusted = is_trusted(peer, service)
    set_forwarding(headers, head.authority, peer, trusted=trusted)
    if service.via is not None:
        headers.append_header(b"Via", head.version.value + b" " + service.via)
    if head.method == b"OPTIONS":
        _count_forward(headers)
    apply_rules(headers, service.request_headers, head, peer)
    return RequestHead(
        stream=head.stream,
        method=head.method,
        target=head.target if target is None else target,
        authority=headers.get(b"host") or b"",
        scheme=head.scheme,
        headers=headers,
        body=head.body,
        version=head.version,
        upgrade=head.upgrade if _may_upgrade(head, service.upgrades) else b"",
        expects_continue=head.expects_continue and b"expect" in headers,
    )


def downstream_response(
    head: ResponseHead,
    request: RequestHead,
    peer: PeerInfo,
    service: Service,
    date: bytes,
) -> ResponseHead:
    """Make the response head that goes to the client.

    `request` is what the client asked, as it came; `date` is an IMF-fixdate.
    """
    headers = head.headers.copy()
    headers.remove_all(hop_fields(head))
    if head.status < 200 or head.status == 204:
        # RFC 9110 8.6: no such response has a length.
        headers.remove_header(b"content-length")
    if head.status >= 200:
        if b"date" not in headers:
            # RFC 9110 6.6.1: a recipient with a clock says when it came.
            headers.append_header(b"Date", date)
        apply_rules(headers, service.response_headers, request, peer)
    return ResponseHead(
        stream=request.stream,
        status=head.status,
        reason=head.reason,
        headers=headers,
        body=head.body,
        version=head.version,
        upgrade=head.upgrade if head.status in (101, 426) else b"",
    )


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


def _may_upgrade(head: RequestHead, allowed: tuple[bytes, ...]) -> bool:
    """Tell whether every protocol that the client offers may be tunnelled.

    All of them, since the backend chooses. Never h2c: a tunnel of requests that
    nobody checks.
    """
    if head.version is Version.HTTP10:
        return False  # RFC 9110 7.8: a 1.0 client's Upgrade is ignored.
    offered = [name.partition(b"/")[0] for name in protocols(head.upgrade)]
    names = {name.lower() for name in allowed}
    return bool(offered) and all(
        name != b"h2c" and (name in names or b"*" in names) for name in offered
    )


def protocols(upgrade: bytes) -> list[bytes]:
    """Return the members of an Upgrade field in lower case, without empty ones."""
    members = (member.strip(b" \t").lower() for member in upgrade.split(b","))
    return [member for member in members if member]
