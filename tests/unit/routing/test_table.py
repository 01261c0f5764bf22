from __future__ import annotations

from typing import Any

import pytest

from lbproto.config import (
    HeaderRules,
    Limits,
    Match,
    Route,
    RouteLimits,
    RouteTimeouts,
    Service,
    Share,
    Timeouts,
)
from lbproto.framing.headers import Headers
from lbproto.framing.messages import NO_BODY, RequestHead, Version
from lbproto.routing.plan import Plan
from lbproto.routing.table import RouteTable


def request(
    target: bytes = b"/",
    authority: bytes = b"a.example",
    method: bytes = b"GET",
    headers: bytes = b"",
) -> RequestHead:
    return RequestHead(
        stream=1,
        method=method,
        target=target,
        authority=authority,
        scheme=b"http",
        headers=Headers(headers),
        body=NO_BODY,
        version=Version.HTTP11,
    )


def table(*matches: Match) -> RouteTable:
    routes = tuple(Route(match=match, upstream="web") for match in matches)
    return RouteTable(Service(name="web", routes=routes))


def taken(one: RouteTable, head: RequestHead) -> int | None:
    """The number of the route that takes a request."""
    path = one.path(head.target)
    assert path is not None
    plan = one.find(head, path)
    return None if plan is None else one.plans.index(plan)


def test_the_first_route_wins() -> None:
    one = table(
        Match(path_prefix="/a/b"),
        Match(path_prefix="/a"),
        Match(path="/a/b/c"),
        Match(hosts=("a.example",)),
    )
    paths = [b"/a/b/c", b"/a/c", b"/x", b"/a"]
    assert [taken(one, request(path)) for path in paths] == [0, 1, 3, 1]
    assert taken(one, request(b"/x", b"b.example")) is None


@pytest.mark.parametrize(
    "authority", [b"a.example", b"A.EXAMPLE", b"a.example:8080", b"a.example."]
)
def test_case_port_and_final_dot_of_a_host_do_not_count(authority: bytes) -> None:
    assert taken(table(Match(hosts=("a.example",))), request(b"/", authority)) == 0


def test_everything_in_a_match_must_be_true() -> None:
    one = table(
        Match(
            hosts=("*.example",),
            path_regex="^/v[12]/",
            methods=(b"GET", b"PUT"),
            headers=((b"x-a", b"1"), (b"x-b", True), (b"x-c", False)),
        )
    )
    fields = b"X-A: 0\r\nx-a: 1\r\nX-B:\r\n"
    good: dict[str, Any] = {"target": b"/v1/x", "headers": fields}
    assert taken(one, request(**good)) == 0
    for change in (
        {"authority": b"example"},
        {"target": b"/v3/x"},
        {"method": b"POST"},
        {"method": b"get"},
        {"headers": b"X-A: 10\r\nX-B: 1\r\n"},
        {"headers": b"X-A: 1\r\n"},
        {"headers": fields + b"X-C: 1\r\n"},
    ):
        assert taken(one, request(**{**good, **change})) is None


@pytest.mark.parametrize(
    "target",
    [
        b"/admin",
        b"/admin/x?y",
        b"//admin",
        b"/./admin",
        b"/x/../admin",
        b"/%61dmin",
        b"/x/%2e%2e/admin",
        b"/admin%2fx",
        b"/x/y/../../admin",
    ],
)
def test_no_spelling_evades_a_route(target: bytes) -> None:
    one = table(Match(path_prefix="/admin"), Match())
    assert taken(one, request(target)) == 0


def test_a_path_without_a_safe_form_is_nobodys() -> None:
    assert table(Match(), Match(path="/a")).path(b"/a//../b") is None
    edits = Route(upstream="web", strip_prefix="/a")
    assert RouteTable(Service(name="w", routes=(edits,))).path(b"/..") is None
    assert table(Match(hosts=("a",))).path(b"/a//../b?c") == b"/a//../b"


def test_the_path_of_a_route_may_be_written_either_way() -> None:
    one = table(Match(path="/caf%C3%A9"), Match(path_prefix="/été/"))
    assert taken(one, request(b"/caf%c3%a9")) == 0
    assert taken(one, request("/été".encode())) == 1
    assert taken(one, request(b"/%C3%A9t%C3%A9/x")) == 1


def test_the_server_itself_has_no_path() -> None:
    one = table(Match(path_prefix="/"), Match(methods=(b"OPTIONS",)))
    assert taken(one, request(b"*", method=b"OPTIONS")) == 1


def test_weights_divide_what_chance_gives() -> None:
    shares = (Share("a", 3), Share("none", 0), Share("b", 1))
    plan = Plan(Route(split=shares), Service(name="w"))
    drawn = [plan.upstream(n / 100) for n in range(100)]
    assert (drawn.count("a"), drawn.count("b")) == (75, 25)
    assert plan.splits
    assert plan.upstream(1 - 2**-53) == "b"
    assert plan.upstream(1.0) == "b"


def test_who_is_alone_needs_no_chance() -> None:
    service = Service(name="w")
    for route in (Route(upstream="a"), Route(split=(Share("a", 0),))):
        plan = Plan(route, service)
        assert not plan.splits
        assert plan.upstream(0.5) == "a"
    assert Plan(Route(), service).upstream(0.5) is None


def test_what_a_route_does_not_say_is_the_services() -> None:
    service = Service(
        name="w",
        limits=Limits(body_size=10, interim_responses=3),
        timeouts=Timeouts(connect=1.0, tunnel=2.0),
        request_headers=HeaderRules(set=((b"X-A", b"1"), (b"X-B", b"1"))),
    )
    same = Plan(Route(upstream="a"), service).service
    assert same == service
    other = Plan(
        Route(
            limits=RouteLimits(body_size=None, interim_responses=0),
            timeouts=RouteTimeouts(connect=9.0),
            request_headers=HeaderRules(set=((b"x-a", b"2"),)),
            response_headers=HeaderRules(remove=(b"server",)),
        ),
        service,
    ).service
    assert (other.limits.body_size, other.limits.interim_responses) == (None, 0)
    assert (other.timeouts.connect, other.timeouts.tunnel) == (9.0, 2.0)
    assert other.request_headers.set == ((b"X-B", b"1"), (b"x-a", b"2"))
    assert other.response_headers.remove == (b"server",)


def test_a_target_is_edited_only_by_who_edits() -> None:
    service = Service(name="w")
    plain = Plan(Route(upstream="a"), service)
    assert plain.target(b"/a%20b/../c?d", b"/c") == b"/a%20b/../c?d"
    strip = Plan(Route(upstream="a", strip_prefix="/v1"), service)
    assert strip.target(b"/v1/a?b", b"/v1/a") == b"/a?b"
    assert strip.target(b"/v%31/a?b", b"/v1/a") == b"/a?b"
    assert strip.target(b"/v2/%61", b"/v2/a") == b"/v2/%61"
