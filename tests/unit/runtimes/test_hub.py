"""One thread for many connections: what goes wrong with one is nobody else's."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from lbproto.machine.effects import Effect, Level, Send
from lbproto.machine.events import Data, Event, Lost, Opened, PeerInfo
from lbproto.machine.values import ConnId
from lbproto_runtimes.hub import Hub
from lbproto_runtimes.perform import HubDriver
from lbproto_runtimes.wire import Wire


class Host:
    """Waits for nothing by itself; a test has the turns."""

    awaiting = None

    def __init__(self) -> None:
        self.rings: list[float] = []

    def epoll(self) -> select.epoll:
        return select.epoll()

    def ring_at(self, at: float) -> None:
        self.rings.append(at)

    def aside(self, work: Callable[[], None]) -> None:
        raise AssertionError("nothing blocks here")


class Idle:
    """A machine with nothing to do."""

    deadline = float("inf")

    def handle(self, event: object, now: float, /) -> list[Any]:
        return []


class Echo:
    """A machine that says what it hears, and remembers it."""

    def __init__(self, conn: ConnId) -> None:
        self.conn = conn
        self.heard: list[Event] = []

    @property
    def deadline(self) -> float:
        return float("inf")

    def handle(self, event: Event, now: float, /) -> list[Effect]:
        self.heard.append(event)
        return [Send(self.conn, event.data)] if isinstance(event, Data) else []


class Undecided(Echo):
    """Once it has heard bytes it cannot tell its deadline, and never again."""

    @property
    def deadline(self) -> float:
        return fail() if any(isinstance(it, Data) for it in self.heard) else 9e9


class Deaf(socket.socket):
    """It cannot read, in a way that no socket should."""

    def recv(self, *_: object) -> bytes:
        return fail()


class Mute(socket.socket):
    """It cannot write, in a way that no socket should."""

    def send(self, *_: object) -> int:
        return fail()


class Logs:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, level: Level, message: str, fields: object) -> None:
        self.lines.append(message)


class World:
    def __init__(self) -> None:
        self.host = Host()
        self.logs = Logs()
        logs: Any = self.logs
        contexts: Any = None
        self.hub = Hub(Idle(), logs, contexts, self.host)
        self.ends: list[socket.socket] = []

    def client(
        self, kind: type[socket.socket] = socket.socket, machine: type[Echo] = Echo
    ) -> tuple[Echo, socket.socket]:
        """Have a client; return its machine and the far end of its connection."""
        near, far = socket.socketpair()
        far.settimeout(20.0)
        self.ends.append(far)
        conn = ConnId(len(self.ends))
        echo = machine(conn)
        opened = Opened(conn, PeerInfo("192.0.2.1", 50000, "127.0.0.1:80"))
        wire = Wire(self.hub, conn, HubDriver(echo, self.hub), opened)
        self.hub.begin(wire, kind(fileno=near.detach()))
        return echo, far


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.hub.end()
    for far in world.ends:
        far.close()


def fail() -> Any:
    raise ZeroDivisionError("a bug")


def test_a_bug_at_one_descriptor_is_none_of_the_others(world: World) -> None:
    said: list[str] = []
    pairs = [socket.socketpair() for _ in range(2)]
    world.hub.watch(pairs[0][0], fail)
    world.hub.watch(pairs[1][0], lambda: said.append("heard"))
    for _, far in pairs:
        far.send(b"!")
    world.hub.turn()
    assert said == ["heard"]
    assert world.logs.lines == ["internal error"]
    for near, far in pairs:
        world.hub.ignore(near)
        near.close()
        far.close()


@pytest.mark.parametrize(
    ("kind", "machine"), [(Deaf, Echo), (Mute, Echo), (socket.socket, Undecided)]
)
def test_a_bug_at_one_client_breaks_off_that_one_alone(
    world: World, kind: type[socket.socket], machine: type[Echo]
) -> None:
    first, broken, last = world.client(), world.client(kind, machine), world.client()
    for _, far in (first, broken, last):
        far.send(b"hello")
    world.hub.turn()
    assert [first[1].recv(9), last[1].recv(9)] == [b"hello", b"hello"]
    assert broken[0].heard[-1] == Lost(broken[0].conn, "a bug")
    assert not world.hub.knows(broken[0].conn)
    with suppress(ConnectionResetError):  # bytes were left
        assert broken[1].recv(9) == b""
    assert set(world.logs.lines) == {"internal error"}
    logged = len(world.logs.lines)
    for _, far in (first, last):
        far.send(b"again")
    world.hub.turn()
    assert [first[1].recv(9), last[1].recv(9)] == [b"again", b"again"]
    assert len(world.logs.lines) == logged


def test_a_bug_in_an_errand_does_not_end_the_turns(world: World) -> None:
    said: list[str] = []
    world.hub.ask(fail)
    world.hub.ask(lambda: said.append("done"))
    world.hub.turn()
    assert said == ["done"]
    assert world.logs.lines == ["internal error"]


def test_a_bug_of_what_was_to_come_later_is_logged(world: World) -> None:
    said: list[str] = []
    world.hub.later(0.0, fail)
    world.hub.later(0.0, lambda: said.append("came"))
    world.hub.turn()
    world.hub.turn()
    assert said == ["came"]
    assert world.logs.lines == ["internal error"]


def test_the_host_is_told_of_the_first_only(world: World) -> None:
    world.hub.later(60.0, fail)
    world.hub.later(90.0, fail)
    world.hub.later(30.0, fail)
    assert len(world.host.rings) == 2
    assert world.host.rings[1] < world.host.rings[0]
    assert 29.0 < world.hub.patience() <= 30.0


def test_nobody_asks_for_anything_once_it_has_ended() -> None:
    world = World()
    world.hub.end()
    world.hub.ask(fail)
    assert world.logs.lines == []
