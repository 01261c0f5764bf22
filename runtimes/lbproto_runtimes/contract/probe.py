"""Machines that write down what happens to them, and the gateway that makes them.

A runtime under test believes that it drives a load balancer. Each connection gets a
`Probe` instead: it keeps every event, answers with what the check's `react` says,
and notes what no runtime may do: feed it while it is busy, turn back time, wake it
early. Events come in the runtime's threads while a check waits in its own, so all
that is kept is kept under one lock.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

from lbproto.config import Config, Listen, Service
from lbproto.machine.effects import Effect, Level, Target
from lbproto.machine.events import Event, Opened, PeerInfo, Wake
from lbproto.machine.values import ConnId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lbproto.machine.effects import AccessRecord, Log

__all__ = ["NAME", "PATIENCE", "Probe", "React", "Room", "World", "nothing", "on"]

PATIENCE: Final = 20.0
"""Seconds after which what is waited for will not happen; no check waits for it."""

TOLD: Final = 16
"""How much of anything is told when a check fails."""

NAME: Final = "web"
"""The one service."""

E = TypeVar("E")

React = Callable[["Probe", Event], list[Effect]]
"""What a machine answers; runs in the runtime's thread."""


def nothing(probe: Probe, event: Event) -> list[Effect]:
    """Answer nothing, ever."""
    return []


def on(kind: type[Event], *effects: Callable[[ConnId], Effect]) -> React:
    """Answer each event of one kind with effects on the client's connection."""

    def react(probe: Probe, event: Event) -> list[Effect]:
        if isinstance(event, kind) and not probe.keeps_house:
            return [effect(probe.conn) for effect in effects]
        return []

    return react


class Probe:
    """A machine that records."""

    def __init__(self, world: World, conn: ConnId) -> None:
        self.world = world
        self.conn = conn
        """The client's connection; 0 for housekeeping."""
        self.deadline = math.inf
        self.history: list[Event | Effect] = []
        """Each event, and behind it the effects that it was answered with."""
        self.times: list[float] = []
        """The `now` of each event."""
        self.threads: dict[object, None] = {}
        """Those that have fed it, as tokens."""
        self.broken: list[str] = []
        """What happened that may not happen."""
        self.idle = True
        """Whether the client could be given up; a check may say no."""
        self.peer = PeerInfo("", 0, "")
        self._busy = False

    def __repr__(self) -> str:
        who = "housekeeping" if self.keeps_house else f"client {self.conn}"
        return f"<probe of {who}>"

    @property
    def keeps_house(self) -> bool:
        """Whether this one is `Housekeeping`'s stand-in."""
        return self.conn == 0

    @property
    def now(self) -> float:
        """The time of the event that is dealt with, in the runtime's seconds."""
        return self.times[-1]

    def handle(self, event: Event, now: float, /) -> list[Effect]:
        """Do as a machine does; called by the runtime."""
        with self.world.changed:
            if self._busy:
                self.broken.append(f"fed with {event!r:.200} while busy")
            if isinstance(event, Wake) and now < self.deadline:
                self.broken.append(f"woken {self.deadline - now:.6f} s early")
            if self.times and now < self.times[-1]:
                self.broken.append(f"time ran back by {self.times[-1] - now:.6f} s")
            self._busy = True
            self.threads[self.world.here()] = None
            self.times.append(now)
            self.history.append(event)
            if isinstance(event, Opened):
                self.peer = event.peer
            self.world.timeline.append(type(event).__name__)
        effects = self.world.react(self, event)
        with self.world.changed:
            self.history += effects
            self._busy = False
            self.world.changed.notify_all()
        return effects

    def all(self, kind: type[E]) -> list[E]:
        """Return its events, or effects, of one kind."""
        return [one for one in self.history if isinstance(one, kind)]

    def names(self) -> list[str]:
        """Return what its events are called, in order."""
        events = (one for one in self.history if isinstance(one, Event))
        return [type(event).__name__ for event in events]

    def wait_for(self, kind: type[E], count: int = 1) -> E:
        """Wait until it has seen so many events of a kind; return the last of them."""
        self.world.wait(lambda: len(self.all(kind)) >= count)
        return self.all(kind)[count - 1]


class Room:
    """A service with room for everybody: the site that a runtime asks."""

    application = None
    has_room = True

    def __init__(self, service: Service) -> None:
        self.service = service
        self.clients = 0
        self._lock = threading.Lock()

    def opened(self) -> None:
        """Count a client in."""
        with self._lock:
            self.clients += 1

    def closed(self) -> None:
        """Count a client out."""
        with self._lock:
            self.clients -= 1


class World:
    """A gateway of probes, and the log of everything that happens."""

    level = Level.DEBUG

    def __init__(self) -> None:
        self.react: React = nothing
        self.probes: list[Probe] = []
        self.timeline: list[str] = []
        """Names of events and messages of `Log` effects, of all machines."""
        self.errors: list[str] = []
        """What the runtime logged as an error."""
        self.changed = threading.Condition(threading.RLock())
        self.housekeeping = Probe(self, ConnId(0))
        service = Service(
            name=NAME, upstream="", listen=(Listen(target=Target("127.0.0.1", 0)),)
        )
        self.config = Config(services=(service,), upstreams={})
        self.sites: Mapping[str, Room] = MappingProxyType({NAME: Room(service)})
        self._minted = 0
        self._local = threading.local()

    def here(self) -> object:
        """Return what stands for the thread that asks; numbers are used again."""
        token: object = getattr(self._local, "token", None)
        if token is None:
            token = self._local.token = object()
        return token

    # -- what a runtime takes for a gateway ----------------------------------

    def mint(self) -> ConnId:
        """Make a new id."""
        with self.changed:
            self._minted += 1
            return ConnId(self._minted)

    def connection(self, service: str, conn: ConnId, listen: Listen) -> Probe:
        """Make the machine of a client's connection."""
        probe = Probe(self, conn)
        with self.changed:
            self.probes.append(probe)
        return probe

    # -- what it takes for logs ----------------------------------------------

    def log(self, level: Level, message: str, fields: Mapping[str, object]) -> None:
        """Keep errors; a crash of a machine is one."""
        if level >= Level.ERROR:
            with self.changed:
                self.errors.append(f"{message} {dict(fields)}")
                self.changed.notify_all()

    def perform(self, effect: Log) -> None:
        """Carry out a machine's `Log`."""
        with self.changed:
            self.timeline.append(effect.message)
            self.changed.notify_all()

    def access(self, record: AccessRecord) -> None:
        """Take the record of an exchange, of which probes have none."""
        self.log(Level.ERROR, "an exchange that never was", {"record": record})

    # -- what a check asks for -----------------------------------------------

    def wait(self, true: Callable[[], object]) -> None:
        """Wait until something holds, which only events and log lines can change.

        Raises:
            AssertionError: it never did.
        """
        with self.changed:
            assert self.changed.wait_for(true, PATIENCE), "waited in vain"

    def probe_of(self, port: int) -> Probe:
        """Wait for the machine of the client with this port, and return it."""

        def found() -> list[Probe]:
            return [
                probe
                for probe in self.probes
                if any(event.peer.port == port for event in probe.all(Opened))
            ]

        self.wait(found)
        return found()[0]

    def take_error(self) -> str:
        """Wait for an error in the log, which is what the check wants."""
        self.wait(lambda: self.errors)
        with self.changed:
            return self.errors.pop(0)

    def story(self) -> str:
        """Tell what happened, for a failure's message."""
        with self.changed:
            lines = [
                f"{probe!r}: " + "; ".join(_told(probe.history))
                for probe in [self.housekeeping, *self.probes[:TOLD]]
                if probe.history
            ]
            return "\n".join([*lines, *(f"logged: {error}" for error in self.errors)])


def _told(history: list[Event | Effect]) -> list[str]:
    """Tell a history in short: of what is long, the beginning and the end."""
    told = []
    for one in history:
        data: bytes = getattr(one, "data", b"")
        if len(data) > TOLD:
            of = f"conn={getattr(one, 'conn', None)}, {len(data)} bytes"
            told.append(f"{type(one).__name__}({of})")
        else:
            told.append(repr(one))
    if len(told) > 3 * TOLD:
        told[TOLD:-TOLD] = [f"... {len(told) - 2 * TOLD} more ..."]
    return told
