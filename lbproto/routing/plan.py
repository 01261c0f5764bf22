"""One route, made ready for requests.

A `Plan` knows whether it takes a request, and what then holds for it: the service
with the route's own timeouts, limits and header rules, where the request goes, and
what its target becomes. Everything that does not hang on a request was done when
the plan was made.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import asdict, replace
from itertools import accumulate

from lbproto.config import Redirect, Respond, Route, Service
from lbproto.framing.messages import RequestHead
from lbproto.rewriting.paths import split_target, true_path
from lbproto.rewriting.rules import combined
from lbproto.routing.automaton import PathPattern
from lbproto.routing.edits import edit_of, is_below

__all__ = ["Plan"]


class Plan:
    """What a route asks of a request, and what it does with one."""

    __slots__ = (
        "_bounds",
        "_edit",
        "_exact",
        "_headers",
        "_methods",
        "_names",
        "_prefix",
        "_regex",
        "looks_at_path",
        "redirect",
        "respond",
        "service",
    )

    def __init__(self, route: Route, service: Service) -> None:
        """Make a route of a service ready.

        Raises:
            PatternError: an expression is outside of the language, or too large.
        """
        match = route.match
        self._methods = frozenset(match.methods)
        self._headers = match.headers
        self._exact = None if match.path is None else _form(match.path)
        self._prefix = None
        if match.path_prefix is not None:
            self._prefix = _form(match.path_prefix).rstrip(b"/")
        self._regex = (
            None if match.path_regex is None else PathPattern(match.path_regex)
        )
        self._edit = edit_of(route.strip_prefix, route.rewrite)
        looks = (match.path, match.path_prefix, match.path_regex, self._edit)
        self.looks_at_path = any(one is not None for one in looks)
        """The path needs the form that cannot be disguised."""
        self.redirect: Redirect | None = route.redirect
        self.respond: Respond | None = route.respond
        self.service = _with_route(service, route)
        """The service, as it is for requests of this route."""
        self._names = [share.upstream for share in route.split]
        if route.upstream is not None:
            self._names = [route.upstream]
        self._bounds = list(accumulate(share.weight for share in route.split))

    def takes(self, head: RequestHead, path: bytes) -> bool:
        """Tell whether a request, whose host fits, is for this route."""
        if self._methods and head.method not in self._methods:
            return False
        if self._exact is not None and path != self._exact:
            return False
        if self._prefix is not None and not is_below(path, self._prefix):
            return False
        if self._regex is not None and not self._regex.matches(path):
            return False
        # The dearest question comes last.
        return all(_has(head, name, value) for name, value in self._headers)

    @property
    def splits(self) -> bool:
        """The upstream is a matter of chance."""
        return len(self._names) > 1

    def upstream(self, chance: float) -> str | None:
        """Return the upstream for a number in [0, 1); None if the answer is ours."""
        if not self.splits:
            return self._names[0] if self._names else None
        bounds = self._bounds
        # A product may round up to the total, which is past the last bound.
        at = bisect_right(bounds, chance * bounds[-1])
        return self._names[min(at, len(bounds) - 1)]

    def target(self, target: bytes, path: bytes) -> bytes | None:
        """Return the target for the backend; None if the request must be refused."""
        if self._edit is None:
            return target
        made = self._edit.target(path, split_target(target)[1])
        return target if made == b"" else made


def _form(path: str) -> bytes:
    return true_path(path.encode()) or path.encode()


def _has(head: RequestHead, name: bytes, wanted: bytes | bool) -> bool:
    if isinstance(wanted, bytes):
        return wanted in head.headers.get_all(name)
    return (name in head.headers) is wanted


def _with_route(service: Service, route: Route) -> Service:
    given = asdict(route.timeouts)
    timeouts = {name: value for name, value in given.items() if value is not None}
    limits, own = service.limits, route.limits
    if own.body_size != "inherit":
        limits = replace(limits, body_size=own.body_size)
    if own.interim_responses is not None:
        limits = replace(limits, interim_responses=own.interim_responses)
    return replace(
        service,
        timeouts=replace(service.timeouts, **timeouts),
        limits=limits,
        request_headers=combined(service.request_headers, route.request_headers),
        response_headers=combined(service.response_headers, route.response_headers),
    )
