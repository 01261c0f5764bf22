"""Heads as nearly all are: validated and understood in one pass over their octets.

Nearly every head holds what few others do not: a common method, origin-form, one
Host, at most one of each field that frames, nothing that tells of other proxies. So a
head of this kind is read line by line: a name, which is plain or one of the few that
a proxy must look at, and a value of text. No line is taken out of the head.

This takes less than the grammar does and never more, and what it takes means the
same. So nothing is refused here and nothing raises: `head` judges all the rest, what
is rare as what is wrong.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from lbproto.framing.codec import CodecLimits
from lbproto.framing.headers import Headers
from lbproto.framing.messages import (
    CLOSE,
    COUNTED,
    HTTP11,
    KEEP_ALIVE,
    NO_BODY,
    NO_OPTIONS,
    STREAM,
    BodyHint,
    RequestHead,
    ResponseHead,
)
from lbproto.framing.octets import Octets, begins_with
from lbproto.framing.search import HOP_BY_HOP, Place, Search
from lbproto.machine.values import leaf

if TYPE_CHECKING:
    from mypy_extensions import i64

__all__ = ["UsualRequests", "UsualResponses"]

SPACE: Final = 0x20
COLON: Final = 0x3A
SLASH: Final = 0x2F
CR: Final = 0x0D
LF: Final = 0x0A
ZERO: Final = 0x30

DIGIT: Final = b"0123456789"
UPPER: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ALNUM: Final = DIGIT + UPPER + UPPER.lower()
NO_UNDERSCORE: Final = b"!#$%&'*+-.^`|~" + ALNUM
VISIBLE: Final = bytes(range(0x21, 0x7F))
OBS_TEXT: Final = bytes(range(0x80, 0x100))

METHOD: Final = Octets(UPPER)
TARGET: Final = Octets(VISIBLE.replace(b"#", b""))
HOST_NAME: Final = Octets(ALNUM + b"._-")
DIGITS: Final = Octets(DIGIT)
TEXT: Final = Octets(b" " + VISIBLE + OBS_TEXT)

METHODS: Final = frozenset({b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"PATCH"})

LONGEST: Final = 18
"""Digits of a length; all such numbers are below the largest that is read."""

# What a name is to us. Names that are looked at are bits, of which a head has a set.
PLAIN: Final = 0
HOST: Final = 1
CONNECTION: Final = 2
LENGTH: Final = 4
CODING: Final = 8
DATE: Final = 16
KEPT_ALIVE: Final = 32
RARE: Final = 64

NAMED: Final = {
    b"host": HOST,
    b"connection": CONNECTION,
    b"content-length": LENGTH,
    b"transfer-encoding": CODING,
    b"date": DATE,
    b"keep-alive": KEPT_ALIVE,
}


class Name:
    """A field name that is looked at, or that such names begin with."""

    __slots__ = ("begins", "kind", "lower", "size")

    def __init__(self, lower: bytes, kind: int, *, begins: bool) -> None:
        self.lower = lower
        self.kind: i64 = kind
        self.begins = begins
        self.size: i64 = len(lower)


class Names:
    """The field names that are looked at in one direction."""

    __slots__ = ("_by_letter", "searches", "token")

    def __init__(
        self, token: bytes, looked_at: int, rare: bytes, *, ordinary: bool
    ) -> None:
        """`looked_at`: a set of bits. `rare`: names, and with `*` their beginnings."""
        self.token = Octets(token)
        names = [
            Name(name, bit, begins=False)
            for name, bit in NAMED.items()
            if bit & looked_at
        ]
        names += [
            Name(name.removesuffix(b"*"), RARE, begins=name.endswith(b"*"))
            for name in rare.split()
        ]
        self._by_letter: list[list[Name]] = [
            [one for one in names if one.lower[0] == octet | 0x20]
            for octet in range(256)
        ]
        self.searches = [
            Search.of(
                HOP_BY_HOP.union(one.lower for one in names),
                frozenset(name for name, bit in NAMED.items() if bit & there),
                ordinary=ordinary,
            )
            for there in range(RARE)
        ]
        """By the set of bits that a head has."""

    def kind(self, data: bytes, begin: i64, end: i64) -> i64:
        """Tell what a name is; nearly all are plain, and most of them at a glance."""
        size: i64 = end - begin
        for one in self._by_letter[data[begin]]:
            fits = size == one.size or (one.begins and size > one.size)
            if fits and begins_with(data, begin, one.lower):
                return one.kind
        return PLAIN


REQUEST_NAMES: Final = Names(
    NO_UNDERSCORE,
    HOST | CONNECTION | LENGTH | CODING,
    b"close expect forwarded* keep-alive proxy-* te trailer upgrade via"
    b" x-forwarded* x-real-ip",
    ordinary=True,
)
RESPONSE_NAMES: Final = Names(
    NO_UNDERSCORE + b"_",
    CONNECTION | LENGTH | CODING | DATE | KEPT_ALIVE,
    b"close proxy-* te trailer upgrade",
    ordinary=False,
)


@leaf
class Lines:
    """What the field lines of one head say."""

    __slots__ = ("base", "hop", "host", "length", "options", "there")

    def __init__(self, base: i64) -> None:
        self.base: i64 = base
        """Where the first one begins."""
        self.there: i64 = 0
        """The set of bits of fields that are there."""
        self.host = b""
        self.length = -1
        self.options = NO_OPTIONS
        """Of Connection."""
        self.hop: tuple[Place, ...] = ()
        """The lines of fields for one hop, counted from `base`."""

    def read(self, data: bytes, names: Names, most: int) -> i64:
        """Read up to the empty line, `most` lines; return where that ends, or -1.

        Raises:
            IndexError: there is no end yet.
        """
        at: i64 = self.base
        left: i64 = most
        token = names.token
        while data[at] != CR:
            left -= 1
            colon: i64 = token.end(data, at)
            if left < 0 or colon == at or data[colon] != COLON:
                return -1
            kind: i64 = names.kind(data, at, colon)
            begin: i64 = colon + 1
            if data[begin] == SPACE:
                begin += 1
            elif kind != PLAIN:
                return -1
            end: i64 = TEXT.end(data, begin)
            # White space around a value is for the gate to make canonical.
            if data[begin] == SPACE or data[end - 1] == SPACE:
                return -1
            if data[end] != CR or data[end + 1] != LF:
                return -1
            if kind != PLAIN and not self._take(kind, data, at, begin, end):
                return -1
            at = end + 2
        return at + 2 if data[at + 1] == LF else -1

    def _take(self, kind: i64, data: bytes, at: i64, begin: i64, end: i64) -> bool:
        """Take a field that is looked at; False: it is not as it usually is."""
        if kind == RARE or self.there & kind:
            return False
        self.there |= kind
        if kind == LENGTH:
            return self._take_length(data, begin, end)
        if kind == HOST:
            self.host = data[begin:end]
            return _is_plain_host(data, begin, end)
        if kind == DATE:
            return True
        place = (at - self.base, end + 2 - self.base)
        self.hop = (*self.hop, place) if self.hop else (place,)
        if kind == CONNECTION:
            return self._take_option(data, begin, end - begin)
        if kind == CODING:
            return end - begin == len(b"chunked") and begins_with(
                data, begin, b"chunked"
            )
        return True

    def _take_option(self, data: bytes, begin: i64, size: i64) -> bool:
        """Take the value of Connection, if it is one of two words."""
        if size == len(b"keep-alive") and begins_with(data, begin, b"keep-alive"):
            self.options = KEEP_ALIVE
        elif size == len(b"close") and begins_with(data, begin, b"close"):
            self.options = CLOSE
        else:
            return False
        return True

    def _take_length(self, data: bytes, begin: i64, end: i64) -> bool:
        """Take a canonical number."""
        size: i64 = end - begin
        if size > LONGEST or (data[begin] == ZERO and size > 1):
            return False
        self.length = _number(data, begin, end)
        return self.length >= 0


def _number(data: bytes, begin: i64, end: i64) -> i64:
    """Read up to `LONGEST` digits; -1: something else is there, or nothing."""
    number: i64 = -1 if begin == end else 0
    at: i64 = begin
    while at < end:
        digit: i64 = data[at]
        digit -= ZERO
        if digit < 0 or digit > 9:
            return -1
        number = number * 10 + digit
        at += 1
    return number


def _is_known(method: bytes) -> bool:
    """Tell whether a method is a common one; no hash is made of the most common."""
    return method == b"GET" or method in METHODS


def _is_plain_host(data: bytes, begin: i64, end: i64) -> bool:
    """Tell whether it needs no second look: no IPv6, no port over 59999."""
    colon: i64 = HOST_NAME.end(data, begin)
    if colon == begin:
        return False
    if colon == end:
        return True
    size: i64 = end - colon - 1
    if data[colon] != COLON or DIGITS.end(data, colon + 1) != end:
        return False
    return 1 <= size <= 4 or (size == 5 and ZERO < data[colon + 1] < ZERO + 6)


class UsualRequests:
    """Reads request heads that are as nearly all are."""

    __slots__ = ("_body_size", "_count", "_line_size", "_size", "limits")

    def __init__(self, limits: CodecLimits) -> None:
        self.limits = limits
        self._size = limits.header_size
        self._line_size = limits.request_line
        self._count = limits.header_count
        self._body_size = -1 if limits.body_size is None else limits.body_size

    def read(self, data: bytes, stream: int) -> tuple[RequestHead | None, int]:
        """Return a head that is all there, and where it ends; None: look closer."""
        try:
            return self._read(data, stream)
        except IndexError:
            return None, 0  # it is not all there

    def _read(self, data: bytes, stream: int) -> tuple[RequestHead | None, int]:
        method_end: i64 = METHOD.end(data, 0)
        method = data[:method_end]
        target: i64 = method_end + 1
        if data[method_end] != SPACE or data[target] != SLASH or not _is_known(method):
            return None, 0
        start_end: i64 = TARGET.end(data, target)
        base: i64 = start_end + 11
        if data[start_end:base] != b" HTTP/1.1\r\n" or base > self._line_size:
            return None, 0
        lines = Lines(base)
        end: i64 = lines.read(data, REQUEST_NAMES, self._count)
        there: i64 = lines.there
        count = lines.length
        if end < 0 or end > self._size or not there & HOST:
            return None, 0
        body: BodyHint = NO_BODY
        if count >= 0:
            if there & CODING or 0 <= self._body_size < count:
                return None, 0
            body = BodyHint(COUNTED, count)
        elif there & CODING:
            body = STREAM
        fields = data[base : end - 2]
        search = REQUEST_NAMES.searches[there]
        head = RequestHead(
            stream,
            method,
            data[target:start_end],
            lines.host,
            b"http",
            Headers(fields, search, lines.hop, count, lines.host),
            body,
            HTTP11,
            lines.options,
        )
        return head, end


class UsualResponses:
    """Reads final response heads that are as nearly all are."""

    __slots__ = ("_count", "_size", "content_limits", "limits")

    def __init__(self, limits: CodecLimits) -> None:
        self.limits = limits
        self._size = limits.response_header_size
        self._count = limits.header_count
        # Those of content are for requests; a response may be of any size and shape.
        self.content_limits = replace(limits, body_size=None, small_chunks=None)

    def read(
        self, data: bytes, stream: int, method: bytes
    ) -> tuple[ResponseHead | None, int, bool]:
        """Return a head that is all there, and where it ends; None: look closer.

        `method` is that of the request. Last comes whether content is chunked.
        """
        try:
            return self._read(data, stream, method)
        except IndexError:
            return None, 0, False  # it is not all there

    def _read(
        self, data: bytes, stream: int, method: bytes
    ) -> tuple[ResponseHead | None, int, bool]:
        if not data.startswith(b"HTTP/1.1 "):
            return None, 0, False
        status: i64 = _number(data, 9, 12)
        if status < 200 or status > 599 or data[12] != SPACE:
            return None, 0, False
        start_end: i64 = TEXT.end(data, 13)
        if data[start_end] != CR or data[start_end + 1] != LF:
            return None, 0, False
        base: i64 = start_end + 2
        lines = Lines(base)
        end: i64 = lines.read(data, RESPONSE_NAMES, self._count)
        if end < 0 or end > self._size:
            return None, 0, False
        there: i64 = lines.there
        count = lines.length
        chunked = there & CODING != 0
        body: BodyHint = STREAM
        if count >= 0:
            if chunked:
                return None, 0, False
            body = BodyHint(COUNTED, count)
        if status == 304 or status == 204 or method == b"HEAD":
            body = NO_BODY  # RFC 9112 6.3, whatever the fields say
            chunked = False
        head = ResponseHead(
            stream,
            status,
            data[13:start_end],
            Headers(
                data[base : end - 2], RESPONSE_NAMES.searches[there], lines.hop, count
            ),
            body,
            HTTP11,
            lines.options,
        )
        return head, end, chunked
