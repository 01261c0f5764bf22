"""Heads as nearly all are: validated and understood by one expression.

Nearly every head holds what few others do not: a common method, origin-form, one
Host, at most one of each field that frames, nothing that tells of other proxies. One
possessive expression says that a head is of this kind and, in the same pass, finds
the fields that a proxy must look at; no line is taken apart.

It takes less than the grammar does and never more, and what it takes means the
same. So nothing is refused here and nothing raises: `head` judges all the rest, what
is rare as what is wrong. A name is looked for, and then has an expression for its
value, or it is a rare one that sends the head to `head`, or it is plain.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from lbproto.framing.codec import CodecLimits
from lbproto.framing.headers import Headers, Place, Search
from lbproto.framing.messages import (
    COUNTED,
    HTTP11,
    NO_BODY,
    STREAM,
    BodyHint,
    RequestHead,
    ResponseHead,
)

__all__ = ["UsualRequests", "UsualResponses"]

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
NO_UNDERSCORE: Final = TOKEN.replace(b"_", b"")
TEXT: Final = rb"[\x20-\x7e\x80-\xff]*+"
# With one space before it or none: no white space that `Headers` makes canonical.
TRIMMED: Final = rb"(?! )" + TEXT + rb"(?<! )"
PLAIN: Final = rb": ?+%b\r\n" % TRIMMED
# No IPv6 and no port over 59999: what needs no second look (RFC 9110 7.2).
HOST: Final = rb"[0-9A-Za-z._-]++(?::[1-5]?[0-9]{1,4}+)?+"
# Canonical, and below the largest that is read.
LENGTH: Final = rb"0|[1-9][0-9]{0,17}+"


def _any_case(text: bytes) -> bytes:
    """Match text in any case; sets are matched faster than with IGNORECASE."""
    return b"".join(
        b"[%c%c]" % (byte & 0xDF, byte) if byte > 0x60 else re.escape(b"%c" % byte)
        for byte in text
    )


CHUNKED: Final = _any_case(b"chunked")
OPTION: Final = _any_case(b"keep-alive") + b"|" + _any_case(b"close")


def _fields(
    first: int, values: Sequence[tuple[bytes, bytes]], rare: bytes, token: bytes
) -> bytes:
    """Match field lines, `COUNT` of them at most, and the empty line.

    `values`: names that stand there once at most, and their values, of which each
    is a group, beginning with group `first`. `rare`: what no other line begins with.
    """
    named = [
        b"%b:(?(%d)(?!)| (%b))\r\n" % (_any_case(name), group, value)
        for group, (name, value) in enumerate(values, first)
    ]
    known = [_any_case(name) + b":" for name, _ in values]
    known += [_any_case(name) for name in rare.split()]
    letters = {name[1:3] for name in known}
    safe = b"".join(
        pair
        for pair in (b"%c%c" % (byte, byte + 32) for byte in range(0x41, 0x5B))
        if pair not in letters
    )
    # Most lines begin with a letter that tells them from all others.
    lines = [b"[%b]%b*+%b" % (safe, token, PLAIN), *named]
    lines.append(b"(?!%b)%b++%b" % (b"|".join(known), token, PLAIN))
    return rb"\r\n(?:" + b"|".join(lines) + rb"){0,COUNT}+\r\n"


def _matcher(
    pattern: bytes, limits: CodecLimits
) -> Callable[[bytes], re.Match[bytes] | None]:
    # `re` counts to 2**32 - 2.
    count = b"%d" % min(limits.header_count, 65535)
    return re.compile(pattern.replace(b"COUNT", count)).match


REQUEST: Final = rb"(GET|POST|PUT|HEAD|DELETE|PATCH) (/[\x21\x22\x24-\x7e]*+) HTTP/1\.1"
REQUEST_FIELDS: Final = _fields(
    3,
    [
        (b"host", HOST),
        (b"connection", OPTION),
        (b"content-length", LENGTH),
        (b"transfer-encoding", CHUNKED),
    ],
    b"close: expect: forwarded keep-alive: proxy- te: trailer: upgrade: via:"
    b" x-forwarded x-real-ip",
    NO_UNDERSCORE,
)
REQUEST_SEARCH: Final = Search(
    frozenset(
        {
            b"close",
            b"connection",
            b"content-length",
            b"expect",
            b"forwarded",
            b"host",
            b"keep-alive",
            b"proxy-authenticate",
            b"proxy-authentication-info",
            b"proxy-authorization",
            b"proxy-connection",
            b"te",
            b"trailer",
            b"transfer-encoding",
            b"upgrade",
            b"via",
            b"x-real-ip",
        }
    ),
    ordinary=True,
)

RESPONSE: Final = rb"HTTP/1\.1 ([2-5][0-9][0-9]) (%b)" % TEXT
RESPONSE_FIELDS: Final = _fields(
    3,
    [
        (b"date", TRIMMED),
        (b"content-length", LENGTH),
        (b"connection", OPTION),
        (b"transfer-encoding", CHUNKED),
        (b"keep-alive", TRIMMED),
    ],
    b"close: proxy- te: trailer: upgrade:",
    TOKEN,
)
RESPONSE_SEARCH: Final = Search(
    frozenset(
        {
            b"close",
            b"connection",
            b"content-length",
            b"date",
            b"keep-alive",
            b"proxy-authenticate",
            b"proxy-authentication-info",
            b"proxy-authorization",
            b"proxy-connection",
            b"te",
            b"trailer",
            b"transfer-encoding",
            b"upgrade",
        }
    ),
    ordinary=False,
)

NOTHING: Final[frozenset[bytes]] = frozenset()
CLOSE: Final = frozenset({b"close"})
KEEP_ALIVE: Final = frozenset({b"keep-alive"})


class UsualRequests:
    """Reads request heads that are as nearly all are."""

    __slots__ = ("_match", "limits")

    def __init__(self, limits: CodecLimits) -> None:
        self._match = _matcher(REQUEST + REQUEST_FIELDS, limits)
        self.limits = limits

    def read(self, data: bytes, stream: int) -> tuple[RequestHead, int] | None:
        """Return a head that is all there, and where it ends; None: look closer."""
        found = self._match(data)
        if found is None:
            return None
        (
            (_, end),
            (_, method_end),
            (target_begin, start_end),
            (host_begin, host_end),
            (option_begin, option_end),
            (size_begin, size_end),
            (coding_begin, coding_end),
        ) = found.regs
        limits = self.limits
        base = start_end + 11  # behind ` HTTP/1.1` and CRLF
        if host_begin < 0 or end > limits.header_size or base > limits.request_line:
            return None
        places: dict[bytes, Place] = {
            b"host": (host_begin - base - 6, host_end - base + 2)
        }
        nominated = NOTHING
        if option_begin >= 0:
            nominated = CLOSE if option_end - option_begin == 5 else KEEP_ALIVE
            places[b"connection"] = option_begin - base - 12, option_end - base + 2
        body: BodyHint = NO_BODY
        if size_begin >= 0:
            count = int(data[size_begin:size_end])
            if coding_begin >= 0:
                return None
            if limits.body_size is not None and count > limits.body_size:
                return None
            body = BodyHint(COUNTED, count)
            places[b"content-length"] = size_begin - base - 16, size_end - base + 2
        elif coding_begin >= 0:
            body = STREAM
            place = coding_begin - base - 19, coding_end - base + 2
            places[b"transfer-encoding"] = place
        head = RequestHead(
            stream,
            data[:method_end],
            data[target_begin:start_end],
            data[host_begin:host_end],
            b"http",
            Headers(data[base : end - 2], REQUEST_SEARCH, places),
            body,
            HTTP11,
            nominated,
        )
        return head, end


class UsualResponses:
    """Reads final response heads that are as nearly all are."""

    __slots__ = ("_match", "content_limits", "limits")

    def __init__(self, limits: CodecLimits) -> None:
        self._match = _matcher(RESPONSE + RESPONSE_FIELDS, limits)
        self.limits = limits
        # Those of content are for requests; a response may be of any size and shape.
        self.content_limits = replace(limits, body_size=None, small_chunks=None)

    def read(
        self, data: bytes, stream: int, method: bytes
    ) -> tuple[ResponseHead, int, bool] | None:
        """Return a head that is all there, and where it ends; None: look closer.

        `method` is that of the request. Last comes whether content is chunked.
        """
        found = self._match(data)
        if found is None:
            return None
        (
            (_, end),
            (status_begin, status_end),
            (reason_begin, start_end),
            (date_begin, date_end),
            (size_begin, size_end),
            (option_begin, option_end),
            (coding_begin, coding_end),
            (alive_begin, alive_end),
        ) = found.regs
        if end > self.limits.response_header_size:
            return None
        base = start_end + 2
        places: dict[bytes, Place] = {}
        body: BodyHint = STREAM
        if size_begin >= 0:
            if coding_begin >= 0:
                return None
            body = BodyHint(COUNTED, int(data[size_begin:size_end]))
            places[b"content-length"] = size_begin - base - 16, size_end - base + 2
        elif coding_begin >= 0:
            place = coding_begin - base - 19, coding_end - base + 2
            places[b"transfer-encoding"] = place
        if date_begin >= 0:
            places[b"date"] = date_begin - base - 6, date_end - base + 2
        nominated = NOTHING
        if option_begin >= 0:
            nominated = CLOSE if option_end - option_begin == 5 else KEEP_ALIVE
            places[b"connection"] = option_begin - base - 12, option_end - base + 2
        if alive_begin >= 0:
            places[b"keep-alive"] = alive_begin - base - 12, alive_end - base + 2
        status = int(data[status_begin:status_end])
        if status == 304 or status == 204 or method == b"HEAD":
            body = NO_BODY  # RFC 9112 6.3, whatever the fields say
            coding_begin = -1
        head = ResponseHead(
            stream,
            status,
            data[reason_begin:start_end],
            Headers(data[base : end - 2], RESPONSE_SEARCH, places),
            body,
            HTTP11,
            nominated,
        )
        return head, end, coding_begin >= 0
