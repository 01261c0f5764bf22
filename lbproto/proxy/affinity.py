"""A cookie that brings a client back to the backend it had.

The value is a keyed hash (HMAC-SHA256, the first 128 bits) of the backend's address.
Nothing is kept: the same secret gives the same value after a restart and in every
worker, a value that nobody with the secret made is the value of no backend, and it
tells an address to nobody who lacks the secret.

As with `insert indirect` of HAProxy the cookie is between the client and us. It is
taken out of the request, so that no backend sees it; and it is set only when it does
not name the backend that answers: because there was none, it is not ours, or the
backend is gone or cannot be chosen.

RFC 6265 4.1 and 4.2 for the fields.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Final

from lbproto.config import Sticky
from lbproto.framing.headers import Headers
from lbproto.machine.effects import Target
from lbproto.selection.backend import BackendId
from lbproto.selection.balancer import Members

__all__ = ["Affinity"]

DIGEST: Final = 16
"""Bytes; a value that is guessed is right once in 2**128."""

PURPOSE: Final = b"lbproto sticky\0"
"""Keeps the hash apart from others that the same secret may make."""

_SITES: Final = {"lax": b"Lax", "strict": b"Strict", "none": b"None"}


class Affinity:
    """Reads and writes the cookie of one upstream."""

    __slots__ = ("_known", "_pattern", "_sticky")

    def __init__(self, sticky: Sticky) -> None:
        self._sticky = sticky
        self._known: tuple[Members, Mapping[bytes, BackendId]] = ((), {})
        name = re.escape(sticky.cookie)
        self._pattern = re.compile(rb"[ \t]*+" + name + rb"[ \t]*+=(.*+)")

    def take(self, headers: Headers, members: Members) -> BackendId | None:
        """Take the cookie out of a request; return the backend that it is for."""
        fields = headers.get_all(b"cookie")
        if not any(self._sticky.cookie in field for field in fields):
            return None
        values, others = [], []
        for pair in b";".join(fields).split(b";"):
            found = self._pattern.fullmatch(pair)
            if found is not None:
                values.append(found[1].strip(b' \t"'))
            elif other := pair.strip(b" \t"):
                others.append(other)
        if not values:
            return None
        if others:
            headers.insert_header(b"Cookie", b"; ".join(others))
        else:
            headers.remove_header(b"cookie")
        known = self._values(members)
        return next((known[value] for value in values if value in known), None)

    def cookie(self, target: Target, *, secure: bool) -> bytes:
        """Write Set-Cookie for a backend; `secure`: the client speaks TLS."""
        sticky = self._sticky
        parts = [sticky.cookie + b"=" + self._value(target), b"Path=/"]
        if sticky.max_age is not None:
            parts.append(b"Max-Age=%d" % sticky.max_age)
        if secure if sticky.secure is None else sticky.secure:
            parts.append(b"Secure")
        if sticky.http_only:
            parts.append(b"HttpOnly")
        if sticky.same_site is not None:
            parts.append(b"SameSite=" + _SITES[sticky.same_site])
        return b"; ".join(parts)

    def _values(self, members: Members) -> Mapping[bytes, BackendId]:
        known, values = self._known
        if known is not members:
            values = {self._value(target): backend for backend, target in members}
            self._known = (members, values)  # as a whole, for threads
        return values

    def _value(self, target: Target) -> bytes:
        key = self._sticky.secret.value
        digest = hmac.digest(key, PURPOSE + str(target).encode(), "sha256")
        return urlsafe_b64encode(digest[:DIGEST]).rstrip(b"=")
