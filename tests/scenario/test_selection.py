"""What a client sees of the choice of a backend."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from lbproto.config import Backend, Config, HashOn, OutlierDetection, Upstream
from lbproto.selection.backend import BackendId
from lbproto.testing.sim import Endpoint, Sim, SimBackend
from tests.scenario.world import (
    GET,
    OK,
    ONE,
    POST,
    TWO,
    answers,
    bare,
    config,
    logged,
    replace,
    status,
)

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


def two(**rules: Any) -> Config:
    settings = bare(backends=(ONE, TWO))
    web = dataclasses.replace(settings.upstreams["web"], **rules)
    return dataclasses.replace(settings, upstreams={"web": web})


def refuses(end: Endpoint, data: bytes) -> None:
    end.send(UNAVAILABLE)


def get(target: str = "/", *fields: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "Host: a", *fields, "", ""]
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize(
    ("rule", "fields"),
    [
        (HashOn(kind="cookie", name=b"sid"), "Cookie: sid={}"),
        (HashOn(kind="header", name=b"x-user"), "X-User: {}"),
    ],
)
@pytest.mark.parametrize("policy", ["hash", "ketama", "maglev"])
def test_what_has_the_same_key_goes_to_the_same_backend(policy, rule, fields):
    sim = Sim(two(policy=policy, hash_on=rule))
    servers = [sim.backend(str(it), answers) for it in (ONE, TWO)]
    client = sim.client()
    for user in range(20):
        for _ in range(3):
            client.send(get("/", fields.format(user)))
    told = [server.received for server in servers]
    for user in range(20):
        line = f"{fields.format(user)}\r\n".encode()
        assert sorted(text.count(line) for text in told) == [0, 3]
    assert all(told)


def test_a_request_without_the_field_goes_anywhere():
    rule = HashOn(kind="cookie", name=b"sid")
    sim = Sim(two(policy="ketama", hash_on=rule))
    servers = [sim.backend(str(it), answers) for it in (ONE, TWO)]
    client = sim.client()
    for _ in range(20):
        client.send(get())
    assert all(server.received for server in servers)


def test_when_all_are_unhealthy_the_client_is_asked_to_come_back():
    sim = Sim(two())
    for number in range(2):
        sim.gateway.balancer.set_health(BackendId(number), False, 0.0, "refused")
    client = sim.client()
    client.send(get())
    assert status(client) == 503
    assert b"\r\nRetry-After: 1\r\n" in client.received


def test_a_backend_that_says_it_fails_is_left_alone_and_the_log_says_so():
    rule = OutlierDetection(consecutive_failures=3, base_ejection=10.0)
    sim = Sim(two(outlier_detection=rule))
    bad, good = sim.backend(str(ONE), refuses), sim.backend(str(TWO), answers)
    client = sim.client()
    for _ in range(20):
        client.send(get())
    assert (bad.received.count(b"GET"), good.received.count(b"GET")) == (3, 17)
    (line,) = [line for line in logged(sim) if line.message == "backend ejected"]
    assert line.fields["backend"] == str(ONE)
    sim.advance(10.0)
    bad.answer = answers
    for _ in range(4):
        client.send(get())
    assert bad.received.count(b"GET") == 5
    assert [line.message for line in logged(sim)][-1] == "backend returns"


def test_a_backend_that_answers_slowly_gets_less():
    sim = Sim(two(policy="peak_ewma"))
    slow, fast = sim.backend(str(ONE)), sim.backend(str(TWO))
    client, other = sim.client(), sim.client()
    client.send(get())
    other.send(get())
    sim.advance(0.01)
    answers(fast.connections[0], b"")
    sim.advance(0.5)
    answers(slow.connections[0], b"")
    fast.answer = answers
    fast.connections[0].on_data = answers
    for _ in range(20):
        client.send(get())
    assert slow.received.count(b"GET") == 1
    assert fast.received.count(b"GET") == 21


# -- waiting for a backend that is full -----------------------------------------


def full(**upstream: Any) -> tuple[Sim, SimBackend]:
    """One backend that takes one exchange at a time, and answers when it is told."""
    before = config()
    one = Upstream(
        name="web", backends=(Backend(target=ONE, max_connections=1),), **upstream
    )
    sim = Sim(replace(before, upstreams={"web": one}))
    return sim, sim.backend("10.0.0.1:80")


def test_a_request_waits_for_a_backend_that_is_full() -> None:
    sim, backend = full()
    first, second, third = sim.client(), sim.client(), sim.client()
    first.send(GET)
    second.send(POST)
    third.send(GET)
    assert len(backend.connections) == 1
    backend.answer = answers
    backend.connections[0].on_data = answers
    backend.connections[0].send(OK)
    assert status(first) == 200
    sim.advance(0.05)
    assert status(second) == 200
    assert status(third) == 200
    assert len(backend.connections) == 1, "one after the other"
    assert backend.received.count(b"hello") == 1


def test_it_waits_no_longer_than_its_time() -> None:
    sim, backend = full(queue_timeout=0.5)
    first, second = sim.client(), sim.client()
    first.send(GET)
    second.send(GET)
    sim.advance(0.49)
    assert second.received == b""
    sim.advance(0.01)
    assert status(second) == 503
    assert "had no room in time" in str(logged(sim)[-1].fields["detail"])
    backend.connections[0].send(OK)
    assert status(first) == 200
    sim.advance(5.0)


def test_more_than_may_wait_are_refused_at_once() -> None:
    sim, _ = full(max_queue=1)
    clients = [sim.client() for _ in range(3)]
    for client in clients:
        client.send(GET)
    assert status(clients[2]) == 503
    assert clients[1].received == b""


def test_without_a_queue_nobody_waits() -> None:
    sim, _ = full(max_queue=0)
    first, second = sim.client(), sim.client()
    first.send(GET)
    second.send(GET)
    assert status(second) == 503


def test_a_client_that_leaves_gives_its_place_up() -> None:
    sim, backend = full(max_queue=1)
    first, second = sim.client(), sim.client()
    first.send(GET)
    second.send(GET)
    second.abort()
    third = sim.client()
    third.send(POST[:-2])
    third.send(POST[-2:])
    assert third.received == b"", "there is room in the queue again"
    backend.connections[0].on_data = answers
    backend.connections[0].send(OK)
    sim.advance(0.05)
    assert status(third) == 200
    assert sim.gateway.balancer.stats().active == 0


def test_a_policy_that_changes_while_it_serves_gets_its_keys() -> None:
    sim = Sim(two())
    backends = [sim.backend(f"10.0.0.{number}:80", answers) for number in (1, 2)]
    client = sim.client()
    for _ in range(2):
        client.send(GET)
    assert [len(one.connections) for one in backends] == [1, 1]
    upstreams = two(policy="hash", hash_on=HashOn(kind="uri")).upstreams
    sim.gateway.balancer.update(upstreams, sim.now)
    asked = [one.received.count(b"GET ") for one in backends]
    for number in range(20):
        client.send(get(f"/{number}"))
    more = [one.received.count(b"GET ") for one in backends]
    assert all(now > before for now, before in zip(more, asked, strict=True))
    sim.gateway.balancer.update(two().upstreams, sim.now)
    client.send(GET)
    assert client.received.count(b"HTTP/1.1 200") == 23
