"""What of a request gives it its backend, where the policy hashes.

The same bytes as in nginx, so that a map made there stays true: the address of the
client as text is `$remote_addr` (behind a PROXY header or a trusted proxy, the one
that it names), the uri is `$request_uri`, a header field and a cookie are what
`$http_name` and `$cookie_name` are. The path is the uri up to its `?`, as the client
wrote it.

A request without the field or the cookie has no key. It is spread by lot: an empty
key would send all such requests to one backend.
"""

from __future__ import annotations

from lbproto.config import HashOn
from lbproto.framing.headers import Headers
from lbproto.framing.messages import RequestHead
from lbproto.machine.events import PeerInfo

__all__ = ["cookie", "request_key"]


def request_key(rule: HashOn, head: RequestHead, peer: PeerInfo) -> bytes:
    """Return the key of a request; empty if it has none."""
    match rule.kind:
        case "client_ip":
            return peer.address.encode("utf-8", "surrogateescape")
        case "uri":
            return head.target
        case "path":
            return head.target.partition(b"?")[0]
        case "cookie":
            return cookie(head.headers, rule.name)
    return b", ".join(head.headers.get_all(rule.name))


def cookie(headers: Headers, name: bytes) -> bytes:
    """Return the value of the first cookie of a name (RFC 6265 4.2); empty if none."""
    for field in headers.get_all(b"cookie"):
        for pair in field.split(b";"):
            key, equals, value = pair.strip(b" \t").partition(b"=")
            if equals and key == name:
                return value
    return b""
