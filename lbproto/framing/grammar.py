"""The strict grammar of HTTP/1, in the form of compiled expressions.

A gateway that forgives is a gateway through which requests are smuggled: whatever
two parsers read in two ways must not pass. So this is the grammar of RFC 9112
without its allowances for old software: lines end with CRLF and nothing else, one
space stands where one is called for, no line is folded, numbers are digits.

Everything works on bytes. Quantifiers are possessive wherever what follows cannot
match what they took, so that matching is linear; expressions are used with
`fullmatch`, since `$` would also match before a final LF. Functions here are pure.
Those that read one element give None for what the grammar does not know; those
that judge what the fields of a head mean together raise the error that it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv6Address
from typing import Final, TypeAlias

from lbproto.framing.field_lines import FIELD_VALUE, TOKEN
from lbproto.framing.messages import (
    NO_BODY,
    STREAM,
    BodyHint,
    Version,
    length,
)
from lbproto.machine.errors import ErrorCode, RemoteProtocolError

__all__ = [
    "BLANKS",
    "FIELD_LINE",
    "LARGEST",
    "MAX_METHOD",
    "ORIGIN_FORM",
    "REQUEST_HEAD",
    "REQUEST_LINE",
    "RESPONSE_HEAD",
    "STATUS_LINE",
    "TOKEN_BYTES",
    "Fields",
    "chunk_line",
    "connection_options",
    "content_length",
    "expects_continue",
    "framing_fields",
    "has_port",
    "host",
    "invalid",
    "is_authority",
    "list_members",
    "request_body",
    "response_body",
    "show",
    "split_absolute",
    "syntax",
    "target_forms",
]

Fields: TypeAlias = dict[bytes, list[bytes]]
"""Values of the fields that frame, by lower-case name."""

BLANKS: Final = b" \t"
"""White space that may surround a value or a list member (RFC 9110 5.6.3)."""

LARGEST: Final = 2**63 - 1
"""The largest length that we read; a peer's integers may be of 64 bits."""

MAX_METHOD: Final = 64
"""Bytes; no registered method has more than 17."""

_TOKEN: Final = TOKEN.pattern
_VALUE: Final = FIELD_VALUE.pattern
# RFC 9112 3.2 with RFC 3986: visible ASCII. We let the few characters pass that
# RFC 3986 wants encoded, since browsers send them, but no fragment.
_START: Final = b"(" + _TOKEN + rb") ([\x21\x22\x24-\x7e]++) HTTP/([0-9])\.([0-9])"
# RFC 9112 4: reason may be missing, and its space with it.
_STATUS: Final = rb"HTTP/1\.([0-9]) ([1-5][0-9]{2})(?: (" + _VALUE + rb"))?+"
_FIELD: Final = _TOKEN + b":" + _VALUE
_HEAD_REST: Final = rb"\r\n(?:" + _FIELD + rb"\r\n)*+\r\n"

TOKEN_BYTES: Final = bytes(i for i in range(256) if TOKEN.fullmatch(bytes((i,))))
"""Every byte that may stand in a token (RFC 9110 5.6.2)."""

REQUEST_LINE: Final = re.compile(_START)
"""Method, target, major and minor version, without CRLF (RFC 9112 3)."""

ORIGIN_FORM: Final = re.compile(rb"/[\x21\x22\x24-\x7e]*+")
"""A path, perhaps with a query (RFC 9112 3.2.1)."""

STATUS_LINE: Final = re.compile(_STATUS)
"""Minor version, status and reason, without CRLF (RFC 9112 4)."""

FIELD_LINE: Final = re.compile(_FIELD)
"""One field line, without CRLF (RFC 9112 5)."""

REQUEST_HEAD: Final = re.compile(_START + _HEAD_REST)
"""A whole head, the empty line included."""

RESPONSE_HEAD: Final = re.compile(_STATUS + _HEAD_REST)
"""A whole head, the empty line included."""

_ABSOLUTE: Final = re.compile(rb"(https?)://([^/?]*+)(.*+)", re.IGNORECASE)

# RFC 3986 3.2.2 without percent-encoding and without the sub-delimiters that end
# a value elsewhere: `, ; ' ( ) *` are what lists, parameters and comments use.
_AUTHORITY: Final = re.compile(
    rb"(?:[A-Za-z0-9._~!$&+=-]++|\[([0-9A-Fa-f:.]{2,45}+)\])(?::([0-9]{0,5}+))?+"
)

_DIGITS: Final = re.compile(rb"[0-9]{1,19}+")

_FRAMING: Final = re.compile(
    rb"\n(host|content-length|transfer-encoding|connection|upgrade|expect)"
    rb":([^\r]*+)",
    re.IGNORECASE,
)

_QUOTED: Final = (
    rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'
)
# RFC 9112 7.1.1, with bad white space around `;` and `=` but not at the end.
_CHUNK: Final = re.compile(
    rb"([0-9A-Fa-f]{1,16}+)((?:[ \t]*+;[ \t]*+%b(?:[ \t]*+=[ \t]*+(?:%b|%b))?+)*+)\r\n"
    % (_TOKEN, _TOKEN, _QUOTED)
)


def show(data: bytes) -> str:
    """Quote what a peer sent for a log line, at most 64 bytes of it."""
    return repr(bytes(data[:64])) + ("..." if len(data) > 64 else "")


def is_authority(text: bytes) -> bool:
    """Tell whether this is a host, with or without port (RFC 9110 7.2)."""
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        return False
    address, port = found.groups()
    if port and int(port) > 65535:
        return False
    if address is not None:
        try:
            IPv6Address(address.decode("ascii"))
        except AddressValueError:
            return False
    return True


def has_port(text: bytes) -> bool:
    """Tell whether this is a host and a port: authority-form (RFC 9112 3.2.3)."""
    found = _AUTHORITY.fullmatch(text)
    return found is not None and bool(found[2]) and is_authority(text)


def split_absolute(target: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Split absolute-form into lower-case scheme, authority and the rest."""
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        return None
    return found[1].lower(), found[2], found[3]


def content_length(value: bytes) -> int | None:
    """Read a Content-Length (RFC 9110 8.6): digits, at most `LARGEST`."""
    if _DIGITS.fullmatch(value) is None:
        return None
    count = int(value)
    return count if count <= LARGEST else None


def list_members(values: Sequence[bytes]) -> list[bytes]:
    """Split the values of a list field, empty members among them, lower-case."""
    return [
        member.strip(BLANKS) for value in values for member in value.lower().split(b",")
    ]


def connection_options(values: Sequence[bytes]) -> frozenset[bytes]:
    """Return the options of Connection (RFC 9110 7.6.1), lower-case.

    What is no token can name no field, and is left out.
    """
    return frozenset(
        member for member in list_members(values) if TOKEN.fullmatch(member)
    )


def framing_fields(block: bytes) -> Fields:
    """Return the fields that say how to read a message, from a head that matched.

    Keys are lower-case; values are trimmed and in order. Fields of any other name
    are left out.
    """
    fields: Fields = {}
    for name, value in _FRAMING.findall(block):
        fields.setdefault(name.lower(), []).append(value.strip(BLANKS))
    return fields


def chunk_line(line: bytes) -> tuple[int, int] | None:
    """Read a chunk's first line, CRLF included (RFC 9112 7.1).

    Returns the size of the chunk and the number of bytes that its extensions
    take.
    """
    found = _CHUNK.fullmatch(line)
    if found is None:
        return None
    size = int(found[1], 16)
    return (size, len(found[2])) if size <= LARGEST else None


def target_forms(method: bytes, target: bytes) -> tuple[bytes, bytes, bytes | None]:
    """Return target in origin-form, scheme and authority (RFC 9112 3.2).

    The authority is None where Host has to say it.

    Raises:
        RemoteProtocolError: the form is none that the method may have.
    """
    if method == b"CONNECT":
        if not has_port(target):
            raise syntax("CONNECT to what is not host:port", target)
        return target, b"http", target
    if target[:1] == b"/" or (target == b"*" and method == b"OPTIONS"):
        return target, b"http", None
    absolute = split_absolute(target)
    if absolute is None:
        raise syntax("target is neither a path nor http(s)://", target)
    scheme, authority, rest = absolute
    if not is_authority(authority):
        # RFC 9110 4.2.1 and 4.2.4: no empty host, no user information.
        raise syntax("no valid host in the target", authority)
    if not rest and method == b"OPTIONS":
        return b"*", scheme, authority  # RFC 9112 3.2.4
    if rest[:1] != b"/":
        rest = b"/" + rest  # RFC 9112 3.2.1
    return rest, scheme, authority


def host(fields: Fields, version: Version) -> bytes:
    """Return the value of Host, empty if a 1.0 request has none (RFC 9112 3.2).

    Raises:
        RemoteProtocolError: there is none, more than one, or a wrong one.
    """
    hosts = fields.get(b"host", [])
    if len(hosts) > 1:
        raise syntax("more than one Host", hosts[1])
    if not hosts:
        if version is Version.HTTP11:
            raise RemoteProtocolError(ErrorCode.SYNTAX, "no Host in HTTP/1.1")
        return b""
    if not is_authority(hosts[0]):
        raise syntax("Host is not a host with an optional port", hosts[0])
    return hosts[0]


def request_body(fields: Fields, version: Version) -> BodyHint:
    """Return the kind of a request's content (RFC 9112 6.3).

    Raises:
        RemoteProtocolError: the fields leave it in doubt.
    """
    lengths = fields.get(b"content-length")
    codings = fields.get(b"transfer-encoding")
    if codings is not None:
        # RFC 9112 6.1: a length beside it, or a 1.0 sender, is faulty framing.
        if lengths is not None:
            raise syntax("Transfer-Encoding beside Content-Length", codings[0])
        if version is Version.HTTP10:
            raise syntax("Transfer-Encoding in HTTP/1.0", codings[0])
        _check_coding(codings)
        return STREAM
    if lengths is None:
        return NO_BODY
    count = content_length(lengths[0])
    if len(lengths) > 1 or count is None:
        raise syntax("Content-Length is not one number", b", ".join(lengths))
    return length(count)


def _check_coding(codings: list[bytes]) -> None:
    if len(codings) == 1 and codings[0].lower() == b"chunked":
        return
    seen = b", ".join(codings)
    members = list_members(codings)
    known = members.count(b"chunked")
    if not all(members) or known > 1 or (known and members[-1] != b"chunked"):
        # RFC 9112 6.3: chunked that is not the last coding tells no length.
        raise syntax("chunked is not the one final Transfer-Encoding", seen)
    detail = f"Transfer-Encoding {show(seen)}, only chunked is implemented"
    raise RemoteProtocolError(ErrorCode.TRANSFER_CODING, detail)


def expects_continue(fields: Fields, version: Version) -> bool:
    """Tell whether the client waits for a 100 (RFC 9110 10.1.1).

    Raises:
        RemoteProtocolError: anything else is expected.
    """
    expectations = fields.get(b"expect")
    if expectations is None or version is Version.HTTP10:
        return False
    if len(expectations) == 1 and expectations[0].lower() == b"100-continue":
        return True
    seen = show(b", ".join(expectations))
    detail = f"Expect {seen}, only one 100-continue can be met"
    raise RemoteProtocolError(ErrorCode.EXPECTATION, detail)


def response_body(fields: Fields, version: Version) -> BodyHint:
    """Return what the fields of a response say about its content (RFC 9112 6.3).

    Raises:
        RemoteProtocolError: the fields leave it in doubt.
    """
    codings = fields.get(b"transfer-encoding")
    lengths = fields.get(b"content-length")
    if codings is not None:
        # RFC 9112 6.1 and 6.3: in 1.0, or beside a length, the framing is in
        # doubt; any other coding is one that we have not asked for.
        if version is Version.HTTP10 or lengths is not None:
            raise invalid("Transfer-Encoding out of place", codings[0])
        if len(codings) != 1 or codings[0].lower() != b"chunked":
            raise invalid("Transfer-Encoding is not chunked", b", ".join(codings))
        return STREAM
    if lengths is None:
        return STREAM
    count = content_length(lengths[0])
    if len(lengths) != 1 or count is None:
        raise invalid("Content-Length is not one number", b", ".join(lengths))
    return length(count)


def syntax(what: str, seen: bytes) -> RemoteProtocolError:
    """Make the error for a request that breaks the grammar."""
    return RemoteProtocolError(ErrorCode.SYNTAX, f"{what}: {show(seen)}")


def invalid(what: str, seen: bytes) -> RemoteProtocolError:
    """Make the error for a response that breaks the grammar."""
    return RemoteProtocolError(ErrorCode.RESPONSE_INVALID, f"{what}: {show(seen)}")
