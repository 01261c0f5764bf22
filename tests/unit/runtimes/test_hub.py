"""One thread for many connections: what goes wrong with one is nobody else's."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lbproto.machine.effects import Level
from lbproto_runtimes.hub import Hub


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


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.hub.end()


def fail() -> None:
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
