"""A connection that is polled: small pieces in one write, bounds, and how it breaks."""

from __future__ import annotations

import math
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from lbproto.machine.effects import Effect
from lbproto.machine.events import (
    Connected,
    Data,
    Eof,
    Event,
    Lost,
    WriteBlocked,
    WriteUnblocked,
)
from lbproto.machine.values import ConnId
from lbproto_runtimes.channel import HIGH_WATER, LOW_WATER, reset_at_close
from lbproto_runtimes.perform import Driver
from lbproto_runtimes.polls import READ, WRITE
from lbproto_runtimes.wire import LARGE, MOST, SMALL, Turn, Wire

CONN = ConnId(7)


class Owner:
    """A machine that hears what is told."""

    deadline = math.inf

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def handle(self, event: Event, now: float, /) -> list[Effect]:
        self.heard.append(event)
        return []


class Poller:
    """Notes what a wire wants."""

    def __init__(self) -> None:
        self.current = Turn()
        self.current.on = True
        self.masks: list[int] = []
        self.closing: list[Wire] = []
        self.gone: list[Wire] = []

    def clock(self) -> float:
        return 10.0

    def aside(self, work: Callable[[], None]) -> None:
        raise AssertionError("nothing blocks here")

    def wait_for(self, descriptor: int, mask: int, wire: Wire) -> None:
        self.masks.append(mask)

    def let_go(self, wire: Wire) -> None:
        self.closing.append(wire)

    def forget(self, wire: Wire) -> None:
        self.gone.append(wire)


class World:
    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.far = far
        self.poller = Poller()
        self.owner = Owner()
        wires: Any = self.poller  # of which the machine wants nothing
        driver = Driver(self.owner, wires)
        self.wire = Wire(self.poller, CONN, driver, Connected(CONN))
        self.wire.use(near)
        self.wire.announce()
        self.owner.heard.clear()

    def received(self) -> bytes:
        try:
            return self.far.recv(1 << 20, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""

    def reset(self) -> None:
        """The peer ends with RST."""
        linger = struct.pack("ii", 1, 0)
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.far.close()


@pytest.fixture
def world() -> Iterator[World]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        far = socket.create_connection(listening.getsockname())
        near, _ = listening.accept()
    with far, near:
        yield World(near, far)


def fill(world: World) -> None:
    """Write until the socket takes no more, with much waiting."""
    while not world.wire._out:
        world.wire.write(bytes(HIGH_WATER))
    world.wire.write(bytes(HIGH_WATER))


def test_what_is_said_in_one_turn_leaves_in_one_piece(world: World) -> None:
    world.wire.write(b"head ")
    world.wire.write(b"content")
    assert world.received() == b""
    assert world.poller.current.due == [world.wire]
    world.wire.flush()
    assert world.received() == b"head content"
    assert world.poller.masks == [READ]  # never waited for room


def test_much_does_not_wait(world: World) -> None:
    world.wire.write(b"x")
    world.wire.write(bytes(MOST))
    assert len(world.received()) == MOST + 1


def test_outside_of_a_turn_nothing_waits(world: World) -> None:
    world.poller.current.on = False
    world.wire.write(b"now")
    assert world.received() == b"now"


def test_order_holds_whatever_the_size(world: World) -> None:
    world.wire.write(b"a")
    world.wire.write(b"b" * (MOST + 1))
    world.wire.write(b"c")
    world.wire.flush()
    assert world.received() == b"a" + b"b" * (MOST + 1) + b"c"


def test_a_writer_is_told_of_the_marks_once(world: World) -> None:
    fill(world)
    world.wire.write(b"x")
    assert world.owner.heard == [WriteBlocked(CONN)]
    assert world.poller.masks[-1] == READ | WRITE
    while world.wire._out:
        world.received()
        world.wire.ready(WRITE)
        if world.wire._queued > LOW_WATER:
            assert WriteUnblocked(CONN) not in world.owner.heard
    assert world.owner.heard == [WriteBlocked(CONN), WriteUnblocked(CONN)]
    assert world.poller.masks[-1] == READ


def test_reads_grow_while_they_are_full(world: World) -> None:
    world.far.setblocking(False)
    world.far.send(bytes(SMALL))
    world.wire.ready(READ)
    assert world.wire._size == LARGE
    world.far.send(b"x")
    world.wire.ready(READ)
    assert world.wire._size == SMALL
    heard = [len(it.data) for it in world.owner.heard if isinstance(it, Data)]
    assert heard == [SMALL, 1]


def test_nothing_to_read_is_no_news(world: World) -> None:
    world.wire.ready(READ)
    assert world.owner.heard == []


def test_the_peers_end_is_told_once_and_writing_goes_on(world: World) -> None:
    world.far.shutdown(socket.SHUT_WR)
    world.wire.ready(READ)
    world.wire.ready(READ)
    assert world.owner.heard == [Eof(CONN)]
    assert world.poller.masks[-1] == 0
    world.wire.write(b"late")
    world.wire.flush()
    assert world.received() == b"late"


def test_our_end_comes_behind_what_waits(world: World) -> None:
    world.wire.write(b"last")
    world.wire.write_eof()
    assert world.far.recv(100) == b"last"
    assert world.far.recv(100) == b""
    world.wire.write(b"not heard")
    world.wire.flush()
    assert world.poller.gone == []


def test_closing_writes_what_waits_for_the_turn(world: World) -> None:
    world.wire.write(b"bye")
    world.wire.shut(5.0)
    assert world.far.recv(100) == b"bye"
    assert world.far.recv(100) == b""
    assert world.poller.gone == [world.wire]
    assert world.poller.closing == []


def test_closing_waits_for_a_slow_peer(world: World) -> None:
    fill(world)
    world.wire.shut(5.0)
    assert world.poller.closing == [world.wire]
    assert world.wire.cut_at == 15.0
    while world.wire.sock is not None:
        world.received()
        world.wire.ready(WRITE)
    assert world.poller.gone == [world.wire]


def test_what_came_before_a_reset_is_heard_though_writing_fails(world: World) -> None:
    world.far.send(b"early answer")
    world.reset()
    while not world.wire._failure:
        world.wire.write(bytes(MOST + 1))
    world.wire.write(b"nobody hears it")
    world.wire.ready(READ)
    assert world.owner.heard == [Data(CONN, b"early answer")]
    world.wire.ready(READ)
    # Not `Eof`, which could make what was cut look complete.
    assert isinstance(world.owner.heard[-1], Lost)
    assert world.poller.gone == [world.wire]


def test_who_does_not_read_is_told_of_a_failure_at_once(world: World) -> None:
    world.wire.set_reading(False)
    world.reset()
    while world.wire.sock is not None:
        world.wire.write(bytes(MOST + 1))
    assert isinstance(world.owner.heard[-1], Lost)


def test_who_stops_to_read_after_a_failure_is_told(world: World) -> None:
    world.reset()
    while not world.wire._failure:
        world.wire.write(bytes(MOST + 1))
    world.wire.set_reading(False)
    assert isinstance(world.owner.heard[-1], Lost)


def test_an_idle_connection_is_asked_for_life(world: World) -> None:
    assert not world.wire.is_dead()
    world.far.close()
    assert world.wire.is_dead()


def test_aborting_tells_nobody(world: World) -> None:
    world.wire.write(b"said")
    world.wire.abort()
    world.wire.flush()
    assert world.far.recv(100) == b"said"
    with pytest.raises(ConnectionResetError):
        world.far.recv(100)
    assert world.owner.heard == []
    assert world.wire.cut_at == math.inf


def test_aborting_waits_for_nobody_who_is_gone(world: World) -> None:
    reset_at_close(world.far)
    world.far.close()
    world.wire.set_reading(False)
    world.wire.write(b"in vain")
    world.wire.abort()
    assert world.wire.sock is None
    assert world.owner.heard == []


def test_large_reads_follow_each_other_while_they_are_welcome(world: World) -> None:
    total = SMALL + 3 * LARGE
    world.far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * total)
    world.wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * total)
    world.far.settimeout(20.0)
    world.far.sendall(bytes(SMALL))
    world.wire.ready(READ)
    for _ in range(3):
        world.far.sendall(bytes(LARGE))
    world.owner.heard.clear()
    world.wire.ready(READ)
    assert len(world.owner.heard) > 1
    world.wire.set_reading(False)
    world.owner.heard.clear()
    world.far.sendall(b"late")
    world.wire.ready(READ)
    assert world.owner.heard == []
