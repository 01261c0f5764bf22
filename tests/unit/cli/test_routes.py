"""`routes` in a file: what it becomes, and what is said when it is wrong."""

# ruff: noqa: E501

from __future__ import annotations

import pytest

from lbproto.config import (
    HeaderRules,
    Match,
    Redirect,
    Respond,
    Rewrite,
    Route,
    RouteLimits,
    RouteTimeouts,
    Service,
    Share,
    Template,
    Variable,
)
from lbproto_cli.load import parse
from lbproto_cli.problems import ConfigProblems

BEGIN = 'services:\n- listen: ["127.0.0.1:80"]\n'
END = 'upstreams: {api: {backends: ["h:1"]}, web: {backends: ["h:2"]}}\n'


def service(*lines: str) -> Service:
    text = BEGIN + "".join(f"  {line}\n" for line in lines) + END
    return parse(text.encode(), "conf.yaml", ("uvloop",)).config.services[0]


def route(*keys: str) -> Route:
    """The route with these keys, the first of which begins the list's entry."""
    (one,) = service("routes:", *_entry(keys)).routes
    return one


def wrong(*keys: str) -> list[str]:
    """What is said about it, without the name of the file."""
    with pytest.raises(ConfigProblems) as caught:
        route(*keys)
    found = str(caught.value).split("\n")
    return [line.removeprefix("conf.yaml:") for line in found]


def _entry(keys: tuple[str, ...]) -> list[str]:
    return [("- " if number == 0 else "  ") + key for number, key in enumerate(keys)]


def test_a_route_with_everything() -> None:
    got = route(
        'match: {host: [API.example.com, "*.example.org"], path_prefix: /v1,'
        ' methods: [GET, POST], headers: {X-Canary: "1", X-On: true, X-Off: false, X-N: 2}}',
        "upstream: api",
        "strip_prefix: /v1",
        "request_headers: {set: {X-A: b}}",
        "response_headers: {remove: [Server]}",
        "timeouts: {connect: 250ms, response_header: 5s}",
        "limits: {body_size: 1MiB, interim_responses: 0}",
    )
    assert got == Route(
        match=Match(
            hosts=("api.example.com", "*.example.org"),
            path_prefix="/v1",
            methods=(b"GET", b"POST"),
            headers=(
                (b"x-canary", b"1"),
                (b"x-on", True),
                (b"x-off", False),
                (b"x-n", b"2"),
            ),
        ),
        upstream="api",
        strip_prefix="/v1",
        request_headers=HeaderRules(set=((b"X-A", b"b"),)),
        response_headers=HeaderRules(remove=(b"server",)),
        timeouts=RouteTimeouts(connect=0.25, response_header=5.0),
        limits=RouteLimits(body_size=2**20, interim_responses=0),
    )


def test_the_other_actions() -> None:
    assert route("split: [{upstream: api, weight: 3}, {upstream: web}]").split == (
        Share("api", 3),
        Share("web", 1),
    )
    assert route('redirect: {location: "https://$host/", status: 308}').redirect == (
        Redirect(location=Template((b"https://", Variable.HOST, b"/")), status=308)
    )
    assert route("respond:", "  body: é").respond == Respond(body="é".encode())
    rewrite = route("upstream: api", "rewrite: {regex: '^/(.)', to: '/$1?a'}").rewrite
    assert rewrite == Rewrite(regex="^/(.)", to="/$1?a")


def test_one_host_or_method_needs_no_list() -> None:
    match = route("match: {host: '[::1]', methods: GET}", "upstream: api").match
    assert (match.hosts, match.methods) == (("[::1]",), (b"GET",))


def test_no_limit_and_no_word_about_it_are_not_the_same() -> None:
    for none in ("null", "0", "0B"):
        limits = route("upstream: api", f"limits: {{body_size: {none}}}").limits
        assert limits == RouteLimits(body_size=None)
    assert route("upstream: api", "limits:").limits == RouteLimits(body_size="inherit")


def test_nothing_behind_a_key_means_its_default() -> None:
    keys = ("match:", "split: []", "redirect:", "respond: null", "rewrite:")
    empty = [key for key in keys if key != "split: []"]
    assert route("upstream: api", *empty) == Route(upstream="api")
    assert service("routes:", "upstream: api").routes == ()


def test_a_service_with_routes_needs_no_upstream() -> None:
    got = service("routes: [{split: [{upstream: web}]}, {upstream: api}]")
    assert got.upstream is None
    assert got.upstreams == ("web", "api")
    assert service("upstream: web", "routes: [{upstream: web}]").upstreams == ("web",)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            ("upstream: apo",),
            '4:15: services[0].routes[0].upstream: got "apo", expected the name of one of upstreams, did you mean api?',
        ),
        (
            ("split: [{upstream: weeb}]",),
            '4:24: services[0].routes[0].split[0].upstream: got "weeb", expected the name of one of upstreams, did you mean web?',
        ),
        (
            ("match: {}",),
            "4:5: services[0].routes[0]: nothing to do, expected one of upstream, split, redirect, respond",
        ),
        (
            ("upstream: api", "respond: {}"),
            "5:14: services[0].routes[0].respond: there is upstream already, expected one of them",
        ),
        (
            ("upstream: api", "match: {path: /a, path_prefix: /b}"),
            "5:36: services[0].routes[0].match.path_prefix: there is path already, expected one of them",
        ),
        (
            ("upstream: api", "match: {hots: a}"),
            "5:13: services[0].routes[0].match.hots: unknown key, did you mean host?",
        ),
        (
            ("upstream: api", "match: {host: 'a:80'}"),
            '5:19: services[0].routes[0].match.host: got "a:80", expected a host such as www.example.com or *.example.com, without a port',
        ),
        (
            ("upstream: api", "match: {host: []}"),
            "5:19: services[0].routes[0].match.host: got an empty list, expected at least one host",
        ),
        (
            ("upstream: api", "match: {path: a}"),
            '5:19: services[0].routes[0].match.path: got "a", expected a path that begins with /',
        ),
        (
            ("upstream: api", "match: {path: /a?b}"),
            '5:19: services[0].routes[0].match.path: got "/a?b", expected a path alone (%3F is a ?, %23 a #)',
        ),
        (
            ("upstream: api", "match: {path_prefix: /a//b}"),
            '5:26: services[0].routes[0].match.path_prefix: got "/a//b", no request has this path after //, . and .. are resolved',
        ),
        (
            ("upstream: api", "strip_prefix: /a/../b"),
            '5:19: services[0].routes[0].strip_prefix: got "/a/../b", no request has this path after //, . and .. are resolved',
        ),
        (
            ("upstream: api", "match: {path: /%zz}"),
            '5:19: services[0].routes[0].match.path: got "/%zz", no request has this path after //, . and .. are resolved',
        ),
        (
            ("upstream: api", "match: {path_regex: '(a)\\1'}"),
            '5:25: services[0].routes[0].match.path_regex: got "(a)\\\\1": \\1 is not known',
        ),
        (
            ("upstream: api", "match: {path_regex: 1}"),
            "5:25: services[0].routes[0].match.path_regex: got 1, expected a regular expression",
        ),
        (
            ("upstream: api", "match: {methods: [get]}"),
            '5:22: services[0].routes[0].match.methods: got "get", expected GET (methods are told apart by case)',
        ),
        (
            ("upstream: api", "match: {methods: [1]}"),
            "5:22: services[0].routes[0].match.methods: got 1, expected a method such as GET",
        ),
        (
            ("upstream: api", "match: {methods: []}"),
            "5:22: services[0].routes[0].match.methods: got an empty list, expected at least one method",
        ),
        (
            ("upstream: api", "match: {headers: {X-A: null}}"),
            "5:28: services[0].routes[0].match.headers.X-A: got null, expected text, true (the field is there) or false",
        ),
        (
            ("upstream: api", "match: {headers: {X-A: '1', x-a: '2'}}"),
            '5:38: services[0].routes[0].match.headers.x-a: the same field as "X-A", expected it once',
        ),
        (
            ("upstream: api", "match: {headers: {'X A': '1'}}"),
            '5:23: services[0].routes[0].match.headers."X A": got "X A", expected the name of a header field',
        ),
        (
            ("split: []",),
            "4:5: services[0].routes[0]: nothing to do, expected one of upstream, split, redirect, respond",
        ),
        (
            ("split: [{upstream: api, weight: 0}]",),
            "4:12: services[0].routes[0].split: every weight is 0, expected at least one above",
        ),
        (
            ("redirect: {location: /, status: 200}",),
            "4:37: services[0].routes[0].redirect.status: got 200, expected one of 301, 302, 303, 307, 308",
        ),
        (
            ("redirect: {location: ''}",),
            "4:26: services[0].routes[0].redirect.location: got an empty text, expected where to go",
        ),
        (
            ("redirect: {}",),
            "4:15: services[0].routes[0].redirect.location: missing, expected this key",
        ),
        (
            ("redirect: /x",),
            '4:15: services[0].routes[0].redirect: got "/x", expected a mapping',
        ),
        (
            ("respond: {status: 204, body: x}",),
            "4:34: services[0].routes[0].respond.body: a 204 has no content (RFC 9110 15), expected none",
        ),
        (
            ("respond: {body: 1}",),
            "4:21: services[0].routes[0].respond.body: got 1, expected text of at most 64 KiB",
        ),
        (
            ("respond: {content_type: html}",),
            '4:29: services[0].routes[0].respond.content_type: got "html", expected a media type such as text/html',
        ),
        (
            ("respond: {}", "strip_prefix: /a"),
            "5:19: services[0].routes[0].strip_prefix: the answer is our own, expected an upstream beside it",
        ),
        (
            ("upstream: api", "strip_prefix: /a", "rewrite: {prefix: /a, to: /b}"),
            "6:14: services[0].routes[0].rewrite: there is strip_prefix already, expected one of them",
        ),
        (
            ("upstream: api", "rewrite: {to: /b}"),
            "5:14: services[0].routes[0].rewrite: expected either prefix or regex",
        ),
        (
            ("upstream: api", "rewrite: {regex: /(.), to: /$2}"),
            '5:32: services[0].routes[0].rewrite.to: got "/$2": $2 is none of the 1 groups',
        ),
        (
            ("upstream: api", "rewrite: {prefix: /a, to: b}"),
            '5:31: services[0].routes[0].rewrite.to: got "b", expected a path, and a query if need be, with %XX for what is not ASCII',
        ),
        (
            ("upstream: api", "request_headers: {set: {X-A: b, x-a: c}}"),
            '5:42: services[0].routes[0].request_headers.set.x-a: the same field as "X-A", expected it once',
        ),
        (
            ("upstream: api", "limits: {body_size: -1}"),
            "5:25: services[0].routes[0].limits.body_size: got -1, expected a size of 0 or more",
        ),
    ],
)
def test_a_wrong_route_is_told_where_and_why(
    keys: tuple[str, ...], message: str
) -> None:
    assert wrong(*keys) == [message]


def test_a_wrong_expression_is_told_once() -> None:
    (message,) = wrong("upstream: api", "rewrite: {regex: 'a**', to: /$1}")
    assert message.endswith("regex: got \"a**\": nothing that '*' could repeat")


def test_without_routes_an_upstream_is_needed() -> None:
    for routes in ("routes: []", "via: lb"):
        with pytest.raises(ConfigProblems) as caught:
            service(routes)
        assert "services[0].upstream: missing, expected this key" in str(caught.value)
