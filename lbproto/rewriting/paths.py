r"""The one form of a path that routes look at.

Many spellings lead to the same resource: `/admin`, `/%61dmin`, `//admin` and
`/x/../admin` do, to most servers. A route that is to keep requests out must not
miss one of them, so routes never see the bytes that came but the path that they
mean: every `%XX` decoded once, slashes that follow each other merged, and the
segments `.` and `..` resolved (RFC 3986 5.2.4 and 6.2.2). What leads above the root,
holds a NUL, or breaks the percent-encoding has no such form.

Servers disagree on one thing: where `..` leads when it meets an empty segment or an
encoded slash. `/admin//../public` is `/admin/public` to those who keep empty segments
and `/public` to those who merge them. So such a path is read in every way, and has a
form only if all of them lead to the same place; else the request is refused.

Unless a route edits the path, the backend gets it as it came (RFC 9110 7.7). What
is edited is encoded anew by `encoded`. A parameter (`;x`) is a part of its segment,
letters keep their case, and `\` is a character like others.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["encoded", "split_target", "true_path"]

_PLAIN: Final = re.compile(rb"(?:/(?!\.\.?(?:/|\Z))[^/%\x00]++)*+/?+")
"""A path that is in its final form already."""

_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_BROKEN: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_SLASHES: Final = re.compile(rb"/{2,}+")
_RESERVED: Final = re.compile(rb"[^A-Za-z0-9._~!$&'()*+,;=:@/\x2d]")


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """Split a target into its path and its query, with the question mark."""
    path, mark, query = target.partition(b"?")
    return path, mark + query


def true_path(path: bytes) -> bytes | None:
    """Return the form of a path that routes look at; None if there is no safe one."""
    if _PLAIN.fullmatch(path) is not None:
        return path
    if path == b"*":
        return path  # OPTIONS for the server itself
    if _BROKEN.search(path) is not None:
        return None
    decoded = _ESCAPE.sub(_decode, path)
    if b"\0" in decoded or path[:1] != b"/":
        return None
    segments = decoded[1:].split(b"/")
    form = _resolved(segments, keep_empty=False)
    if b".." in segments:
        whole = [_ESCAPE.sub(_decode, one) for one in path[1:].split(b"/")]
        readings = [
            _resolved(segments, keep_empty=True),
            _resolved(whole, keep_empty=False),
            _resolved(whole, keep_empty=True),
        ]
        if any(reading != form for reading in readings):
            return None
    return form


def encoded(path: bytes) -> bytes:
    """Write a decoded path so that it means the same in a target."""
    return _RESERVED.sub(_encode, path)


def _resolved(segments: list[bytes], *, keep_empty: bool) -> bytes | None:
    """Return where segments lead, with slashes merged; None if above the root."""
    kept: list[bytes] = []
    for segment in segments:
        if segment == b"..":
            if not kept:
                return None
            kept.pop()
        elif segment != b"." and (segment or keep_empty):
            kept.append(segment)
    if segments[-1] in (b"", b".", b".."):
        kept.append(b"")
    return _SLASHES.sub(b"/", b"/" + b"/".join(kept))


def _decode(found: re.Match[bytes]) -> bytes:
    return bytes((int(found[1], 16),))


def _encode(found: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(found[0])
