"""What goes wrong, who is to blame, and what to answer.

A peer's mistake is data: it becomes a `Reset` with an `ErrorCode`, and one table
says which response follows (RFC 9110 15, RFC 9209 2.3). Exceptions are for our
own bugs, and for a configuration that is wrong; `RemoteProtocolError` lives and
dies inside a codec.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from lbproto.machine.effects import Level
from lbproto.machine.values import value

__all__ = [
    "LEVELS",
    "VERDICTS",
    "Blame",
    "ErrorCode",
    "LbError",
    "LocalProtocolError",
    "RemoteProtocolError",
    "Verdict",
]


class Blame(Enum):
    """Whose fault an error is."""

    CLIENT = "client"
    BACKEND = "backend"
    US = "us"


LEVELS: Final[Mapping[Blame, Level]] = {
    Blame.CLIENT: Level.INFO,
    Blame.BACKEND: Level.WARNING,
    Blame.US: Level.ERROR,
}
"""How loud an error is: a client's mistakes are every day's."""


class ErrorCode(Enum):
    """Every way in which an exchange fails."""

    SYNTAX = auto()
    """The request breaks the grammar or its framing is in doubt."""
    METHOD_REFUSED = auto()
    """CONNECT or TRACE."""
    REQUEST_TIMEOUT = auto()
    CONTENT_TOO_LARGE = auto()
    TARGET_TOO_LONG = auto()
    EXPECTATION = auto()
    FIELDS_TOO_LARGE = auto()
    TRANSFER_CODING = auto()
    """A transfer coding that we do not implement."""
    METHOD_UNKNOWN = auto()
    """A method longer than any there is."""
    VERSION = auto()
    NO_ROUTE = auto()
    """Nobody is told to take such a request."""
    CLIENT_LEFT = auto()
    CLIENT_STALLED = auto()
    """The client reads no more of its response."""
    INTERNAL = auto()
    APPLICATION = auto()
    """An application says so; the status is its own."""
    CONNECT_REFUSED = auto()
    CONNECT_TIMEOUT = auto()
    CONNECT_UNREACHABLE = auto()
    CONNECT_DNS = auto()
    CONNECT_TLS = auto()
    CONNECT_LOCAL = auto()
    """No descriptor or port left here."""
    NO_BACKEND = auto()
    BACKEND_CLOSED = auto()
    """The backend closed before the first byte of its response."""
    RESPONSE_INCOMPLETE = auto()
    RESPONSE_INVALID = auto()
    RESPONSE_TOO_LARGE = auto()
    """The response's head is over the limit."""
    RESPONSE_TIMEOUT = auto()
    UPGRADE_FAILED = auto()
    LOOP = auto()
    """Our own pseudonym stands in Via."""
    OVERLOADED = auto()
    """There is hardly any memory left for another client."""
    DRAINED = auto()
    """The operator's patience ended."""


@value
class Verdict:
    """What follows from an error."""

    status: int
    """The status of our own response; 0 when none can be sent."""
    close: bool
    """The client connection ends after the response."""
    blame: Blame
    proxy_error: str
    """The `error` of Proxy-Status (RFC 9209 2.3); empty where none fits."""


VERDICTS: Final[Mapping[ErrorCode, Verdict]] = {
    code: Verdict(status, close, blame, proxy_error)
    for code, status, close, blame, proxy_error in (
        (ErrorCode.SYNTAX, 400, True, Blame.CLIENT, "http_request_error"),
        (ErrorCode.METHOD_REFUSED, 405, True, Blame.CLIENT, "http_request_denied"),
        (ErrorCode.REQUEST_TIMEOUT, 408, True, Blame.CLIENT, "http_request_error"),
        (ErrorCode.CONTENT_TOO_LARGE, 413, True, Blame.CLIENT, "http_request_error"),
        (ErrorCode.TARGET_TOO_LONG, 414, True, Blame.CLIENT, "http_request_error"),
        (ErrorCode.EXPECTATION, 417, True, Blame.CLIENT, "http_request_error"),
        (ErrorCode.FIELDS_TOO_LARGE, 431, True, Blame.CLIENT, "http_request_error"),
        (ErrorCode.TRANSFER_CODING, 501, True, Blame.CLIENT, "http_request_error"),
        (ErrorCode.METHOD_UNKNOWN, 501, True, Blame.CLIENT, "http_request_error"),
        (ErrorCode.VERSION, 505, True, Blame.CLIENT, "http_request_error"),
        (ErrorCode.NO_ROUTE, 404, False, Blame.CLIENT, "destination_not_found"),
        (ErrorCode.CLIENT_LEFT, 0, True, Blame.CLIENT, ""),
        (ErrorCode.CLIENT_STALLED, 0, True, Blame.CLIENT, ""),
        (ErrorCode.INTERNAL, 500, True, Blame.US, "proxy_internal_error"),
        (ErrorCode.APPLICATION, 500, False, Blame.US, "http_request_denied"),
        (ErrorCode.CONNECT_REFUSED, 502, False, Blame.BACKEND, "connection_refused"),
        (ErrorCode.CONNECT_TIMEOUT, 504, False, Blame.BACKEND, "connection_timeout"),
        (
            ErrorCode.CONNECT_UNREACHABLE,
            502,
            False,
            Blame.BACKEND,
            "destination_ip_unroutable",
        ),
        (ErrorCode.CONNECT_DNS, 502, False, Blame.BACKEND, "dns_error"),
        (ErrorCode.CONNECT_TLS, 502, False, Blame.BACKEND, "tls_protocol_error"),
        (ErrorCode.CONNECT_LOCAL, 503, False, Blame.US, "connection_limit_reached"),
        (ErrorCode.NO_BACKEND, 503, False, Blame.US, "destination_unavailable"),
        (ErrorCode.BACKEND_CLOSED, 502, False, Blame.BACKEND, "connection_terminated"),
        (
            ErrorCode.RESPONSE_INCOMPLETE,
            502,
            False,
            Blame.BACKEND,
            "http_response_incomplete",
        ),
        (ErrorCode.RESPONSE_INVALID, 502, False, Blame.BACKEND, "http_protocol_error"),
        (
            ErrorCode.RESPONSE_TOO_LARGE,
            502,
            False,
            Blame.BACKEND,
            "http_response_header_section_size",
        ),
        (
            ErrorCode.RESPONSE_TIMEOUT,
            504,
            False,
            Blame.BACKEND,
            "http_response_timeout",
        ),
        (ErrorCode.UPGRADE_FAILED, 502, False, Blame.BACKEND, "http_upgrade_failed"),
        (ErrorCode.LOOP, 502, False, Blame.US, "proxy_loop_detected"),
        (ErrorCode.OVERLOADED, 503, True, Blame.US, "proxy_internal_response"),
        (ErrorCode.DRAINED, 0, True, Blame.US, ""),
    )
}


class LbError(Exception):
    """Anything that lbproto raises on purpose."""


class LocalProtocolError(LbError):
    """We, or the runtime that embeds us, broke the contract: a bug."""


class RemoteProtocolError(LbError):
    """A peer broke the protocol; raised and caught inside a codec."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
