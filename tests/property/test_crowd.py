"""Many clients, few backend connections, and misbehaviour on both sides.

A state machine of hypothesis drives the simulator with anything that peers can do,
in any order. Whatever happens: nothing raises, no client sees what was meant for
another, memory stays bounded, nobody waits without a deadline, and when time has
passed every lease is released and every connection is closed.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import get_args

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lbproto.config import (
    Backoff,
    Config,
    Match,
    Respond,
    Retry,
    RetryOn,
    Route,
    RouteLimits,
    Secret,
    Sticky,
)
from lbproto.machine.events import ConnectError
from lbproto.proxy.connection import ProxyConnection
from lbproto.testing.sim import Endpoint, Sim
from lbproto.testing.strategies import mutated, requests
from tests.scenario.world import ONE, TWO, bare

SMALL = RouteLimits(body_size=100)
BOUND = 32 * 1024 + 64 * 1024 + 3 * 64 * 1024
TAG = re.compile(rb"/c(\d+)-")
ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nContent-Length: %d\r\n\r\n%b",
)


class Crowd(RuleBasedStateMachine):
    """Everything that can happen between clients, the core and backends."""

    def world(self) -> Config:
        """What the balancer is told."""
        return bare(backends=(ONE, TWO), pool=2)

    def __init__(self) -> None:
        super().__init__()
        self.sim = Sim(self.world(), slack=1)
        self.backends = [self.sim.backend(str(target)) for target in (ONE, TWO)]
        self.clients: list[Endpoint] = []
        self.draining = False
        self.unclear: list[int] = []  # connections on which anything may follow

    def some(self, ends: list[Endpoint], index: int) -> Endpoint:
        return ends[index % len(ends)]

    @property
    def open_clients(self) -> list[Endpoint]:
        return [one for one in self.clients if not one.closed and not one.gone]

    @property
    def open_backends(self) -> list[Endpoint]:
        return [
            end
            for backend in self.backends
            for end in backend.connections
            if not end.closed and not end.gone
        ]

    @rule()
    def connect(self) -> None:
        if len(self.clients) < 8:
            self.clients.append(self.sim.client())

    @precondition(lambda self: self.open_clients)
    @rule(
        index=st.integers(0, 7),
        method=st.sampled_from([b"GET", b"POST", b"HEAD"]),
        body=st.sampled_from([0, 0, 5, 70_000]),
        cut=st.integers(0, 80),
        close=st.booleans(),
    )
    def ask(self, index: int, method: bytes, body: int, cut: int, close: bool) -> None:
        client = self.some(self.open_clients, index)
        number = self.clients.index(client)
        fields = b"Connection: close\r\n" if close else b""
        if body:
            fields += b"Content-Length: %d\r\n" % body
        head = b"%b /c%d- HTTP/1.1\r\nHost: a\r\n%b\r\n" % (method, number, fields)
        wire = head + b"x" * body
        client.send(wire[:-cut] if cut else wire)

    @precondition(lambda self: self.open_clients)
    @rule(index=st.integers(0, 7), data=st.data())
    def talk_nonsense(self, index: int, data: st.DataObject) -> None:
        stream = data.draw(mutated(data.draw(requests()).wire))
        self.some(self.open_clients, index).send(stream)

    @precondition(lambda self: self.open_clients)
    @rule(
        index=st.integers(0, 7),
        how=st.sampled_from(["half_close", "abort", "pause", "resume"]),
    )
    def client_turns(self, index: int, how: str) -> None:
        client = self.some(self.open_clients, index)
        if how == "half_close":
            client.gone = True  # it says nothing more
        getattr(client, how)()

    @precondition(lambda self: self.open_backends)
    @rule(
        index=st.integers(0, 9),
        answer=st.sampled_from(ANSWERS),
        surplus=st.sampled_from([b"", b"", b"HTTP/1.1 200 OK\r\n\r\nEVIL"]),
        size=st.sampled_from([0, 0, 100_000]),
    )
    def answer(self, index: int, answer: bytes, surplus: bytes, size: int) -> None:
        end = self.some(self.open_backends, index)
        tags = TAG.findall(end.received)
        if not tags or end.conn in self.unclear:
            return
        content = b"<%b>" % tags[-1] + b"y" * size
        end.send(answer % (len(content), content) + surplus)

    @precondition(lambda self: self.open_backends)
    @rule(
        index=st.integers(0, 9),
        data=st.sampled_from(
            [
                b"HTTP/1.1 20",
                b"\r\n",
                b"HTTP/1.1 200 OK\r\n\r\n",
                b"HTTP/1.1 101 X\r\n\r\n",
            ]
        ),
    )
    def answer_nonsense(self, index: int, data: bytes) -> None:
        end = self.some(self.open_backends, index)
        self.unclear.append(end.conn)
        end.send(data)

    @precondition(lambda self: self.open_backends)
    @rule(
        index=st.integers(0, 9),
        how=st.sampled_from(["close", "abort", "pause", "resume"]),
    )
    def backend_turns(self, index: int, how: str) -> None:
        getattr(self.some(self.open_backends, index), how)()

    @rule(
        index=st.integers(0, 1),
        mode=st.sampled_from([None, None, ConnectError.REFUSED, ConnectError.TIMEOUT]),
    )
    def backend_changes(self, index: int, mode: ConnectError | None) -> None:
        self.backends[index].mode = mode

    @rule(seconds=st.sampled_from([0.1, 3.0, 11.0, 61.0, 80.0]))
    def time_passes(self, seconds: float) -> None:
        self.sim.advance(seconds)

    @precondition(lambda self: not self.draining)
    @rule(grace=st.sampled_from([0.0, 5.0]))
    def drain(self, grace: float) -> None:
        self.draining = True
        self.sim.drain(grace, 20.0)

    @invariant()
    def memory_is_bounded(self) -> None:
        for machine in self.sim.machines:
            if isinstance(machine, ProxyConnection):
                assert machine.buffered <= BOUND

    @invariant()
    def nobody_waits_without_a_deadline(self) -> None:
        for machine in self.sim.machines:
            if isinstance(machine, ProxyConnection) and not machine.closed:
                assert machine.deadline < float("inf")

    @invariant()
    def nobody_sees_what_is_not_his(self) -> None:
        for number, client in enumerate(self.clients):
            for tag in re.findall(rb"<(\d+)>", client.received):
                assert int(tag) == number
            # Only as the answer to a request of its own could this have come.
            assert b"EVIL" not in client.received

    def teardown(self) -> None:
        for client in self.clients:
            client.resume()
        self.sim.advance(100_000.0)
        stats = self.sim.gateway.balancer.stats()
        assert stats.active == 0
        assert stats.idle == 0
        for conn, end in self.sim.ends.items():
            assert end.closed, f"connection {conn} is left over"


class RoutedCrowd(Crowd):
    """The same, with routes, every kind of retry, pauses, and affinity."""

    def world(self) -> Config:
        retry = Retry(
            on=get_args(RetryOn),
            statuses=(503,),
            budget_percent=50,
            per_try_timeout=5.0,
            backoff=Backoff(base=4.0, max=8.0),
        )
        sticky = Sticky(cookie=b"lb", secret=Secret(b"secret"))
        settings = super().world()
        (web,) = settings.services
        routes = (
            Route(match=Match(path_regex="^/c[02468]-"), upstream="web"),
            Route(match=Match(path="/c1-"), respond=Respond(body=b"<1>")),
            Route(match=Match(path="/c3-"), upstream="web", limits=SMALL),
        )
        upstream = replace(settings.upstreams["web"], retry=retry, sticky=sticky)
        return replace(
            settings,
            services=(replace(web, routes=routes),),
            upstreams={"web": upstream},
        )


TestRoutedCrowd = RoutedCrowd.TestCase
TestRoutedCrowd.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
TestCrowd = Crowd.TestCase
TestCrowd.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
