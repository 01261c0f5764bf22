"""Who asks, where a trusted proxy speaks for many."""

from __future__ import annotations

import dataclasses
from ipaddress import ip_network
from typing import Any

import pytest

from lbproto.config import HashOn, HeaderRules
from lbproto.machine.effects import Access
from lbproto.machine.events import PeerInfo
from lbproto.phases.http import ProxyHttp
from lbproto.phases.peer import HttpPeer
from lbproto.phases.session import Session
from lbproto.rewriting.variables import template
from lbproto.testing.sim import Sim
from tests.scenario.world import GET, ONE, TWO, answers, bare, logged

pytestmark = pytest.mark.usefixtures("every_framing")

PROXY = PeerInfo("192.0.2.1", 40000, "127.0.0.1:6188")
STRANGER = PeerInfo("198.51.100.1", 40000, "127.0.0.1:6188")
TRUSTED = {"trusted_proxies": (ip_network("192.0.2.0/24"),)}


def get(chain: str, *fields: str) -> bytes:
    lines = ["GET / HTTP/1.1", "Host: a", f"X-Forwarded-For: {chain}", *fields, "", ""]
    return "\r\n".join(lines).encode()


def recorded(sim: Sim) -> list[str]:
    """Who the access log says has asked."""
    found = [effect for _, effect in sim.log if isinstance(effect, Access)]
    return [effect.record.peer for effect in found]


def test_each_request_of_a_proxys_connection_has_its_own_client():
    sim = Sim(bare(**TRUSTED))
    server = sim.backend(str(ONE), answers)
    client = sim.client(peer=PROXY)
    client.send(get("6.6.6.6, 203.0.113.7, 192.0.2.9"))
    client.send(GET)
    client.send(get("203.0.113.8:1234"))
    assert recorded(sim) == ["203.0.113.7", "192.0.2.1", "203.0.113.8"]
    assert b"X-Forwarded-For: 6.6.6.6, 203.0.113.7, 192.0.2.9, 192.0.2.1\r\n" in (
        server.received
    )


def test_a_stranger_is_nobody_but_itself():
    sim = Sim(bare(**TRUSTED))
    server = sim.backend(str(ONE), answers)
    sim.client(peer=STRANGER).send(get("203.0.113.7"))
    assert recorded(sim) == ["198.51.100.1"]
    assert b"203.0.113.7" not in server.received


@pytest.mark.parametrize("policy", ["hash", "ketama", "maglev"])
def test_clients_behind_one_proxy_are_spread_and_each_keeps_its_backend(policy):
    settings = bare(backends=(ONE, TWO), **TRUSTED)
    rules: dict[str, Any] = {"policy": policy, "hash_on": HashOn(kind="client_ip")}
    web = dataclasses.replace(settings.upstreams["web"], **rules)
    sim = Sim(dataclasses.replace(settings, upstreams={"web": web}))
    servers = [sim.backend(str(it), answers) for it in (ONE, TWO)]
    client = sim.client(peer=PROXY)
    for at in range(20):
        for claim in ("6.6.6.6", "7.7.7.7"):
            client.send(get(f"{claim}, 203.0.113.{at}"))
    told = [server.received for server in servers]
    for at in range(20):
        mark = f", 203.0.113.{at}, 192.0.2.1\r\n".encode()
        assert sorted(text.count(mark) for text in told) == [0, 2]
    assert all(told)


def test_rules_tell_of_the_client_and_the_log_names_it():
    seen = (b"X-Seen", template(b"<$remote_addr:$remote_port>"))
    rules = HeaderRules(set=(seen,))
    sim = Sim(bare(request_headers=rules, response_headers=rules, **TRUSTED))
    server = sim.backend(str(ONE), answers)
    client = sim.client(peer=PROXY)
    client.send(get("203.0.113.7:567"))
    assert b"X-Seen: <203.0.113.7:567>\r\n" in server.received
    assert b"X-Seen: <203.0.113.7:567>\r\n" in client.received
    client.send(get("203.0.113.8", "Via: 1.1 a"))
    assert b"X-Seen: <203.0.113.8:>\r\n" in server.received


def test_a_failure_is_logged_with_its_client():
    sim = Sim(bare(**TRUSTED))  # and nobody listens
    sim.client(peer=PROXY).send(get("203.0.113.7"))
    assert [line.fields["client"] for line in logged(sim)] == ["203.0.113.7"]
    assert recorded(sim) == ["203.0.113.7"]


class Refuses(ProxyHttp[None]):
    """Notes who asks, and finds nobody to answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def new_ctx(self) -> None:
        return None

    def upstream_peer(self, session: Session, ctx: None) -> HttpPeer:
        self.asked.append(session.client_addr)
        if len(self.asked) > 1:
            raise LookupError("nobody")
        return HttpPeer(ONE)


def test_an_application_is_told_of_the_client_and_so_is_its_log():
    application = Refuses()
    sim = Sim(bare(max_retries=0, **TRUSTED), applications={"web": application})
    sim.client(peer=PROXY).send(get("203.0.113.7:567"))
    sim.client(peer=PROXY).send(get("2001:db8::7"))
    assert application.asked == ["203.0.113.7:567", "[2001:db8::7]:0"]
    lines = [(line.message, line.fields["client"]) for line in logged(sim)]
    assert lines == [
        ("exchange failed", "203.0.113.7"),
        ("application failed", "2001:db8::7"),
    ]
