"""Many clients, few backend connections, and misbehaviour on both sides.

A state machine of hypothesis drives the simulator with anything that peers can do, in
any order. What must hold whatever happens has a number, P1 to P16, which stands beside
its check, here or in `views`:

P1   How bytes are cut does not matter: `test_proxy`, `fuzz_request`, `fuzz_response`.
P2   Nothing raises; after the last response nothing comes: `ClientView.read`.
P3   Backends get requests, those that clients have sent: `BackendView._head`.
P4   No CR, LF or NUL of a peer ends up in a head: h11 reads all heads, in both views.
P5   One framing, one Host, nothing of the other hop: `BackendView._head`.
P6   Content arrives whole and in order: `BackendView.read`, `ClientView._end`.
P7   Memory is bounded: `memory_is_bounded`.
P8   What was cut short does not look whole: `ClientView._events`, `_end`.
P9   Other fields pass as they are: `BackendView._head`, `ClientView._end`.
P10  Responses come in order, one for each request: `ClientView.read`, `_head`.
P11  No request on a connection in doubt, no bytes of somebody else: both views.
P12  Requests go out again only if they may: `requests_go_out_rarely_again`.
P13  Nobody waits without a deadline; in the end all is closed, and who comes then is
     served: `nobody_waits_without_a_deadline`, `teardown`.
P14  Bytes of a head never put its deadline off: `dribble`.
P15  Policies keep their shares: `test_selection`, `tests/unit/selection`.
P16  Who is ejected gets nothing, and never too many are: `nobody_asks_who_is_ejected`.

`LBPROTO_CROWD` sets how many crowds of each kind there are.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import replace
from typing import ClassVar, get_args

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from lbproto.config import (
    Backoff,
    Config,
    Match,
    OutlierDetection,
    Respond,
    Retry,
    RetryOn,
    Route,
    RouteLimits,
    Secret,
    Sticky,
)
from lbproto.machine.effects import Log
from lbproto.machine.events import ConnectError
from lbproto.proxy.connection import ProxyConnection
from lbproto.selection.backend import EJECTED
from lbproto.testing.sim import Endpoint, Sim
from lbproto.testing.strategies import mutated, requests
from tests.property.views import Asked, BackendView, ClientView, Head, Told
from tests.scenario.world import ONE, TWO, bare

CROWDS = int(os.environ.get("LBPROTO_CROWD", "150"))
MAX_CLIENTS = 8
MAX_RETRIES = 1
SMALL = RouteLimits(body_size=100)
BOUND = 32 * 1024 + 64 * 1024 + 3 * 64 * 1024
HOP = (
    b"Connection: X-Gone\r\nX-Gone: 1\r\n"
    b"Keep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\n"
)
"""What is for one connection, whichever side says it."""
FLOODS = (
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2000,
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n" + bytes(60_000),
)
FIELDS = (b"x", b'a;b, c="d"', b"\xff\x80  two blanks", b"")
"""Values that must arrive as they are."""
ANSWERS = (
    b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\n%bContent-Length: %d\r\n\r\n%b",
    b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\n%bContent-Length: %d\r\n\r\n%b",
)
CLOSING = ANSWERS[2]
ENDINGS = (
    *[(0, "")] * 6,
    (0, "close"),
    (0, "abort"),
    (1, ""),
    (1, "close"),
    (8, "close"),
    (8, "abort"),
    (70, ""),
)
"""How many bytes of an answer are missing, and how its connection ends there."""
EVIL = b"HTTP/1.1 200 OK\r\n\r\nEVIL"


class Crowd(RuleBasedStateMachine):
    """Everything that can happen between clients, the core and backends."""

    def world(self) -> Config:
        """What the balancer is told."""
        return bare(backends=(ONE, TWO), pool=2, max_retries=MAX_RETRIES)

    def __init__(self) -> None:
        super().__init__()
        self.sim = Sim(self.world(), slack=1)
        self.backends = [self.sim.backend(str(target)) for target in (ONE, TWO)]
        self.clients: list[Endpoint] = []
        self.draining = False
        self.asked: dict[bytes, Asked] = {}
        self.told: dict[bytes, list[Told]] = {}
        self.right: dict[int, list[Asked]] = {}
        """What clients have asked of whom all has been right so far, by number."""
        self.views: dict[int, ClientView] = {}
        self.origins: dict[int, BackendView] = {}
        self.silent: list[Endpoint] = []
        """Clients that say nothing more."""
        self.number = 0
        self.ejected: dict[int, int] = {}
        self.looked = 0

    def some(self, ends: list[Endpoint], index: int) -> Endpoint:
        return ends[index % len(ends)]

    @property
    def open_clients(self) -> list[Endpoint]:
        there = [one for one in self.clients if not one.closed and not one.gone]
        return [one for one in there if one not in self.silent]

    @property
    def polite(self) -> list[Endpoint]:
        """Those of whom all has been right so far."""
        return [
            one for one in self.open_clients if self.clients.index(one) in self.right
        ]

    @property
    def rude(self) -> list[Endpoint]:
        """Those of whom it has not."""
        return [one for one in self.open_clients if one not in self.polite]

    @property
    def has_room(self) -> bool:
        """Another client may come."""
        return len(self.open_clients) < MAX_CLIENTS and not self.draining

    @property
    def all_backends(self) -> list[Endpoint]:
        return [end for backend in self.backends for end in backend.connections]

    @property
    def open_backends(self) -> list[Endpoint]:
        return [end for end in self.all_backends if not end.closed and not end.gone]

    def view(self, end: Endpoint) -> BackendView:
        """Read what has come to a backend, also what it has not looked at yet."""
        view = self.origins.setdefault(end.conn, BackendView())
        if len(end.received) + len(end._queue) > view.fed:
            view.read(end.received + end._queue, self.asked)
        return view

    # -- clients ---------------------------------------------------------------

    def come(self) -> Endpoint:
        client = self.sim.client()
        self.right[len(self.clients)] = []
        self.views[len(self.clients)] = ClientView()
        self.clients.append(client)
        return client

    def mistrust(self, client: Endpoint) -> None:
        """From now on nobody knows what the client has asked."""
        self.right.pop(self.clients.index(client), None)

    @initialize()
    def some_are_there(self) -> None:
        for _ in range(3):
            self.come()

    @precondition(lambda self: self.has_room)
    @rule()
    def connect(self) -> None:
        self.come()

    @precondition(lambda self: self.polite)
    @rule(
        index=st.integers(0, 7),
        method=st.sampled_from([b"GET", b"POST", b"HEAD"]),
        body=st.sampled_from([0, 0, 5, 70_000]),
        field=st.sampled_from(FIELDS),
        hop=st.sampled_from([b"", b"", HOP]),
        close=st.sampled_from([False, False, False, True]),
        times=st.sampled_from([1, 1, 2]),
        leave=st.sampled_from(["", "", "", "close", "abort"]),
    )
    def ask(
        self,
        index: int,
        method: bytes,
        body: int,
        field: bytes,
        hop: bytes,
        close: bool,
        times: int,
        leave: str,
    ) -> None:
        client = self.some(self.polite, index)
        number = self.clients.index(client)
        wire = b""
        for left in reversed(range(times)):
            last = b"Connection: close\r\n" if close and not left else b""
            one = self.request(number, method, body, field, hop + last)
            self.asked[one[0].tag] = one[0]
            self.right[number].append(one[0])
            wire += one[1]
        if close:
            self.silent.append(client)  # nothing behind it is a request
        client.send(wire)
        if leave:
            self.backends_leave_what_they_owe(leave)

    @precondition(lambda self: self.rude or self.has_room)
    @rule(index=st.integers(0, 7), body=st.sampled_from([0, 5, 5000]), cut=st.data())
    def ask_in_part(self, index: int, body: int, cut: st.DataObject) -> None:
        client = self.somebody_rude(index)
        number = self.clients.index(client)
        _, wire = self.request(number, b"POST", body, b"", b"")
        client.send(wire[: cut.draw(st.integers(0, len(wire)))])

    def somebody_rude(self, index: int) -> Endpoint:
        """Choose one of whom all may be expected, perhaps a new one."""
        client = self.some(self.rude, index) if self.rude else self.come()
        self.mistrust(client)
        return client

    def request(
        self, number: int, method: bytes, body: int, field: bytes, others: bytes
    ) -> tuple[Asked, bytes]:
        """Make a request that is not like any other."""
        self.number += 1
        tag = b"%d-%d" % (number, self.number)
        content = (b"%b|" % tag * body)[:body]
        fields = b"X-Mine: %b\r\n%b" % (field, others)
        fields += b"Content-Length: %d\r\n" % body if body else b""
        wire = (
            b"%b /c%b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (method, tag, fields) + content
        )
        return Asked(tag, method, field, content), wire

    @precondition(lambda self: self.rude or self.has_room)
    @rule(index=st.integers(0, 7), data=st.data())
    def talk_nonsense(self, index: int, data: st.DataObject) -> None:
        stream = data.draw(mutated(data.draw(requests()).wire))
        self.somebody_rude(index).send(stream)

    @precondition(lambda self: self.rude or self.has_room)
    @rule(index=st.integers(0, 7), body=st.integers(0, 5))
    def ask_us_alone(self, index: int, body: int) -> None:
        head = b"OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n"
        wire = head + b"Content-Length: 5\r\n\r\n" + b"01234"[:body]
        self.somebody_rude(index).send(wire)

    @precondition(lambda self: self.rude or self.has_room)
    @rule(
        index=st.integers(0, 7),
        flood=st.sampled_from(FLOODS),
        times=st.sampled_from([1, 8]),
    )
    def talk_on(self, index: int, flood: bytes, times: int) -> None:
        client = self.somebody_rude(index)
        for _ in range(times):
            client.send(flood)

    @precondition(lambda self: self.open_clients)
    @rule(
        index=st.integers(0, 7),
        how=st.sampled_from(["half_close", "abort", "pause", "resume", "resume"]),
    )
    def client_turns(self, index: int, how: str) -> None:
        client = self.some(self.open_clients, index)
        if how == "half_close":
            self.silent.append(client)
        if how == "abort":
            self.mistrust(client)
        getattr(client, how)()

    @precondition(lambda self: self.has_room)
    @rule(pieces=st.integers(1, 9), seconds=st.sampled_from([0.0, 0.5]))
    def dribble(self, pieces: int, seconds: float) -> None:
        client = self.come()
        self.mistrust(client)
        machine = self.sim.machines[-1]
        client.send(b"P")
        first = machine.deadline
        for byte in b"OST /slow"[:pieces]:
            self.sim.advance(seconds)
            client.send(bytes([byte]))
            assert machine.deadline <= first  # P14

    # -- backends --------------------------------------------------------------

    @precondition(lambda self: self.open_backends)
    @rule(
        index=st.integers(0, 9),
        answer=st.sampled_from(ANSWERS),
        surplus=st.sampled_from([b"", b"", b"", EVIL]),
        size=st.sampled_from([0, 0, 100_000]),
        field=st.sampled_from(FIELDS),
        hop=st.sampled_from([b"", HOP]),
        ending=st.sampled_from(ENDINGS),
    )
    def answer(
        self,
        index: int,
        answer: bytes,
        surplus: bytes,
        size: int,
        field: bytes,
        hop: bytes,
        ending: tuple[int, str],
    ) -> None:
        owing = [end for end in self.open_backends if self.view(end).owed is not None]
        end = self.some(owing or self.open_backends, index)
        view = self.view(end)
        if not view.heads or not view.heads[-1].tag or view.last is not None:
            return
        head = view.heads[-1]
        content = b"<%b>" % head.tag + b"y" * size
        fields = b"X-Tag: %b\r\nX-Theirs: %b\r\n%b" % (head.tag, field, hop)
        bare_head = self.asks_for_a_head(head.tag)
        wire = answer % (fields, len(content), b"" if bare_head else content)
        if bare_head and answer is ANSWERS[3]:
            wire = wire.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        cut, then = min(ending[0], len(wire) - 1), ending[1]
        if (
            view.owed is None
            or surplus
            or answer is CLOSING
            or cut
            or not head.complete
        ):
            view.no_more()
        if view.owed is not None:
            if not cut:
                told = Told(field, b"" if bare_head else content)
                self.told.setdefault(head.tag, []).append(told)
            view.answered += 1
        view.cut = bool(cut)
        end.send(wire[:-cut] if cut else wire + surplus)
        if then and not (end.gone or end.closed):
            getattr(end, then)()

    @precondition(lambda self: self.open_backends)
    @rule(times=st.integers(1, 4))
    def all_backends_do_their_work(self, times: int) -> None:
        for _ in range(times):
            for end in self.open_backends:
                view = self.view(end)
                owed = view.owed
                if owed is not None and owed.complete and view.last is None:
                    self.answer_well(end, view, owed)

    def answer_well(self, end: Endpoint, view: BackendView, owed: Head) -> None:
        """Answer as one should; also what somebody rude has asked."""
        bare_head = owed.method in (b"HEAD", b"CONNECT")
        content = b"" if bare_head else b"<%b>" % owed.tag if owed.tag else b"-"
        fields = b"X-Tag: %b\r\nX-Theirs: \r\n" % owed.tag if owed.tag else b""
        self.told.setdefault(owed.tag, []).append(Told(b"", content))
        view.answered += 1
        end.send(ANSWERS[0] % (fields, 3 if bare_head else len(content), content))

    def asks_for_a_head(self, tag: bytes) -> bool:
        known = self.asked.get(tag)
        return known is not None and known.method == b"HEAD"

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
        view = self.view(end)
        if view.cut:
            return  # it would be the rest of a response
        owed = view.owed
        if owed is not None and owed.method == b"HEAD" and b" 200 " in data:
            view.answered += 1  # to a HEAD it is no nonsense
        else:
            view.no_more()
        view.opaque = view.opaque or b" 101 " in data
        end.send(data)

    @precondition(lambda self: self.open_backends)
    @rule(
        index=st.integers(0, 9),
        how=st.sampled_from(["close", "abort", "pause", "resume", "resume"]),
    )
    def backend_turns(self, index: int, how: str) -> None:
        getattr(self.some(self.open_backends, index), how)()

    def backends_leave_what_they_owe(self, how: str) -> None:
        for end in self.open_backends:
            view = self.view(end)
            if view.owed is not None or view.cut:
                getattr(end, how)()

    @rule(
        index=st.integers(0, 1),
        mode=st.sampled_from([None] * 4 + [ConnectError.REFUSED, ConnectError.TIMEOUT]),
    )
    def backend_changes(self, index: int, mode: ConnectError | None) -> None:
        self.backends[index].mode = mode

    # -- time ------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.1, 1.0, 3.0, 11.0, 80.0]))
    def time_passes(self, seconds: float) -> None:
        self.sim.advance(seconds)

    @precondition(lambda self: not self.draining)
    @rule(grace=st.sampled_from([None] * 8 + [0.0, 5.0]))
    def drain(self, grace: float | None) -> None:
        if grace is not None:
            self.draining = True
            self.sim.drain(grace, 20.0)

    # -- what holds ------------------------------------------------------------

    @invariant()
    def backends_get_what_was_asked(self) -> None:
        for end in self.all_backends:
            self.view(end)

    @invariant()
    def clients_get_what_was_told(self) -> None:
        for number, asked in self.right.items():
            client = self.clients[number]
            self.views[number].read(client.received, client.eof, asked, self.told)

    @invariant()
    def nobody_sees_what_is_not_his(self) -> None:
        for number, client in enumerate(self.clients):
            for tag in re.findall(rb"<(\d+)-\d+>", client.received):
                assert int(tag) == number
            # Only as the answer to a request of its own could this have come.
            assert b"EVIL" not in client.received

    @invariant()
    def requests_go_out_rarely_again(self) -> None:
        heads = Counter(
            head.tag for view in self.origins.values() for head in view.heads
        )
        for tag, asked in self.asked.items():
            # Another backend so often, and each a second time where the connection
            # was an idle one that had died.
            most = 1 if asked.method == b"POST" else 2 * (1 + MAX_RETRIES)
            assert heads[tag] <= most

    @invariant()
    def memory_is_bounded(self) -> None:
        for machine in self.sim.machines:
            if isinstance(machine, ProxyConnection):
                assert machine.buffered <= BOUND
        for end in self.sim.ends.values():
            assert end.waiting <= BOUND

    @invariant()
    def nobody_waits_without_a_deadline(self) -> None:
        for machine in self.sim.machines:
            if isinstance(machine, ProxyConnection) and not machine.closed:
                assert machine.deadline < float("inf")

    @invariant()
    def nobody_asks_who_is_ejected(self) -> None:
        found = [
            one
            for one in self.sim.gateway.balancer.stats().backends
            if one.barred & EJECTED
        ]
        assert len(found) <= len(self.backends) // 2
        new, self.looked = self.sim.log[self.looked :], len(self.sim.log)
        for _, effect in new:
            if isinstance(effect, Log) and effect.message == "backend returns":
                self.ejected = {}  # it may have been asked, and ejected again
        now = {int(one.id): one.leases for one in found}
        for backend, leases in now.items():
            # No lease since the last look, when it was ejected already.
            assert leases == self.ejected.get(backend, leases)
        self.ejected = now

    def teardown(self) -> None:
        for client in self.clients:
            client.resume()
        self.all_is_closed()
        if not self.draining:
            self.who_comes_is_served()

    def all_is_closed(self) -> None:
        self.sim.advance(100_000.0)
        stats = self.sim.gateway.balancer.stats()
        assert stats.active == 0
        assert stats.idle == 0
        for conn, end in self.sim.ends.items():
            assert end.closed, f"connection {conn} is left over"

    def who_comes_is_served(self) -> None:
        for backend in self.backends:
            backend.mode = None
            backend.answer = lambda end, _: end.send(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"
            )
        client = self.sim.client()
        client.send(b"GET /c0-0 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.received.startswith(b"HTTP/1.1 200 OK\r\n")
        assert client.received.endswith(b"\r\n\r\nOK")
        self.all_is_closed()


class RoutedCrowd(Crowd):
    """The same, with routes, every kind of retry, ejection, pauses, and affinity."""

    retry: ClassVar = Retry(
        on=get_args(RetryOn),
        statuses=(503,),
        budget_percent=50,
        per_try_timeout=5.0,
        backoff=Backoff(base=4.0, max=8.0),
    )

    def world(self) -> Config:
        sticky = Sticky(cookie=b"lb", secret=Secret(b"secret"))
        settings = super().world()
        (web,) = settings.services
        routes = (
            Route(match=Match(path_regex="^/c[0-9]*[02468]-"), upstream="web"),
            Route(match=Match(path_regex="^/c[0-9]*1-"), respond=Respond(body=b"1")),
            Route(
                match=Match(path_regex="^/c[0-9]*[35]-"), upstream="web", limits=SMALL
            ),
        )
        upstream = replace(
            settings.upstreams["web"],
            retry=self.retry,
            sticky=sticky,
            outlier_detection=OutlierDetection(consecutive_failures=2),
        )
        return replace(
            settings,
            services=(replace(web, routes=routes),),
            upstreams={"web": upstream},
        )


CROWDED = settings(max_examples=CROWDS, stateful_step_count=60, deadline=None)
TestRoutedCrowd = RoutedCrowd.TestCase
TestRoutedCrowd.settings = CROWDED
TestCrowd = Crowd.TestCase
TestCrowd.settings = CROWDED
