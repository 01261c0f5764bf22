"""The shape of `sticky`, and the record it becomes.

Without a `secret` the key is made from the identity of the machine, which stays over
restarts and which others do not know (machine-id(5) asks that it be hashed like this
before it is used). Where there is none the host's name must do; others may know that.
"""

from __future__ import annotations

import hmac
import re
import socket
from pathlib import Path
from typing import Annotated, Final, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator

from lbproto.config import Secret, Sticky
from lbproto.config.shown import shown
from lbproto_cli import quantities, words

__all__ = ["OfUpstream", "StickyEntry", "sticky"]

_STRICT: Final = ConfigDict(strict=True, extra="forbid", frozen=True)
_COOKIE: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}+")
_PURPOSE: Final = b"lbproto sticky secret"
MACHINE_ID: Final = ("/etc/machine-id", "/var/lib/dbus/machine-id")
SHORTEST: Final = 16


def _cookie(value: object) -> bytes:
    if isinstance(value, str) and _COOKIE.fullmatch(value):
        return value.encode()
    raise ValueError(f"got {shown(value)}, expected the name of a cookie")


def _secret(value: object) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, str) and len(value) >= SHORTEST:
        return value.encode()
    # What was written is not shown: it may be a secret all the same.
    raise ValueError(f"expected text of at least {SHORTEST} characters, or null")


def _secure(value: object) -> bool | None:
    return None if value is None else quantities.flag(value)


def _same_site(value: object) -> str | None:
    if value is None:
        return None
    return words.choice("lax", "strict", "none")(value)


def _max_age(value: object) -> int | None:
    """Whole seconds (RFC 6265 4.1.1)."""
    if value is None:
        return None
    return max(1, round(quantities.duration(zero=False)(value)))


class StickyEntry(BaseModel):
    """`sticky` of an upstream."""

    model_config = _STRICT

    cookie: Annotated[bytes, PlainValidator(_cookie)]
    secret: Annotated[bytes | None, PlainValidator(_secret)] = None
    secure: Annotated[bool | None, PlainValidator(_secure)] = None
    http_only: Annotated[bool, PlainValidator(quantities.flag)] = True
    same_site: Annotated[str | None, PlainValidator(_same_site)] = None
    max_age: Annotated[int | None, PlainValidator(_max_age)] = None


def _entry(value: object) -> object:
    if value is None or value is False:
        return None
    if isinstance(value, dict):
        return value
    raise ValueError(f"got {shown(value)}, expected a mapping with a cookie")


OfUpstream = Annotated[StickyEntry | None, BeforeValidator(_entry)]


def sticky(entry: StickyEntry | None) -> Sticky | None:
    """Make the record of an upstream."""
    if entry is None:
        return None
    return Sticky(
        cookie=entry.cookie,
        secret=Secret(entry.secret or _of_this_machine()),
        secure=entry.secure,
        http_only=entry.http_only,
        same_site=cast('Literal["lax", "strict", "none"] | None', entry.same_site),
        max_age=entry.max_age,
    )


def _of_this_machine() -> bytes:
    known = socket.gethostname().encode()
    for path in MACHINE_ID:
        try:
            found = Path(path).read_bytes().strip()
        except OSError:
            continue
        if found:
            known = found
            break
    return hmac.digest(known, _PURPOSE, "sha256")
