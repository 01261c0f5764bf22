"""The page about HTTP, made from the tables in the code.

python -m tests.packaging.http_page    writes docs/http.md
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from lbproto.config import Config, Limits, Retry, Timeouts
from lbproto.framing.body import SIZE_DIGITS, SMALL
from lbproto.framing.codec import CodecLimits
from lbproto.framing.grammar import LARGEST, MAX_METHOD
from lbproto.framing.head import EMPTY_LINES
from lbproto.machine.errors import VERDICTS, ErrorCode
from lbproto.proxy.held import HELD_LIMIT
from lbproto.proxy.lingering import LINGER_SECONDS
from lbproto.proxy.replies import ALLOW, REASONS
from lbproto.proxy.retry import IDEMPOTENT, Failure, Remedy, remedy
from lbproto.rewriting.hop_by_hop import HOP_BY_HOP
from lbproto.rewriting.trailers import NEVER_BEGINNINGS, NEVER_TRAILERS
from lbproto.rewriting.trust import MOST_LINKS, MOST_OCTETS

PAGE = Path(__file__).parents[2] / "docs" / "http.md"

WHEN = {
    ErrorCode.SYNTAX: "the request breaks the grammar, or its framing is in doubt",
    ErrorCode.METHOD_REFUSED: "CONNECT or TRACE",
    ErrorCode.REQUEST_TIMEOUT: "the head or the content does not come in time",
    ErrorCode.CONTENT_TOO_LARGE: "the content is over `limits.body_size`",
    ErrorCode.TARGET_TOO_LONG: "the first line is over `limits.request_line`",
    ErrorCode.EXPECTATION: "an expectation that is not `100-continue`, or two",
    ErrorCode.FIELDS_TOO_LARGE: "the head or the trailers are over their limits",
    ErrorCode.TRANSFER_CODING: "a transfer coding that is not `chunked`",
    ErrorCode.METHOD_UNKNOWN: f"a method of more than {MAX_METHOD} characters",
    ErrorCode.VERSION: "a version that is not 1.x",
    ErrorCode.NO_ROUTE: "no route takes the request, and the service has no upstream",
    ErrorCode.CLIENT_LEFT: "the client is gone before its response was complete",
    ErrorCode.CLIENT_STALLED: "the client does not read its response",
    ErrorCode.INTERNAL: "a fault of ours",
    ErrorCode.APPLICATION: "an application has decided so; the status is its own",
    ErrorCode.CONNECT_REFUSED: "the backend refuses the connection",
    ErrorCode.CONNECT_TIMEOUT: "no connection within `timeouts.connect`",
    ErrorCode.CONNECT_UNREACHABLE: "there is no way to the backend",
    ErrorCode.CONNECT_DNS: "the name of the backend has no address",
    ErrorCode.CONNECT_TLS: "the TLS handshake with the backend fails",
    ErrorCode.CONNECT_LOCAL: "no descriptor or port is left here",
    ErrorCode.NO_BACKEND: "no backend may be chosen",
    ErrorCode.BACKEND_CLOSED: "the backend closes before the first byte of a response",
    ErrorCode.RESPONSE_INCOMPLETE: "the response of the backend ends too early",
    ErrorCode.RESPONSE_INVALID: "the response of the backend breaks the grammar, or its"
    " framing is in doubt",
    ErrorCode.RESPONSE_TOO_LARGE: "its head is over `limits.response_header_size`",
    ErrorCode.RESPONSE_TIMEOUT: "the response does not come in time",
    ErrorCode.UPGRADE_FAILED: "the backend switches to a protocol that was not offered",
    ErrorCode.LOOP: "our own pseudonym stands in `Via`",
    ErrorCode.OVERLOADED: "a new client at nine tenths of `buffer_budget`",
    ErrorCode.DRAINED: "the time for a graceful stop is over",
}

CLOSED = "the connection is closed"
LAST = "the last response says `Connection: close`"

LIMITS: dict[str, tuple[str, ErrorCode | str]] = {
    "request_line": ("bytes of the first line", ErrorCode.TARGET_TOO_LONG),
    "header_size": ("bytes of a request's head", ErrorCode.FIELDS_TOO_LARGE),
    "header_count": ("fields of a head or a trailer", ErrorCode.FIELDS_TOO_LARGE),
    "body_size": ("bytes of a request's content", ErrorCode.CONTENT_TOO_LARGE),
    "chunk_extensions": ("bytes, of one message", ErrorCode.SYNTAX),
    "trailer_size": ("bytes of trailers", ErrorCode.FIELDS_TOO_LARGE),
    "response_header_size": (
        "bytes of a response's head",
        ErrorCode.RESPONSE_TOO_LARGE,
    ),
    "interim_responses": ("1xx of one exchange", ErrorCode.RESPONSE_INVALID),
    "connections": ("clients of a service", "new ones wait in the kernel's queue"),
    "connections_per_address": ("clients of one address, in a worker", CLOSED),
    "requests_per_connection": ("requests", LAST),
    "request_body_rate": ("bytes a second, at least", ErrorCode.REQUEST_TIMEOUT),
    "lingering": ("bytes of a client that was answered early", "it is read no more"),
}

TIMEOUTS: dict[str, tuple[str, ErrorCode | str]] = {
    "request_header": ("the whole head of a request", ErrorCode.REQUEST_TIMEOUT),
    "request_body": ("a pause in its content", ErrorCode.REQUEST_TIMEOUT),
    "request_body_grace": ("its content, before the rate counts", "see the limit"),
    "keepalive": ("an idle client connection; 0 keeps none", CLOSED),
    "connection_age": ("a client connection", LAST),
    "send": ("a client that does not read", ErrorCode.CLIENT_STALLED),
    "connect": ("a connection to a backend", ErrorCode.CONNECT_TIMEOUT),
    "response_header": ("the head of a response", ErrorCode.RESPONSE_TIMEOUT),
    "response_body": ("a pause in its content", "the response is cut off"),
    "upstream_keepalive": ("an idle connection to a backend", CLOSED),
    "tunnel": ("an idle upgraded connection", CLOSED),
    "proxy_protocol": ("the PROXY header of a connection", CLOSED),
    "tls_handshake": ("the TLS handshake with a client", CLOSED),
}

FAILURES = {
    Failure.UNREACHABLE: "no connection could be made",
    Failure.STALE: "an idle connection was dead before a byte was sent on it",
    Failure.REUSED_CLOSED: "an idle connection ended without a response",
    Failure.FRESH_CLOSED: "a new connection ended without a response",
    Failure.SILENT: "no response head in time",
    Failure.STATUS: "a response with one of `retry.statuses`",
}
REMEDIES = {
    None: "no",
    Remedy.SAME: "the same backend, once",
    Remedy.OTHER: "another backend",
}
EVERY_WORD = Retry(
    on=("connect_failure", "reused_connection_closed", "connection_closed", "timeout")
)

INTRODUCTION = """\
# HTTP, in tables

What is refused and with which status, what is bounded and by how much. This page is
made from the tables in the code (`python -m tests.packaging.http_page`), and a test
compares the two. How to set what can be set is in [configuration.md](configuration.md),
what may follow what in an exchange in [states.md](states.md).
"""

ERRORS = """\
Our own responses are short and plain, hold nothing of the request, and have `Date`,
`Content-Length` and, with `proxy_status`, `Proxy-Status` (RFC 9209). A 405 has `Allow`,
a 503 `Retry-After`. Where the status is missing, or a response has begun, the
connection is cut, so that what is short never looks complete. A connection that is kept
is kept only if the request has come whole.

A 403 is sent only where `respond` of a route or an application says so, and a 421
never: a listener has one service, whatever name its clients ask for in TLS, and a name
that this service does not serve is a 404.
"""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def status(code: ErrorCode) -> str:
    found = VERDICTS[code].status
    return str(found) if found else CLOSED


def consequence(what: ErrorCode | str) -> str:
    return status(what) if isinstance(what, ErrorCode) else what


def size(count: int) -> str:
    for unit, bytes_of in (("MiB", 1024**2), ("KiB", 1024)):
        if count and count % bytes_of == 0:
            return f"{count // bytes_of} {unit}"
    return f"{count:,}"


def seconds(count: float) -> str:
    return f"{count / 3600:g} h" if count >= 3600 else f"{count:g} s"


def names(of: Iterable[bytes], end: str = "") -> str:
    return ", ".join(f"`{name.decode()}{end}`" for name in sorted(of))


def statuses() -> str:
    rows = []
    for code in sorted(ErrorCode, key=lambda code: VERDICTS[code].status or 1000):
        verdict = VERDICTS[code]
        reason = REASONS.get(verdict.status, b"").decode()
        rows.append(
            (
                f"{verdict.status} {reason}" if verdict.status else "none",
                WHEN[code],
                f"`{verdict.proxy_error}`" if verdict.proxy_error else "",
                "closed" if verdict.close else "kept",
                verdict.blame.value,
            )
        )
    return table(
        ("status", "when", "`Proxy-Status`", "connection", "whose fault"), rows
    )


def limits() -> str:
    rows = []
    for field in fields(Limits):
        what, past = LIMITS[field.name]
        default = getattr(Limits(), field.name)
        shown = "none" if default is None else size(default)
        rows.append((f"`limits.{field.name}`", shown, what, consequence(past)))
    return table(("limit", "default", "of what", "past it"), rows)


def timeouts() -> str:
    rows = []
    for field in fields(Timeouts):
        what, past = TIMEOUTS[field.name]
        default = seconds(getattr(Timeouts(), field.name))
        rows.append((f"`timeouts.{field.name}`", default, what, consequence(past)))
    return table(("deadline", "default", "of what", "when it has come"), rows)


def constants() -> str:
    codec = CodecLimits()
    syntax = status(ErrorCode.SYNTAX)
    bad = status(ErrorCode.RESPONSE_INVALID)
    rows = (
        ("empty lines before a request", str(EMPTY_LINES), syntax),
        ("characters of a method", str(MAX_METHOD), status(ErrorCode.METHOD_UNKNOWN)),
        ("a length or the size of a chunk", f"{LARGEST:,}", f"{syntax}, {bad}"),
        ("digits of the size of a chunk", str(SIZE_DIGITS), f"{syntax}, {bad}"),
        (
            f"chunks of less than {SMALL} bytes, of one request",
            str(codec.small_chunks),
            syntax,
        ),
        (
            "chunks with extensions or leading zeros, of one message",
            str(codec.odd_chunks),
            f"{syntax}, {bad}",
        ),
        (
            "content of a request that is held for another try",
            size(HELD_LIMIT),
            "it is not repeated; the client waits while it is not sent",
        ),
        (
            "`X-Forwarded-For` of a trusted proxy",
            f"{MOST_LINKS} addresses, {size(MOST_OCTETS)}",
            "what stands left of them is dropped",
        ),
        ("time for a client that was answered early", seconds(LINGER_SECONDS), CLOSED),
        (
            "bytes that wait in a worker (`buffer_budget`)",
            size(Config(services=(), upstreams={}).buffer_budget),
            f"{status(ErrorCode.OVERLOADED)} for new clients from nine tenths on; no"
            " content is read",
        ),
    )
    return table(("bound", "value", "past it"), rows)


def retries() -> str:
    rows = []
    for failure, text in FAILURES.items():
        cells = [
            REMEDIES[remedy(failure, rules, method, held=True, complete=True)]
            for rules in (Retry(), EVERY_WORD)
            for method in (b"POST", b"GET")
        ]
        if failure is Failure.STATUS:
            cells[:2] = ["no", "no"]  # there are none by default
        rows.append((text, *cells))
    head = ("the try", "any method", "idempotent", "any, all words", "idempotent, all")
    return table(head, rows)


def page() -> str:
    """Return the page."""
    idempotent, allowed = names(IDEMPOTENT), names(ALLOW.split(b", "))
    parts = (
        INTRODUCTION,
        "## Statuses of our own\n",
        ERRORS,
        statuses(),
        "## Limits\n",
        limits(),
        "## Deadlines\n",
        timeouts(),
        "## Bounds that are fixed, or of all together\n",
        constants(),
        "## Methods\n",
        "Every method passes but CONNECT and TRACE, as it is written: `get` is not"
        f" `GET`.\n`Allow` of our own responses names {allowed}.\nIdempotent, and so"
        f" repeated where a retry is allowed, are {idempotent}.\n",
        "## When a request is sent again\n",
        "Only before the first byte of a response went to the client, and while all of"
        " the\nrequest is held. The first two columns are the default, the others what"
        " `retry.on`\nallows with all of its words.\n",
        retries(),
        "## Fields of one hop\n",
        "They are taken out of requests and responses, and so is what `Connection`"
        " names\n(`trailer` stays with `trailers: pass`):\n"
        f"{names(HOP_BY_HOP)}.\n",
        "## Fields that are no trailers\n",
        "With `trailers: pass` these are dropped nevertheless, beside those of one"
        " hop:\n"
        f"{names(NEVER_TRAILERS - HOP_BY_HOP)},\nand all that begin with\n"
        f"{names(NEVER_BEGINNINGS, '...')}.\n",
    )
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
