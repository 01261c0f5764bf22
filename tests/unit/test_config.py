"""The records of a configuration."""

from __future__ import annotations

from lbproto.config import Match, Route, Service, Share


def test_a_service_knows_all_upstreams_that_it_sends_to() -> None:
    split = Route(
        match=Match(),
        split=(Share(upstream="b", weight=1), Share(upstream="c", weight=1)),
    )
    routes = (Route(match=Match(), upstream="b"), split, Route(match=Match()))
    assert Service(name="web", routes=routes).upstreams == ("b", "c")
    assert Service(name="web", upstream="a", routes=routes).upstreams == ("a", "b", "c")
    assert Service(name="web", upstream="a").upstreams == ("a",)
