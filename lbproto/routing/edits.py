"""Editing the path of a request on its way to a backend.

Edits work on the path that routes look at, decoded and without detours (see
`rewriting.paths`), so that nothing hides from them; the result is encoded anew. The
query stays, behind what an edit puts there itself. A path that an edit is not for
stays as it came.

What a regex's groups hold is data: it is encoded where it is put, so that it can
begin neither a query nor another parameter, and a result that leads somewhere else
after all (`/.$1` with `.`) has no form and is refused.
"""

from __future__ import annotations

import re
from typing import Final, Protocol, TypeAlias

from lbproto.config import Rewrite
from lbproto.rewriting.paths import encoded, true_path
from lbproto.routing.automaton import PathPattern
from lbproto.routing.pattern import PatternError

__all__ = ["Edit", "PrefixEdit", "RegexEdit", "edit_of", "is_below"]

_GROUP: Final = re.compile(rb"\$(?:([$0-9])|\{([0-9])\})")
_UNRESERVED: Final = re.compile(rb"[^A-Za-z0-9._~\x2d]")

Pieces: TypeAlias = tuple[bytes | int, ...]
"""Text, and the numbers of groups."""


class Edit(Protocol):
    """Makes a target out of a path."""

    def target(self, path: bytes, query: bytes) -> bytes | None:
        """Return the new target; None if it must not be.

        `query` begins with its question mark. An edit that is not for this path
        returns an empty target.
        """
        ...


def is_below(path: bytes, prefix: bytes) -> bool:
    """Tell whether a path is a prefix, or goes on behind it with a slash."""
    return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in b"/"


class PrefixEdit:
    """Puts something in the place of a path's beginning."""

    __slots__ = ("_prefix", "_query", "_to")

    def __init__(self, prefix: str, to: str) -> None:
        self._prefix = prefix.encode().rstrip(b"/")
        path, _, self._query = to.encode().partition(b"?")
        self._to = path.rstrip(b"/")

    def target(self, path: bytes, query: bytes) -> bytes | None:
        """Return the new target; see `Edit`."""
        if not is_below(path, self._prefix):
            return b""
        rest = encoded(path[len(self._prefix) :])
        return (self._to + rest or b"/") + _joined(self._query, query)


class RegexEdit:
    """Puts something in the place of a whole path."""

    __slots__ = ("_path", "_pattern", "_query")

    def __init__(self, regex: str, to: str) -> None:
        """Read both.

        Raises:
            PatternError: the regex is none, or has not so many groups.
        """
        self._pattern = PathPattern(regex)
        path, _, query = to.encode().partition(b"?")
        self._path = _pieces(path, self._pattern.groups)
        self._query = _pieces(query, self._pattern.groups)

    def target(self, path: bytes, query: bytes) -> bytes | None:
        """Return the new target; see `Edit`."""
        groups = self._pattern.match(path)
        if groups is None:
            return b""
        made = true_path(_filled(self._path, [encoded(group) for group in groups]))
        if made is None:
            return None
        values = [_UNRESERVED.sub(_hex, group) for group in groups]
        return encoded(made) + _joined(_filled(self._query, values), query)


def edit_of(strip_prefix: str | None, rewrite: Rewrite | None) -> Edit | None:
    """Make the edit of a route; None if it has none.

    Raises:
        PatternError: its regex is none, or has not so many groups.
    """
    if strip_prefix is not None:
        return PrefixEdit(strip_prefix, "/")
    if rewrite is None:
        return None
    if rewrite.regex is not None:
        return RegexEdit(rewrite.regex, rewrite.to)
    return PrefixEdit(rewrite.prefix or "/", rewrite.to)


def _joined(new: bytes, query: bytes) -> bytes:
    if not new:
        return query
    return b"?" + new + (b"&" + query[1:] if len(query) > 1 else b"")


def _pieces(text: bytes, groups: int) -> Pieces:
    pieces: list[bytes | int] = []
    end = 0
    for found in _GROUP.finditer(text):
        pieces.append(text[end : found.start()])
        end = found.end()
        name = found[1] or found[2]
        if name == b"$":
            pieces.append(b"$")
        elif 1 <= int(name) <= groups:
            pieces.append(int(name))
        else:
            raise PatternError(f"${int(name)} is none of the {groups} groups")
    return tuple(piece for piece in (*pieces, text[end:]) if piece != b"")


def _filled(pieces: Pieces, groups: list[bytes]) -> bytes:
    return b"".join(
        piece if isinstance(piece, bytes) else groups[piece - 1] for piece in pieces
    )


def _hex(found: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(found[0])
