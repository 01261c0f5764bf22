"""Clients come back to the backend they had."""

from __future__ import annotations

import dataclasses
import re
from typing import get_args

import pytest

from lbproto.config import Backend, Config, PolicyName, Secret, Sticky, Upstream
from lbproto.machine.effects import Target
from lbproto.machine.events import ConnectError, PeerInfo, TlsInfo
from lbproto.testing.sim import Endpoint, Sim
from tests.scenario.world import ONE, SWITCHED, TWO, WEBSOCKET, bare, replace, status

STICKY = Sticky(cookie=b"lb", secret=Secret(b"a secret of the operator"))


def settings(*targets: Target) -> Config:
    backends = tuple(Backend(target=target) for target in targets)
    web = Upstream(name="web", backends=backends, sticky=STICKY)
    return replace(bare(), upstreams={"web": web})


def named(name: bytes) -> object:
    def answer(end: Endpoint, data: bytes) -> None:
        end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + name)

    return answer


def world(*targets: Target) -> Sim:
    sim = Sim(settings(*targets))
    for target in targets:
        sim.backend(str(target), named(target.host[-1:].encode()))  # type: ignore[arg-type]
    return sim


def ask(sim: Sim, cookie: bytes = b"") -> tuple[bytes, bytes]:
    """Return who answered, and the cookie that was set."""
    client = sim.client()
    field = b"Cookie: lb=" + cookie + b"\r\n" if cookie else b""
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n")
    found = re.findall(
        rb"\r\nSet-Cookie: lb=([^;]+); Path=/; HttpOnly\r\n", client.received
    )
    return client.received[-1:], b"".join(found)


def test_a_client_without_the_cookie_gets_one() -> None:
    sim = world(ONE, TWO)
    (first, one), (second, two) = ask(sim), ask(sim)
    assert (first, second) == (b"1", b"2")
    assert one != two
    assert one
    assert two


def test_a_client_with_it_comes_back_and_gets_no_other() -> None:
    sim = world(ONE, TWO)
    _, cookie = ask(sim)
    assert [ask(sim, cookie) for _ in range(4)] == [(b"1", b"")] * 4
    backend = sim._backends[str(ONE)].received
    assert b"Cookie" not in backend


def test_it_holds_after_a_restart_with_other_backends_beside() -> None:
    _, cookie = ask(world(TWO))
    other = world(ONE, TWO)
    assert ask(other, cookie) == (b"2", b"")


def test_a_made_up_value_is_replaced() -> None:
    who, cookie = ask(world(ONE), b"10.0.0.1:80")
    assert who == b"1"
    assert cookie == ask(world(ONE))[1]


def test_a_backend_that_is_gone_is_replaced() -> None:
    _, cookie = ask(world(ONE))
    who, other = ask(world(TWO), cookie)
    assert who == b"2"
    assert other not in (b"", cookie)


def test_a_backend_that_cannot_be_reached_is_replaced() -> None:
    sim = world(ONE, TWO)
    _, cookie = ask(sim)
    sim.advance(61.0)
    sim._backends[str(ONE)].mode = ConnectError.REFUSED
    who, other = ask(sim, cookie)
    assert who == b"2"
    assert other
    # It rests now, and nobody waits for it.
    assert ask(sim, cookie)[0] == b"2"
    assert sim.access[-1].tries == 1


def test_our_own_answers_set_no_cookie() -> None:
    sim = Sim(settings(ONE))
    client = sim.client()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert status(client) == 502
    assert b"Set-Cookie" not in client.received


def test_interim_responses_set_none_and_the_final_one_does() -> None:
    sim = world(ONE)

    def hints(end: Endpoint, data: bytes) -> None:
        end.send(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")

    sim._backends[str(ONE)].answer = hints
    client = sim.client()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    interim, final = client.received.split(b"HTTP/1.1 204")
    assert b"Set-Cookie" not in interim
    assert final.count(b"Set-Cookie") == 1


def test_a_tunnel_begins_with_a_cookie() -> None:
    sim = world(ONE)
    sim._backends[str(ONE)].answer = lambda end, data: end.send(SWITCHED)
    client = sim.client()
    client.send(WEBSOCKET)
    assert b"Set-Cookie: lb=" in client.received


def test_over_tls_the_cookie_is_secure() -> None:
    sim = world(ONE)
    tls = TlsInfo("", "a.example", "TLSv1.3", "")
    client = sim.client(peer=PeerInfo("192.0.2.1", 1, "127.0.0.1:6188", tls))
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"; Secure; HttpOnly\r\n" in client.received


@pytest.mark.parametrize("policy", get_args(PolicyName))
def test_affinity_comes_before_any_policy(policy: PolicyName) -> None:
    one = settings(ONE, TWO)
    web = dataclasses.replace(one.upstreams["web"], policy=policy)
    sim = Sim(replace(one, upstreams={"web": web}))
    for target in (ONE, TWO):
        sim.backend(str(target), named(target.host[-1:].encode()))  # type: ignore[arg-type]
    who, cookie = ask(sim)
    assert [ask(sim, cookie) for _ in range(20)] == [(who, b"")] * 20
