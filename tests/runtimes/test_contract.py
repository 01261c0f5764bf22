"""What a runtime owes a machine, checked with machines that record it.

Each connection gets a `Probe`: it writes down every event and answers with what
the test's `react` says. The server, its sockets and its clock are the real ones.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from lbproto.config import Config, Listen, Service
from lbproto.machine.effects import (
    AccessRecord,
    Adopt,
    Close,
    Connect,
    Effect,
    HalfClose,
    Level,
    Log,
    Park,
    Send,
    SetReading,
    Target,
)
from lbproto.machine.events import (
    Connected,
    ConnectError,
    ConnectFailed,
    Data,
    Eof,
    Event,
    Lost,
    Opened,
    Wake,
    WriteBlocked,
    WriteUnblocked,
)
from lbproto.machine.values import ConnId
from lbproto.proxy.gateway import Gateway
from lbproto_runtimes.listen import bind
from lbproto_runtimes.logs import Logs
from tests.runtimes.embedded import Embedded
from tests.runtimes.fixtures import OriginFactory
from tests.runtimes.wire import PATIENCE, Wire, dial

MIB = 1024 * 1024
MUCH = bytes(8 * MIB)

React = Callable[["Probe", Event], list[Effect]]


class Probe:
    """A machine that records."""

    def __init__(self, world: World, conn: ConnId) -> None:
        self.world = world
        self.conn = conn
        self.deadline = math.inf
        self.events: list[Event] = []
        self.times: list[float] = []
        self._busy = False

    def handle(self, event: Event, now: float, /) -> list[Effect]:
        assert not self._busy, "re-entered"
        self._busy = True
        self.events.append(event)
        self.times.append(now)
        self.world.note(self, event)
        effects = self.world.react(self, event)
        self._busy = False
        return effects

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


class World:
    """A gateway of probes, and the log of everything that happens."""

    def __init__(self, react: React) -> None:
        self.react = react
        self.last = 0
        self.probes: list[Probe] = []
        self.timeline: list[object] = []
        self.threads: set[int] = set()
        self.errors: list[str] = []
        self._changed = threading.Condition()
        self.housekeeping = Probe(self, ConnId(0))
        listen = Listen(target=Target("127.0.0.1", 0))
        service = Service(name="web", upstream="", listen=(listen,))
        self.config = Config(services=(service,), upstreams={})
        self.sites = {"web": FreeSite(service)}

    def mint(self) -> ConnId:
        self.last += 1
        return ConnId(self.last)

    def connection(self, service: str, conn: ConnId) -> Probe:
        self.probes.append(Probe(self, conn))
        return self.probes[-1]

    def note(self, probe: Probe, event: Event) -> None:
        with self._changed:
            self.threads.add(threading.get_ident())
            self.timeline.append(type(event).__name__)
            self._changed.notify_all()

    def wait(self, true: Callable[[], object]) -> None:
        with self._changed:
            assert self._changed.wait_for(true, PATIENCE), self.timeline

    def wait_for(self, kind: type[Event], at: int = 0, count: int = 1) -> Probe:
        """Wait until the n-th probe has had an event of a kind so many times."""
        self.wait(
            lambda: len(self.probes) > at and len(self.probes[at].of(kind)) >= count
        )
        return self.probes[at]

    # -- Logs ----------------------------------------------------------------

    def log(self, level: Level, message: str, fields: object) -> None:
        if level >= Level.ERROR:
            with self._changed:
                self.errors.append(f"{message} {fields}")
                self._changed.notify_all()

    def perform(self, effect: Log) -> None:
        self.timeline.append(effect.message)

    def access(self, record: AccessRecord) -> None:
        raise AssertionError("no probe has an exchange")


class FreeSite:
    """A service with room for everybody."""

    has_room = True

    def __init__(self, service: Service) -> None:
        self.service = service
        self.clients = 0

    def opened(self) -> None:
        self.clients += 1

    def closed(self) -> None:
        self.clients -= 1


Serve = Callable[[React], tuple[World, str]]


@pytest.fixture
def serve(runtime: str) -> Iterator[Serve]:
    started: list[tuple[World, Embedded]] = []

    def launch(react: React) -> tuple[World, str]:
        world = World(react)
        gateway, logs = cast("Gateway", world), cast("Logs", world)
        one = Embedded(runtime, gateway, bind(world.config), logs)
        started.append((world, one))
        return world, one.address

    yield launch
    for world, one in started:
        one.stop()
        assert len(world.threads) <= 1, "a machine has one owner"
        assert world.sites["web"].clients == 0
        for probe in world.probes:
            assert probe.times == sorted(probe.times)


def nothing(probe: Probe, event: Event) -> list[Effect]:
    return []


def on(kind: type[Event], *effects: Callable[[ConnId], Effect]) -> React:
    """Answer events of one kind."""

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, kind) and probe.conn:
            return [effect(probe.conn) for effect in effects]
        return []

    return react


def test_opened_comes_before_any_data(serve: Serve) -> None:
    world, address = serve(nothing)
    for at in range(50):
        with dial(address) as client:
            client.send(b"at once")
            client.end()
            world.wait_for(Eof, at)
        world.wait_for(Eof, at)
    for probe in world.probes:
        assert probe.names()[:3] == ["Opened", "Data", "Eof"]
        assert probe.of(Opened)[0].peer.address == "127.0.0.1"
        assert probe.of(Opened)[0].peer.local == address


def test_connected_comes_before_any_data(serve: Serve, origin: OriginFactory) -> None:
    def script(wire: Wire) -> None:
        wire.send(b"SSH-2.0-I speak first\r\n")
        wire.rest()

    host, _, port = origin(script).address.rpartition(":")

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Opened):
            return [Connect(world.mint(), Target(host, int(port)))]
        return []

    world, address = serve(react)
    for at in range(30):
        with dial(address):
            probe = world.wait_for(Data, at)
        assert probe.names()[:3] == ["Opened", "Connected", "Data"]


def test_effects_are_performed_in_order_before_the_next_event(serve: Serve) -> None:
    # So much that the transport says "blocked" from inside the first write.
    react = on(
        Data,
        lambda conn: Send(conn, MUCH),
        lambda conn: Log(Level.INFO, "first", {}),
        lambda conn: Send(conn, b"tail"),
        lambda conn: Log(Level.INFO, "second", {}),
    )
    world, address = serve(react)
    with dial(address) as client:
        client.send(b"go")
        world.wait_for(WriteBlocked)
        assert world.timeline[:5] == [
            *("Opened", "Data"),
            *("first", "second"),
            "WriteBlocked",
        ]
        assert client.exactly(len(MUCH)) == MUCH
        assert client.exactly(4) == b"tail"
        world.wait_for(WriteUnblocked)


def test_blocked_and_unblocked_alternate(serve: Serve) -> None:
    world, address = serve(on(Data, lambda conn: Send(conn, MUCH)))
    with dial(address) as client:
        for turn in range(1, 5):
            client.send(b"go")
            world.wait_for(WriteBlocked, count=turn)
            assert client.exactly(len(MUCH)) == MUCH
            world.wait_for(WriteUnblocked, count=turn)
        probe = world.probes[0]
    seen = [name for name in probe.names() if name.startswith("Write")]
    assert seen[:8] == ["WriteBlocked", "WriteUnblocked"] * 4


def test_after_a_pause_at_most_one_read_follows(serve: Serve) -> None:
    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Data) and not probe.of(Wake):
            if len(probe.of(Data)) > 1:
                return []
            probe.deadline = probe.times[-1] + 0.3
            return [SetReading(probe.conn, False)]
        if isinstance(event, Wake):
            probe.deadline = math.inf
            return [SetReading(probe.conn, True)]
        return []

    world, address = serve(react)
    with dial(address) as client:
        client.send(MUCH)
        client.end()
        probe = world.wait_for(Eof)
    names = probe.names()
    assert names[: names.index("Wake")].count("Data") <= 2
    assert sum(len(event.data) for event in probe.of(Data)) == len(MUCH)


def test_a_paused_connection_may_be_resumed_from_the_start(serve: Serve) -> None:
    react = on(Opened, lambda c: SetReading(c, False), lambda c: SetReading(c, True))
    world, address = serve(react)
    with dial(address) as client:
        client.send(b"hello")
        assert world.wait_for(Data).of(Data)[0].data == b"hello"


def test_data_is_never_empty_and_never_large(serve: Serve) -> None:
    world, address = serve(nothing)
    pattern = bytes(range(251)) * (16 * MIB // 251)
    with dial(address) as client:
        client.send(pattern)
        client.end()
        probe = world.wait_for(Eof)
    pieces = [event.data for event in probe.of(Data)]
    assert all(0 < len(piece) <= 256 * 1024 for piece in pieces)
    assert all(type(piece) is bytes for piece in pieces)
    assert b"".join(pieces) == pattern


def test_the_end_is_told_once_and_the_loss_last(serve: Serve) -> None:
    def react(probe: Probe, event: Event) -> list[Effect]:
        # Who has ended is not listened to any more: only a write finds the reset.
        writing = isinstance(event, Eof | Wake)
        probe.deadline = probe.times[-1] + 0.02 if writing else math.inf
        return [Send(probe.conn, b"x")] if writing else []

    world, address = serve(react)
    client = dial(address)
    client.send(b"x")
    client.end()
    assert client.exactly(1) == b"x"
    client.reset()
    probe = world.wait_for(Lost)
    names = [name for name in probe.names() if name != "Wake"]
    assert names == ["Opened", "Data", "Eof", "Lost"]


def test_a_reset_is_a_loss_without_an_end(serve: Serve) -> None:
    world, address = serve(nothing)
    client = dial(address)
    client.send(b"x")
    world.wait_for(Data)
    client.reset()
    assert world.wait_for(Lost).names() == ["Opened", "Data", "Lost"]


def test_half_close_sends_the_end_behind_what_is_queued(serve: Serve) -> None:
    react = on(Opened, lambda conn: Send(conn, MUCH), HalfClose)
    world, address = serve(react)
    with dial(address) as client:
        assert client.rest() == MUCH
        client.send(b"still heard")
        assert world.wait_for(Data).of(Data)[0].data == b"still heard"


def test_close_flushes_and_nothing_follows(serve: Serve) -> None:
    world, address = serve(on(Data, lambda conn: Send(conn, MUCH), Close))
    with dial(address) as client:
        client.send(b"go")
        assert client.rest() == MUCH
    with dial(address) as other:  # the loop has turned since
        other.end()
        world.wait_for(Eof, 1)
    assert [n for n in world.probes[0].names() if n != "WriteBlocked"] == [
        "Opened",
        "Data",
    ]


def test_close_gives_up_on_a_peer_that_does_not_read(serve: Serve) -> None:
    close = on(Data, lambda c: Send(c, MUCH * 2), lambda c: Close(c, patience=0.2))
    _, address = serve(close)
    with dial(address) as client:
        client.send(b"go")
        client.wait_broken()
        assert client.was_reset()
        assert len(client.received) < 2 * len(MUCH)


def test_abort_drops_what_is_queued(serve: Serve) -> None:
    react = on(Data, lambda c: Send(c, MUCH * 2), lambda c: Close(c, abort=True))
    world, address = serve(react)
    with dial(address) as client:
        client.send(b"go")
        assert client.was_reset()
        assert len(client.received) < 2 * len(MUCH)
    assert "Lost" not in world.probes[0].names()


def test_wake_does_not_come_before_the_deadline(serve: Serve) -> None:
    set_at: list[float] = []

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Wake):
            assert probe.times[-1] >= set_at[-1]
        if len(set_at) < 10:
            set_at.append(probe.times[-1] + 0.02)
            probe.deadline = set_at[-1]
        else:
            probe.deadline = math.inf
        return []

    world, address = serve(react)
    with dial(address):
        probe = world.wait_for(Wake, count=10)
    assert not world.errors
    assert len(probe.of(Wake)) == 10


def test_a_deadline_that_moves_away_is_not_kept(serve: Serve) -> None:
    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Opened):
            probe.deadline = probe.times[-1] + 0.1
        elif isinstance(event, Data):
            probe.deadline = math.inf
        return []

    world, address = serve(react)
    with dial(address) as client, dial(address):
        client.send(b"later")
        world.wait_for(Wake, 1)  # the other one's, armed after the first
        assert not world.probes[0].of(Wake)
        world.probes[1].deadline = math.inf


@pytest.mark.parametrize("answering", [True, False])
def test_each_connect_is_answered_once(
    serve: Serve, origin: OriginFactory, answering: bool
) -> None:
    backend = origin(lambda wire: wire.rest() and None)
    host, _, port = backend.address.rpartition(":")
    target = Target(host, int(port))
    if not answering:
        backend.close()

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Data):
            return [Connect(world.mint(), target)]
        return []

    world, address = serve(react)
    with dial(address) as client:
        for turn in range(1, 6):
            client.send(b"dial")
            kind = Connected if answering else ConnectFailed
            probe = world.wait_for(kind, count=turn)
        answers = probe.of(Connected) + probe.of(ConnectFailed)
        assert len({event.conn for event in answers}) == len(answers) == 5
        for failed in probe.of(ConnectFailed):
            assert failed.why is ConnectError.REFUSED


def test_a_connect_that_is_closed_first_is_not_answered(
    serve: Serve, origin: OriginFactory
) -> None:
    host, _, port = origin(lambda wire: wire.rest() and None).address.rpartition(":")
    target = Target(host, int(port))

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Data):
            conn = world.mint()
            dialled: list[Effect] = [Connect(conn, target)]
            return dialled if event.data == b"keep" else [*dialled, Close(conn)]
        return []

    world, address = serve(react)
    with dial(address) as client:
        client.send(b"drop")
        world.wait_for(Data)
        client.send(b"keep")
        probe = world.wait_for(Connected)
        assert [event.conn for event in probe.of(Connected)] == [ConnId(3)]


def test_a_parked_connection_belongs_to_housekeeping(
    serve: Serve, origin: OriginFactory
) -> None:
    speak = threading.Event()

    def script(wire: Wire) -> None:
        assert speak.wait(PATIENCE)
        wire.send(b"unasked")
        wire.rest()

    host, _, port = origin(script).address.rpartition(":")

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Opened):
            return [Connect(world.mint(), Target(host, int(port)))]
        if isinstance(event, Connected):
            return [Park(event.conn)]
        if probe.conn == 0 and isinstance(event, Data):
            return [Close(event.conn)]
        return []

    world, address = serve(react)
    with dial(address):
        world.wait_for(Connected)
        speak.set()
        world.wait(lambda: world.housekeeping.of(Data))
        assert world.housekeeping.of(Data)[0].data == b"unasked"
        assert not world.probes[0].of(Data)


def test_adopting_gives_a_connection_back_unless_it_is_dead(
    serve: Serve, origin: OriginFactory
) -> None:
    def script(wire: Wire) -> None:
        wire.exactly(5)  # "hello" on the adopted connection
        wire.send(b"world")

    host, _, port = origin(script).address.rpartition(":")

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Opened):
            return [Connect(world.mint(), Target(host, int(port)))]
        if isinstance(event, Connected):
            return [
                *(Park(event.conn), Adopt(event.conn)),
                Send(event.conn, b"hello"),
            ]
        if isinstance(event, Eof):
            return [Park(event.conn), Close(event.conn), Adopt(event.conn)]
        return []

    world, address = serve(react)
    with dial(address):
        probe = world.wait_for(ConnectFailed)
    assert [event.data for event in probe.of(Data)] == [b"world"]
    assert probe.of(ConnectFailed)[0].why is ConnectError.STALE


@pytest.mark.parametrize(
    "effect",
    [
        lambda conn: Send(ConnId(999), b"x"),
        lambda conn: Close(ConnId(999)),
        lambda conn: Park(ConnId(999)),
        lambda conn: SetReading(ConnId(999), False),
    ],
)
def test_an_effect_for_an_unknown_connection_is_an_error(
    serve: Serve, effect: Callable[[ConnId], Effect]
) -> None:
    world, address = serve(on(Data, effect))
    with dial(address) as client:
        client.send(b"go")
        assert client.was_reset()
    assert len(world.errors) == 1
    assert "no such connection" in world.errors[0]


def test_an_effect_behind_a_loss_that_is_queued_is_none(serve: Serve) -> None:
    # The machine cannot know yet: its own abort of the connection comes first.
    react = on(Data, lambda c: Send(c, b"x"), lambda c: HalfClose(c), Close)
    world, address = serve(react)
    with dial(address) as client:
        client.send(b"go")
        assert client.rest() == b"x"
    assert not world.errors


def test_a_machine_that_does_not_advance_is_stopped(serve: Serve) -> None:
    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, Opened):
            probe.deadline = probe.times[-1]
        return []

    world, address = serve(react)
    with dial(address) as client:
        assert client.was_reset()
    assert "does not advance" in world.errors[0]
    assert len(world.probes[0].of(Wake)) == 1


def test_the_clock_of_events_and_deadlines_is_one(serve: Serve) -> None:
    world, address = serve(nothing)
    with dial(address) as client:
        for turn in range(1, 20):
            client.send(b"x")
            world.wait_for(Data, count=turn)
    times = world.probes[0].times
    assert all(a <= b for a, b in itertools.pairwise(times))
