"""The machine that owns idle connections."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import pytest

from lbproto.config import Backend, Config, Upstream
from lbproto.machine.effects import Close, Level, Log, Target
from lbproto.machine.events import (
    ConnectError,
    ConnectFailed,
    Data,
    Drain,
    Eof,
    Lost,
    Wake,
    WriteBlocked,
    WriteUnblocked,
)
from lbproto.machine.values import ConnId
from lbproto.selection.backend import BackendId
from lbproto.selection.balancer import Balancer, Lease, LeaseId
from lbproto.selection.housekeeping import Housekeeping

IDLE, UNKNOWN = ConnId(1), ConnId(99)
BACKEND = Lease(LeaseId(1), BackendId(0), Target("10.0.0.1", 80))


class World:
    @property
    def guard(self) -> AbstractContextManager[object]:
        return nullcontext()

    def random(self) -> float:
        return 0.5

    def http_date(self, now: float) -> bytes:
        return b"%d" % int(now)


@pytest.fixture
def balancer():
    upstream = Upstream(name="web", backends=(Backend(target=Target("10.0.0.1", 80)),))
    one = Balancer(Config(services=(), upstreams={"web": upstream}), World())
    one.park(BACKEND, IDLE, 10.0)
    return one


@pytest.fixture
def machine(balancer):
    return Housekeeping(balancer)


def test_bytes_that_nobody_asked_for_end_the_connection(balancer, machine):
    effects = machine.handle(Data(IDLE, b"HTTP/1.1 408 X\r\n"), 1.0)
    message = "bytes on an idle backend connection"
    assert effects == [
        Log(Level.DEBUG, message, {"conn": IDLE, "bytes": 16}),
        Close(IDLE),
    ]
    assert balancer.checkout(BACKEND) is None


def test_the_end_of_an_idle_connection_closes_it(balancer, machine):
    assert machine.handle(Eof(IDLE), 1.0) == [Close(IDLE)]
    assert balancer.checkout(BACKEND) is None


def test_a_lost_connection_needs_no_close(balancer, machine):
    assert machine.handle(Lost(IDLE, "reset"), 1.0) == []
    assert balancer.checkout(BACKEND) is None


@pytest.mark.parametrize(
    "event",
    [
        Data(UNKNOWN, b"x"),
        Eof(UNKNOWN),
        Lost(UNKNOWN, "reset"),
        WriteBlocked(IDLE),
        WriteUnblocked(IDLE),
        ConnectFailed(UNKNOWN, ConnectError.STALE, "gone"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_late_events_are_ignored(balancer, machine, event):
    assert machine.handle(event, 1.0) == []
    assert balancer.checkout(BACKEND) == IDLE


def test_expired_connections_are_closed(balancer, machine):
    balancer.park(BACKEND, ConnId(2), 5.0)
    balancer.park(BACKEND, ConnId(3), 20.0)
    assert machine.deadline == 5.0
    assert machine.handle(Wake(), 10.0) == [Close(ConnId(2)), Close(IDLE)]
    assert machine.deadline == 20.0


def test_one_that_made_room_is_closed_at_once():
    upstream = Upstream(name="web", backends=(Backend(target=Target("10.0.0.1", 80)),))
    config = Config(
        services=(), upstreams={"web": upstream}, upstream_keepalive_pool_size=1
    )
    small = Balancer(config, World())
    machine = Housekeeping(small)
    small.park(BACKEND, IDLE, 10.0)
    small.park(BACKEND, ConnId(2), 10.0)
    assert machine.deadline == -math.inf
    assert machine.handle(Wake(), 1.0) == [Close(IDLE)]
    assert machine.deadline == 10.0


def test_a_drain_closes_every_idle_connection(balancer, machine):
    balancer.park(BACKEND, ConnId(2), math.inf)
    effects = machine.handle(Drain(grace=0.0, timeout=1.0), 1.0)
    assert effects == [Close(IDLE), Close(ConnId(2))]
    assert machine.deadline == math.inf
