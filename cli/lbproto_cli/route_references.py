"""What the keys of one route have to agree on.

As in `references` the tree is read, not the checked models; a value of the wrong
type is not the affair of these checks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lbproto.config.shown import shown
from lbproto.routing.edits import RegexEdit
from lbproto.routing.pattern import PatternError
from lbproto_cli.problems import Path

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from lbproto_cli.positions import Value

__all__ = ["check_route", "upstreams_of"]

ACTIONS: Final = ("upstream", "split", "redirect", "respond")
PATHS: Final = ("path", "path_prefix", "path_regex")
WITHOUT_CONTENT: Final = (204, 205, 304)


def upstreams_of(path: Path, route: dict[str, Value]) -> Iterator[tuple[Path, Value]]:
    """Yield where a route names an upstream, and the name."""
    yield (*path, "upstream"), route.get("upstream")
    for number, share in enumerate(_entries(route.get("split"))):
        if isinstance(share, dict):
            yield (*path, "split", number, "upstream"), share.get("upstream")


def check_route(path: Path, route: dict[str, Value]) -> Iterator[tuple[Path, str]]:
    """Yield what does not fit together in a route."""
    given = _given(route, ACTIONS)
    if not given:
        yield path, f"nothing to do, expected one of {', '.join(ACTIONS)}"
    for other in given[1:]:
        yield (*path, other), f"there is {given[0]} already, expected one of them"
    match = route.get("match")
    if isinstance(match, dict):
        for other in (paths := _given(match, PATHS))[1:]:
            message = f"there is {paths[0]} already, expected one of them"
            yield (*path, "match", other), message
        yield from _same_fields((*path, "match", "headers"), match.get("headers"))
    yield from _split((*path, "split"), route.get("split"))
    yield from _edits(path, route, ours=not {"upstream", "split"} & {*given})
    yield from _respond((*path, "respond"), route.get("respond"))


def _given(mapping: dict[str, Value], names: Collection[str]) -> list[str]:
    return [name for name in names if mapping.get(name) not in (None, [])]


def _entries(value: Value) -> list[Value]:
    return value if isinstance(value, list) else []


def _same_fields(path: Path, headers: Value) -> Iterator[tuple[Path, str]]:
    seen: dict[str, str] = {}
    for name in headers if isinstance(headers, dict) else {}:
        first = seen.setdefault(name.lower(), name)
        if first != name:
            yield (*path, name), f"the same field as {shown(first)}, expected it once"


def _split(path: Path, split: Value) -> Iterator[tuple[Path, str]]:
    entries = [one for one in _entries(split) if isinstance(one, dict)]
    weights = [one.get("weight", 1) for one in entries]
    if weights and all(weight == 0 for weight in weights):
        yield path, "every weight is 0, expected at least one above"


def _edits(
    path: Path, route: dict[str, Value], *, ours: bool
) -> Iterator[tuple[Path, str]]:
    given = _given(route, ("strip_prefix", "rewrite"))
    for name in given if ours else []:
        yield (*path, name), "the answer is our own, expected an upstream beside it"
    if len(given) == 2:
        yield (*path, "rewrite"), "there is strip_prefix already, expected one of them"
    rewrite = route.get("rewrite")
    if not isinstance(rewrite, dict):
        return
    kinds = _given(rewrite, ("prefix", "regex"))
    if len(kinds) != 1:
        yield (*path, "rewrite"), "expected either prefix or regex"
        return
    regex, to = rewrite.get("regex"), rewrite.get("to")
    if isinstance(regex, str) and isinstance(to, str):
        try:
            RegexEdit(regex, to)
        except PatternError as error:
            # What is wrong with the regex itself is said elsewhere.
            if str(error).startswith("$"):
                yield (*path, "rewrite", "to"), f"got {shown(to)}: {error}"


def _respond(path: Path, respond: Value) -> Iterator[tuple[Path, str]]:
    if not isinstance(respond, dict):
        return
    status, body = respond.get("status"), respond.get("body")
    if status in WITHOUT_CONTENT and body:
        message = f"a {status} has no content (RFC 9110 15), expected none"
        yield (*path, "body"), message
