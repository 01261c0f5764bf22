"""Routes over real sockets."""

from __future__ import annotations

from typing import Any

from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import Origin, echoes_target, reply
from tests.runtimes.process import Lb
from tests.runtimes.wire import Message, Wire


def routed(start: LbFactory, routes: list[dict[str, Any]], **origins: Origin) -> Lb:
    """A service with these routes, and an upstream for each backend."""
    web = {"name": "web", "listen": ["127.0.0.1:0"], "routes": routes}
    upstreams = {name: {"backends": [one.address]} for name, one in origins.items()}
    return start({"services": [web], "upstreams": upstreams})


def get(wire: Wire, target: str, host: str = "a.example", more: str = "") -> Message:
    wire.send(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode())
    return wire.response()


def test_requests_of_one_connection_go_where_their_routes_say(
    start: LbFactory, origin: OriginFactory
) -> None:
    lb = routed(
        start,
        [
            {"match": {"host": "api.example"}, "upstream": "api"},
            {"match": {"headers": {"X-Next": "1"}}, "upstream": "next"},
            {
                "match": {"path_prefix": "/v1"},
                "upstream": "echo",
                "strip_prefix": "/v1",
            },
            {
                "match": {"path_regex": "^/u/"},
                "upstream": "echo",
                "rewrite": {"regex": "^/u/(.+)$", "to": "/user?name=$1"},
            },
            {
                "match": {"path": "/old"},
                "redirect": {"status": 301, "location": "https://$host/new"},
            },
            {"match": {"path_prefix": "/no"}, "respond": {"status": 403, "body": "no"}},
        ],
        api=origin(reply(b"api")),
        next=origin(reply(b"next")),
        echo=origin(echoes_target),
    )
    with lb.connect() as client:
        for wanted, got in (
            (b"api", get(client, "/", "API.example:80")),
            (b"next", get(client, "/", more="X-Next: 1\r\n")),
            (b"/x?y", get(client, "/v1/x?y")),
            (b"/x", get(client, "//%761//x")),
            (b"/user?name=a%26b", get(client, "/u/a%26b")),
        ):
            assert got.body == wanted
        moved = get(client, "/old")
        assert (moved.status, moved.get("Location")) == (301, b"https://a.example/new")
        refused = get(client, "/x/../no/y")
        assert (refused.status, refused.body) == (403, b"no")
        assert get(client, "/else").status == 404
        assert get(client, "/", "api.example").body == b"api"


def test_a_split_reaches_every_upstream(
    start: LbFactory, origin: OriginFactory
) -> None:
    split = [{"upstream": "one", "weight": 1}, {"upstream": "two", "weight": 1}]
    lb = routed(
        start, [{"split": split}], one=origin(reply(b"1")), two=origin(reply(b"2"))
    )
    with lb.connect() as client:
        # One in 2 ** 63 runs sees only one of them.
        bodies = [client.ask().body for _ in range(64)]
    assert sorted(dict.fromkeys(bodies)) == [b"1", b"2"]
