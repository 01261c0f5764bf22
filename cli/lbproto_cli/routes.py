"""The shape of `routes`, and the records they become.

A path is written as in a URL, or as what it means (`/caf%C3%A9` and `/café` are the
same); one that no request can have after its detours are resolved is refused, since
a route that never matches is a mistake.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator

from lbproto.config import (
    Match,
    Redirect,
    Respond,
    Rewrite,
    Route,
    RouteLimits,
    RouteTimeouts,
    Share,
    Template,
)
from lbproto.config.shown import shown
from lbproto.rewriting.paths import true_path
from lbproto.routing.automaton import PathPattern
from lbproto.routing.pattern import PatternError
from lbproto_cli import quantities, words
from lbproto_cli.header_rules import (
    NULL_IS_EMPTY,
    RequestRules,
    ResponseRules,
    header_rules,
)

__all__ = [
    "MatchEntry",
    "RedirectEntry",
    "RespondEntry",
    "RewriteEntry",
    "RouteEntry",
    "RouteLimitsEntry",
    "RouteTimeoutsEntry",
    "ShareEntry",
    "route",
]

_STRICT: Final = ConfigDict(strict=True, extra="forbid", frozen=True)

_LABELS: Final = r"[A-Za-z0-9_\-]++(?:\.[A-Za-z0-9_\-]++)*+"
_HOST: Final = re.compile(rf"(?:\*\.)?{_LABELS}\.?|\[[0-9A-Fa-f:.]{{2,45}}\]")
_METHOD: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}+")
_TO: Final = re.compile(r"/[!-\"$-~]*+")
"""Visible ASCII without a fragment."""
_MEDIA_TYPE: Final = re.compile(r"[!-.0-~]++/[\x20-~]++")
MAX_BODY: Final = 64 * 1024

_REDIRECTS: Final = (301, 302, 303, 307, 308)


def _host(value: object) -> str:
    if isinstance(value, str) and _HOST.fullmatch(value) and len(value) <= 253:
        return value.lower()
    message = f"got {shown(value)}, expected a host such as www.example.com or "
    raise ValueError(message + "*.example.com, without a port")


def _hosts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError("got an empty list, expected at least one host")
    return tuple(map(_host, values))


def _path(value: object) -> str:
    if not isinstance(value, str) or value[:1] != "/":
        raise ValueError(f"got {shown(value)}, expected a path that begins with /")
    if re.search(r"[?#\x00-\x1f\x7f]", value):
        message = f"got {shown(value)}, expected a path alone"
        raise ValueError(f"{message} (%3F is a ?, %23 a #)")
    meant = true_path(value.encode())
    plain = re.sub(rb"%[0-9A-Fa-f]{2}", lambda found: b"", value.encode())
    if meant is None or re.search(rb"//|/\.\.?(?:/|\Z)", plain):
        message = f"got {shown(value)}, no request has this path"
        raise ValueError(f"{message} after //, . and .. are resolved")
    return value


def _regex(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"got {shown(value)}, expected a regular expression")
    try:
        PathPattern(value)
    except PatternError as error:
        raise ValueError(f"got {shown(value)}: {error}") from None
    return value


def _methods(value: object) -> tuple[bytes, ...]:
    values: list[object] = value if isinstance(value, list) else [value]
    methods = []
    for one in values:
        if not isinstance(one, str) or _METHOD.fullmatch(one) is None:
            raise ValueError(f"got {shown(one)}, expected a method such as GET")
        if one != one.upper():
            message = f"got {shown(one)}, expected {one.upper()}"
            raise ValueError(f"{message} (methods are told apart by case)")
        methods.append(one.encode())
    if not methods:
        raise ValueError("got an empty list, expected at least one method")
    return tuple(methods)


def _wanted(value: object) -> bytes | bool:
    if isinstance(value, bool):
        return value
    if type(value) is int:
        return str(value).encode()
    if isinstance(value, str) and re.fullmatch(r"[\x20-\x7e\xa0-\U0010ffff]*+", value):
        return value.strip(" ").encode()
    message = f"got {shown(value)}, expected text, true (the field is there) or false"
    raise ValueError(message)


def _name(value: object) -> bytes:
    if isinstance(value, str) and _METHOD.fullmatch(value):
        return value.lower().encode()
    raise ValueError(f"got {shown(value)}, expected the name of a header field")


def _to(value: object) -> str:
    if isinstance(value, str) and _TO.fullmatch(value):
        return value
    message = f"got {shown(value)}, expected a path, and a query if need be"
    raise ValueError(f"{message}, with %XX for what is not ASCII")


def _redirect_status(value: object) -> int:
    if type(value) is int and value in _REDIRECTS:
        return value
    expected = ", ".join(map(str, _REDIRECTS))
    raise ValueError(f"got {shown(value)}, expected one of {expected}")


def _location(value: object) -> bytes | Template:
    location = words.field_value(value)
    if location == b"":
        raise ValueError("got an empty text, expected where to go")
    return location


def _content(value: object) -> bytes:
    if isinstance(value, str) and len(value.encode()) <= MAX_BODY:
        return value.encode()
    raise ValueError(f"got {shown(value)}, expected text of at most 64 KiB")


def _media_type(value: object) -> bytes:
    if isinstance(value, str) and _MEDIA_TYPE.fullmatch(value):
        return value.encode()
    raise ValueError(f"got {shown(value)}, expected a media type such as text/html")


def _mapping(value: object) -> object:
    """What `null` says of an action: there is none."""
    if value is None or isinstance(value, dict):
        return value
    raise ValueError(f"got {shown(value)}, expected a mapping")


_OR_NULL: Final = BeforeValidator(_mapping)

Hosts: TypeAlias = Annotated[tuple[str, ...], PlainValidator(_hosts)]
UrlPath: TypeAlias = Annotated[str, PlainValidator(_path)]
Regex: TypeAlias = Annotated[str, PlainValidator(_regex)]
Duration: TypeAlias = Annotated[float, PlainValidator(quantities.duration(zero=False))]
Interims: TypeAlias = Annotated[int, PlainValidator(quantities.whole(0, 1_000_000))]
UpstreamName: TypeAlias = Annotated[str, PlainValidator(words.name)]


class MatchEntry(BaseModel):
    """`match` of a route."""

    model_config = _STRICT

    host: Hosts = ()
    path: UrlPath | None = None
    path_prefix: UrlPath | None = None
    path_regex: Regex | None = None
    methods: Annotated[tuple[bytes, ...], PlainValidator(_methods)] = ()
    headers: Annotated[
        dict[
            Annotated[bytes, PlainValidator(_name)],
            Annotated[bytes | bool, PlainValidator(_wanted)],
        ],
        NULL_IS_EMPTY,
    ] = {}


class ShareEntry(BaseModel):
    """One of `split`."""

    model_config = _STRICT

    upstream: UpstreamName
    weight: Annotated[int, PlainValidator(quantities.whole(0, 1_000_000))] = 1


class RedirectEntry(BaseModel):
    """`redirect` of a route."""

    model_config = _STRICT

    location: Annotated[bytes | Template, PlainValidator(_location)]
    status: Annotated[int, PlainValidator(_redirect_status)] = 302


class RespondEntry(BaseModel):
    """`respond` of a route."""

    model_config = _STRICT

    status: Annotated[int, PlainValidator(quantities.whole(200, 599))] = 200
    body: Annotated[bytes, PlainValidator(_content)] = b""
    content_type: Annotated[bytes, PlainValidator(_media_type)] = Respond().content_type


class RewriteEntry(BaseModel):
    """`rewrite` of a route."""

    model_config = _STRICT

    to: Annotated[str, PlainValidator(_to)]
    prefix: UrlPath | None = None
    regex: Regex | None = None


class RouteTimeoutsEntry(BaseModel):
    """`timeouts` of a route."""

    model_config = _STRICT

    request_body: Duration | None = None
    connect: Duration | None = None
    response_header: Duration | None = None
    response_body: Duration | None = None
    tunnel: Duration | None = None


class RouteLimitsEntry(BaseModel):
    """`limits` of a route."""

    model_config = _STRICT

    body_size: Annotated[int | None, PlainValidator(quantities.body_size)] = None
    interim_responses: Interims | None = None


class RouteEntry(BaseModel):
    """One of `routes`."""

    model_config = _STRICT

    match: Annotated[MatchEntry, NULL_IS_EMPTY] = MatchEntry()
    upstream: UpstreamName | None = None
    split: list[ShareEntry] = []
    redirect: Annotated[RedirectEntry | None, _OR_NULL] = None
    respond: Annotated[RespondEntry | None, _OR_NULL] = None
    strip_prefix: UrlPath | None = None
    rewrite: Annotated[RewriteEntry | None, _OR_NULL] = None
    request_headers: Annotated[RequestRules, NULL_IS_EMPTY] = RequestRules()
    response_headers: Annotated[ResponseRules, NULL_IS_EMPTY] = ResponseRules()
    timeouts: Annotated[RouteTimeoutsEntry, NULL_IS_EMPTY] = RouteTimeoutsEntry()
    limits: Annotated[RouteLimitsEntry, NULL_IS_EMPTY] = RouteLimitsEntry()


def route(entry: RouteEntry) -> Route:
    """Make the record."""
    match = entry.match
    return Route(
        match=Match(
            hosts=match.host,
            path=match.path,
            path_prefix=match.path_prefix,
            path_regex=match.path_regex,
            methods=match.methods,
            headers=tuple(match.headers.items()),
        ),
        upstream=entry.upstream,
        split=tuple(Share(share.upstream, share.weight) for share in entry.split),
        redirect=_redirect(entry.redirect),
        respond=_respond(entry.respond),
        strip_prefix=entry.strip_prefix,
        rewrite=_rewrite(entry.rewrite),
        request_headers=header_rules(entry.request_headers),
        response_headers=header_rules(entry.response_headers),
        timeouts=RouteTimeouts(**entry.timeouts.model_dump()),
        limits=_limits(entry.limits),
    )


def _redirect(entry: RedirectEntry | None) -> Redirect | None:
    if entry is None:
        return None
    return Redirect(location=entry.location, status=entry.status)


def _respond(entry: RespondEntry | None) -> Respond | None:
    if entry is None:
        return None
    return Respond(
        status=entry.status, body=entry.body, content_type=entry.content_type
    )


def _rewrite(entry: RewriteEntry | None) -> Rewrite | None:
    if entry is None:
        return None
    return Rewrite(to=entry.to, prefix=entry.prefix, regex=entry.regex)


def _limits(entry: RouteLimitsEntry) -> RouteLimits:
    # null is a limit's own value: that there is none.
    stated = entry.model_fields_set
    return RouteLimits(
        body_size=entry.body_size if "body_size" in stated else "inherit",
        interim_responses=entry.interim_responses,
    )
