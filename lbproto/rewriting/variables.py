"""Variables: what header rules may tell about a client and its request.

They are named as nginx names them. `$name` or `${name}` in the text of a rule
stands for a variable, `$$` for a dollar sign; a dollar sign before anything else
is one. Text is read once, when the rules are made, so that a request costs only
the joining of what is known already.

A name that is unknown is an error rather than empty text: a rule that was meant to
vouch for a client must not turn into one that says nothing.
"""

from __future__ import annotations

import re
from typing import Final, assert_never

from lbproto.config import Template, Variable
from lbproto.framing.messages import RequestHead
from lbproto.machine.events import PeerInfo, TlsInfo
from lbproto.rewriting.paths import encoded, split_target, true_path

__all__ = ["UnknownVariable", "filled", "host_of", "template"]

_REFERENCE: Final = re.compile(
    rb"\$(?:(?P<dollar>\$)|(?P<name>[A-Za-z_][A-Za-z0-9_]*+)"
    rb"|\{(?P<braced>[A-Za-z0-9_]*+)(?P<closed>\}?+))"
)
_UNPRINTABLE: Final = re.compile(rb"[^\x20-\x7e]")
_NO_TLS: Final = TlsInfo(alpn="", sni="", version="", peer_cert="")


class UnknownVariable(ValueError):
    """A template names a variable that there is not."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no variable ${name[:64]}")
        self.name = name


def template(text: bytes) -> bytes | Template:
    """Read a field value that may hold variables; one without any stays bytes.

    Raises:
        UnknownVariable: a name is none of a variable.
        ValueError: a `${` lacks a name or its `}`.
    """
    parts: list[bytes | Variable] = []
    plain, end = b"", 0
    for found in _REFERENCE.finditer(text):
        plain += text[end : found.start()]
        end = found.end()
        if found["dollar"]:
            plain += b"$"
        elif found["name"] is None and not (found["braced"] and found["closed"]):
            raise ValueError("expected a name and } after ${")
        else:
            parts += [plain, _variable(found["name"] or found["braced"])]
            plain = b""
    plain += text[end:]
    if not parts:
        return plain
    return Template(tuple(part for part in (*parts, plain) if part))


def filled(template: Template, request: RequestHead, peer: PeerInfo) -> bytes:
    """Put a value together for a request as it came, of this client."""
    known = [
        part if isinstance(part, bytes) else _legal(_told(part, request, peer))
        for part in template.parts
    ]
    return b"".join(known).strip(b" \t")


def _variable(name: bytes) -> Variable:
    text = name.decode("ascii")
    try:
        return Variable(text)
    except ValueError:
        raise UnknownVariable(text) from None


def _told(variable: Variable, request: RequestHead, peer: PeerInfo) -> str:
    tls = peer.tls or _NO_TLS
    match variable:
        case Variable.CLIENT_SUBJECT:
            return tls.peer_cert
        case Variable.CLIENT_VERIFIED:
            return "SUCCESS" if tls.verified else "NONE"
        case Variable.SERVER_NAME:
            return tls.sni
        case Variable.TLS_VERSION:
            return tls.version
        case Variable.CLIENT_ADDRESS:
            return peer.address
        case Variable.CLIENT_PORT:
            return str(peer.port) if peer.port else ""
        case Variable.SCHEME:
            return "http" if peer.tls is None else "https"
        case Variable.HOST:
            return host_of(request.authority)
        case Variable.METHOD:
            return request.method.decode("ascii")
        case Variable.TARGET:
            return request.target.decode("ascii")
        case Variable.PATH:
            path = split_target(request.target)[0]
            form = true_path(path)
            return (path if form is None else encoded(form)).decode("ascii")
        case Variable.QUERY:
            return split_target(request.target)[1][1:].decode("ascii")
        case _:
            assert_never(variable)


def host_of(authority: bytes) -> str:
    """Return an authority without its port; the brackets of IPv6 stay."""
    if authority.startswith(b"["):
        host = authority.partition(b"]")[0] + b"]"
    else:
        host = authority.partition(b":")[0]
    return host.decode("latin-1").lower()


def _legal(text: str) -> bytes:
    """Write a fact so that it cannot end the field (RFC 9110 5.5)."""
    return _UNPRINTABLE.sub(b"?", text.encode("ascii", "replace"))
