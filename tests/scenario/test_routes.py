"""Routes at work: who gets a request, what it becomes, what we answer ourselves."""

from __future__ import annotations

from typing import Any

import pytest

from lbproto.config import (
    Backend,
    Config,
    HeaderRules,
    Limits,
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
    Upstream,
    Variable,
)
from lbproto.testing.sim import Endpoint, Sim
from tests.scenario.world import ONE, TWO, answers, errors, status

V1 = Match(path_prefix="/v1")


def world(*routes: Route, seed: int = 1, **service: Any) -> Sim:
    """`one` and `two` are upstreams of a backend each; nothing has no route."""
    web = Service(name="web", via=None, routes=routes, **service)
    upstreams = {
        name: Upstream(name=name, backends=(Backend(target=target),))
        for name, target in (("one", ONE), ("two", TWO))
    }
    sim = Sim(Config(services=(web,), upstreams=upstreams), seed=seed)
    for target in (ONE, TWO):
        sim.backend(str(target), answers)
    return sim


def ask(sim: Sim, target: str = "/", more: str = "", method: str = "GET") -> Endpoint:
    client = sim.client()
    text = f"{method} {target} HTTP/1.1\r\nHost: a.example\r\n{more}\r\n"
    client.send(text.encode())
    return client


def heads(sim: Sim, target: Any = ONE) -> bytes:
    """What a backend received."""
    return sim._backends[str(target)].received


def test_requests_go_where_their_route_says() -> None:
    sim = world(Route(match=V1, upstream="two"), upstream="one")
    assert status(ask(sim, "/v1/x")) == 200
    assert heads(sim, TWO).startswith(b"GET /v1/x HTTP/1.1\r\n")
    assert status(ask(sim, "/v2")) == 200
    assert heads(sim, ONE).startswith(b"GET /v2 HTTP/1.1\r\n")


def test_what_nobody_takes_is_not_found() -> None:
    sim = world(Route(match=V1, upstream="one"))
    client = ask(sim, "/v2")
    assert client.received.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b"Proxy-Status: lb; error=destination_not_found\r\n" in client.received
    assert errors(sim) == ["no_route"]
    client.received = b""
    client.send(b"GET /v1 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert status(client) == 200


@pytest.mark.parametrize("target", ["//admin", "/%61dmin", "/x/../admin/y", "/admin"])
def test_a_route_that_forbids_cannot_be_evaded(target: str) -> None:
    forbid = Route(match=Match(path_prefix="/admin"), respond=Respond(status=403))
    sim = world(forbid, upstream="one")
    assert status(ask(sim, target)) == 403
    assert heads(sim) == b""


def test_a_path_that_servers_read_in_two_ways_is_refused() -> None:
    sim = world(Route(match=V1, upstream="one"), upstream="one")
    client = ask(sim, "/v1//../x")
    assert status(client) == 400
    assert client.eof
    assert errors(sim) == ["syntax"]


def test_a_path_that_no_route_edits_stays_as_it_came() -> None:
    sim = world(Route(match=V1, upstream="one"))
    ask(sim, "/x/../v%31//%7e?a=%20")
    assert heads(sim).startswith(b"GET /x/../v%31//%7e?a=%20 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("route", "target", "sent"),
    [
        (Route(upstream="one", strip_prefix="/v1"), "/v1/a?b", b"/a?b"),
        (Route(upstream="one", strip_prefix="/v1"), "/%761//a%20b", b"/a%20b"),
        (
            Route(upstream="one", rewrite=Rewrite(prefix="/v1", to="/v2")),
            "/v1/a",
            b"/v2/a",
        ),
        (
            Route(upstream="one", rewrite=Rewrite(regex="^/v1/(.)$", to="/?q=$1")),
            "/v1/a?b",
            b"/?q=a&b",
        ),
    ],
)
def test_a_path_is_edited(route: Route, target: str, sent: bytes) -> None:
    sim = world(route)
    ask(sim, target)
    assert heads(sim).startswith(b"GET " + sent + b" HTTP/1.1\r\n")


def test_a_rewrite_that_leads_astray_is_refused() -> None:
    rewrite = Rewrite(regex="^/(.)x(.)$", to="/$1$2/a")
    sim = world(Route(upstream="one", rewrite=rewrite))
    assert status(ask(sim, "/.x.")) == 400
    assert heads(sim) == b""


def test_a_split_follows_chance() -> None:
    split = Route(split=(Share("one", 3), Share("two", 1)))
    sim = world(split, seed=7)
    for _ in range(200):
        ask(sim)
    ones, twos = (heads(sim, one).count(b"GET / ") for one in (ONE, TWO))
    assert ones + twos == 200
    assert 30 < twos < 70


def test_a_redirect_has_a_location() -> None:
    location = Template((b"https://", Variable.HOST, Variable.TARGET))
    rules = HeaderRules(set=((b"X-By", b"lb"),))
    redirect = Redirect(location=location, status=308)
    sim = world(Route(redirect=redirect, response_headers=rules))
    client = ask(sim, "/a?b")
    assert client.received.startswith(b"HTTP/1.1 308 Permanent Redirect\r\n")
    assert b"\r\nLocation: https://a.example/a?b\r\n" in client.received
    assert b"\r\nX-By: lb\r\n" in client.received
    assert not client.eof
    assert sim.access[0].status == 308
    fixed = world(Route(redirect=Redirect(location=b"/x")))
    assert b"\r\nLocation: /x\r\n" in ask(fixed).received


def test_a_fixed_response_may_have_content() -> None:
    respond = Respond(status=200, body=b"{}", content_type=b"application/json")
    sim = world(Route(respond=respond))
    client = ask(sim)
    assert client.received.endswith(
        b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )
    head = ask(sim, method="HEAD")
    assert head.received.endswith(b"Content-Length: 2\r\n\r\n")


def test_a_fixed_response_may_have_none() -> None:
    empty = ask(world(Route(respond=Respond(status=204))))
    assert empty.received.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert b"Content" not in empty.received[30:]
    teapot = ask(world(Route(respond=Respond(status=418))))
    assert teapot.received.startswith(b"HTTP/1.1 418 \r\n")
    assert b"Content-Length: 0\r\n" in teapot.received
    assert b"Content-Type" not in teapot.received


def test_content_that_nobody_reads_ends_the_connection() -> None:
    sim = world(Route(respond=Respond(status=403)))
    client = ask(sim, more="Content-Length: 5\r\n", method="POST")
    assert status(client) == 403
    assert b"Connection: close\r\n" in client.received
    assert client.eof


def test_rules_of_a_route_come_after_those_of_the_service() -> None:
    sim = world(
        Route(
            upstream="one",
            request_headers=HeaderRules(set=((b"X-A", b"route"),)),
            response_headers=HeaderRules(add=((b"X-B", b"route"),)),
        ),
        request_headers=HeaderRules(set=((b"X-A", b"service"), (b"X-C", b"1"))),
    )
    client = ask(sim)
    assert b"\r\nX-B: route\r\n" in client.received
    assert b"\r\nX-A: route\r\n" in heads(sim)
    assert b"\r\nX-C: 1\r\n" in heads(sim)
    assert b"service" not in heads(sim)


def test_a_route_has_its_own_patience() -> None:
    slow = Route(
        match=V1, upstream="one", timeouts=RouteTimeouts(response_header=100.0)
    )
    sim = world(slow, upstream="one")
    sim._backends[str(ONE)].answer = None
    sim._backends[str(ONE)].connections.clear()
    patient, other = ask(sim, "/v1"), ask(sim, "/v2")
    sim.advance(61.0)
    assert (patient.received, status(other)) == (b"", 504)
    sim.advance(40.0)
    assert status(patient) == 504


@pytest.mark.parametrize(
    ("body_size", "length", "refused"),
    [(4, 5, True), (5, 5, False), (None, 50, False), ("inherit", 11, True)],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_route_has_its_own_limit_of_content(
    body_size: Any, length: int, refused: bool, chunked: bool
) -> None:
    route = Route(match=V1, upstream="one", limits=RouteLimits(body_size=body_size))
    sim = world(route, upstream="one", limits=Limits(body_size=10))
    sim._backends[str(ONE)].answer = None
    content = "x" * length
    if chunked:
        framing, content = "Transfer-Encoding: chunked", f"{length:x}\r\n{content}\r\n"
    else:
        framing = f"Content-Length: {length}"
    client = ask(sim, "/v1", framing + "\r\n", "POST")
    client.send(content.encode())
    assert (b" 413 " in client.received) is refused
    assert (b"x" * length in heads(sim)) is not refused


def test_the_largest_limit_of_all_is_the_codecs() -> None:
    big = Route(match=V1, upstream="one", limits=RouteLimits(body_size=100))
    sim = world(big, upstream="one", limits=Limits(body_size=10))
    assert status(ask(sim, "/v1", "Content-Length: 101\r\n", "POST")) == 413
    assert status(ask(sim, "/v2", "Content-Length: 11\r\n", "POST")) == 413
    assert heads(sim) == b""


def test_an_upgrade_with_content_is_refused_on_every_route() -> None:
    sim = world(Route(upstream="one"))
    more = "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n"
    assert status(ask(sim, more=more)) == 400


def test_options_that_end_here_are_no_routes_affair() -> None:
    sim = world(Route(respond=Respond(status=403)))
    assert status(ask(sim, more="Max-Forwards: 0\r\n", method="OPTIONS")) == 200
