"""A network and a clock that exist only as data.

`Sim` is a runtime without an operating system: it drives a `Gateway`, carries
effects out on virtual connections, and moves time only when told, from deadline
to deadline. Minutes pass in milliseconds, and the same script gives the same
effects, byte for byte.

    sim = Sim(config)
    backend = sim.backend("10.0.0.1:80", answering(b"HTTP/1.1 200 OK\\r\\n..."))
    client = sim.client()
    client.send(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
    assert client.received.startswith(b"HTTP/1.1 200")

It checks what every runtime may rely on: nothing is sent on a connection that was
half-closed or closed, no effect names an unknown connection, a deadline moves on
after `Wake`, and nothing is read while reading is off (`slack` reads may still
slip through, as they do in real loops).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from lbproto.config import Config, Listen
from lbproto.machine.effects import (
    Access,
    AccessRecord,
    Adopt,
    Await,
    Cancel,
    Close,
    Connect,
    Effect,
    HalfClose,
    Log,
    Park,
    Relay,
    Send,
    SetReading,
    StartTls,
)
from lbproto.machine.env import Machine
from lbproto.machine.events import (
    Connected,
    ConnectError,
    ConnectFailed,
    Data,
    Drain,
    Event,
    Lost,
    Opened,
    PeerInfo,
    Relayed,
    Secured,
    TlsInfo,
    Wake,
)
from lbproto.machine.values import ConnId
from lbproto.phases.http import ProxyHttp
from lbproto.proxy.gateway import Gateway
from lbproto.testing.awaited import Awaited
from lbproto.testing.endpoint import Endpoint, SimBackend
from lbproto.testing.fixed_env import FixedEnv

__all__ = ["Endpoint", "FixedEnv", "Sim", "SimBackend"]


class Sim:
    """A gateway, virtual connections and a virtual clock."""

    def __init__(
        self,
        config: Config,
        *,
        slack: int = 0,
        seed: int = 1,
        applications: Mapping[str, ProxyHttp[Any]] | None = None,
        relays: bool = False,
    ) -> None:
        """`relays`: pass bytes on where a machine allows it, and report them."""
        self.now = 0.0
        self._relays = relays
        self._sinks: dict[ConnId, ConnId] = {}  # of those who are relayed
        self._relayed: dict[ConnId, Relayed] = {}  # what is to be reported
        self._awaited = Awaited()
        self.slack = slack
        """Reads that slip through after reading was turned off."""
        self.gateway = Gateway(config, FixedEnv(seed), applications)
        self.log: list[tuple[float, Effect]] = []
        """Every effect, and when."""
        self.access: list[AccessRecord] = []
        self.machines: list[Machine] = [self.gateway.housekeeping]
        self.ends: dict[ConnId, Endpoint] = {}
        self._owners: dict[ConnId, Machine] = {}
        self._backends: dict[str, SimBackend] = {}
        self._queue: deque[tuple[ConnId, Event]] = deque()
        self._running = False
        self._finished: list[ConnId] = []  # half-closed by the load balancer

    # -- the world -----------------------------------------------------------

    def backend(
        self, address: str, answer: Callable[[Endpoint, bytes], None] | None = None
    ) -> SimBackend:
        """Put a server at an address; without one a dial is refused."""
        backend = self._backends[address] = SimBackend(answer)
        return backend

    def client(
        self,
        service: str = "",
        peer: PeerInfo | None = None,
        listen: Listen | None = None,
        tls: TlsInfo | None = None,
    ) -> Endpoint:
        """Connect to a service, the first one by default.

        `listen` is where it arrives; `tls` is how its handshake ends.

        Raises:
            ConnectionRefusedError: the service has no room.
        """
        name = service or next(iter(self.gateway.sites))
        site = self.gateway.sites[name]
        if not site.has_room:
            raise ConnectionRefusedError("the connection waits in the kernel's queue")
        site.opened()
        conn = self.gateway.mint()
        machine = self.gateway.connection(name, conn, listen)
        self.machines.append(machine)
        end = self.ends[conn] = Endpoint(self, conn)
        end.tls = tls
        self._owners[conn] = machine
        peer = peer or PeerInfo("127.0.0.1", 40000, "127.0.0.1:6188")
        self.tell(Opened(conn, peer))
        self.run()
        return end

    def drain(self, grace: float = 0.0, timeout: float = 300.0) -> None:
        """Ask every machine for a graceful stop."""
        for machine in list(self.machines):
            self._feed(machine, Drain(grace, timeout))
        self.run()

    # -- time ----------------------------------------------------------------

    @property
    def deadline(self) -> float:
        """The earliest deadline of all machines."""
        machines = min(machine.deadline for machine in self.machines)
        return min(machines, self._awaited.deadline)

    def advance(self, seconds: float) -> None:
        """Let time pass, stopping at every deadline on the way."""
        until = self.now + seconds
        while self.deadline <= until:
            self.now = max(self.now, self.deadline)
            for machine in list(self.machines):
                if machine.deadline <= self.now:
                    self._feed(machine, Wake())
                    assert machine.deadline > self.now, "a deadline must move on"
            self.run()
        self.now = until

    # -- the driver ----------------------------------------------------------

    def tell(self, event: Event) -> None:
        """Queue an event of a connection."""
        conn = getattr(event, "conn", None)
        assert conn is not None, "only events of connections are queued"
        self._queue.append((conn, event))

    def run(self) -> None:
        """Deliver events until nothing moves."""
        if self._running:
            return
        self._running = True
        try:
            while self._queue or self._settle() or self._poll():
                if not self._queue:
                    continue
                conn, event = self._queue.popleft()
                owner = self._owners.get(conn)
                if isinstance(event, Data) and conn in self._sinks:
                    self._relay(event)
                elif owner is not None:
                    self._feed(owner, event)
                    if isinstance(event, Lost | ConnectFailed):
                        self._forget(conn)
        finally:
            self._running = False

    def _settle(self) -> bool:
        """Let one coroutine that is done answer."""
        found = self._awaited.ripe(self.now)
        if found is not None:
            machine, settled = found
            self._feed(machine, settled)
        return found is not None

    def _feed(self, machine: Machine, event: Event) -> None:
        """Tell a machine something, but first what was relayed until now."""
        for conn in [*self._relayed]:
            if self._owners.get(conn) is machine:
                relayed = self._relayed.pop(conn)
                self._perform(machine, machine.handle(relayed, self.now))
        self._perform(machine, machine.handle(event, self.now))

    def _relay(self, data: Data) -> None:
        before = self._relayed.get(data.conn)
        octets = len(data.data) + (0 if before is None else before.octets)
        self._relayed[data.conn] = Relayed(data.conn, octets, self.now)
        sink = self.ends[self._sinks[data.conn]]
        if not sink.gone:
            sink.arrive(data.data)

    def _poll(self) -> bool:
        """Take one thing that is on its way from a peer and may be read."""
        for conn, end in self.ends.items():
            if conn in self._owners and end.inbox:
                first = end.inbox[0]
                if not end.listened and not isinstance(first, Lost):
                    if end.slack == 0:
                        continue
                    end.slack -= 1
                self._queue.append((conn, end.inbox.popleft()))
                return True
        return False

    def _forget(self, conn: ConnId) -> None:
        self._owners.pop(conn, None)
        self._sinks.pop(conn, None)
        self.ends[conn].closed = True
        self.ends[conn].inbox.clear()

    def _perform(self, machine: Machine, effects: list[Effect]) -> None:
        for effect in effects:
            self.log.append((self.now, effect))
            match effect:
                case Access(record):
                    self.access.append(record)
                case Log():
                    pass
                case Await():
                    self._awaited.begin(machine, effect, self.now)
                case Cancel(_, ticket):
                    self._awaited.cancel(machine, ticket)
                case Connect(conn, target, preface):
                    self._connect(machine, conn, str(target))
                    self.ends[conn].preface = preface
                case _:
                    self._on_connection(machine, effect)

    def _connect(self, machine: Machine, conn: ConnId, address: str) -> None:
        end = self.ends[conn] = Endpoint(self, conn)
        self._owners[conn] = machine
        backend = self._backends.get(address)
        if backend is None:
            failed = ConnectFailed(conn, ConnectError.REFUSED, "connection refused")
            self.tell(failed)
        elif backend.mode is ConnectError.TIMEOUT:
            backend.connections.append(end)
        elif backend.mode is not None:
            self.tell(ConnectFailed(conn, backend.mode, backend.mode.value))
        else:
            end.on_data = backend.answer
            backend.connections.append(end)
            self.tell(Connected(conn, backend.tls))

    def _on_connection(
        self,
        machine: Machine,
        effect: StartTls | Adopt | Park | Send | Relay | HalfClose | Close | SetReading,
    ) -> None:
        conn = effect.conn
        assert conn in self.ends, f"{effect!r} names an unknown connection"
        end = self.ends[conn]
        assert conn in self._owners, f"{effect!r} names a closed connection"
        match effect:
            case Send(_, data):
                assert data, "an empty Send"
                assert conn not in self._finished, f"{effect!r} after HalfClose"
                if not end.gone:
                    end.arrive(data)
            case Relay(_, sink):
                assert sink in self._owners, f"{effect!r} leads to a closed connection"
                if self._relays:
                    self._sinks[conn] = sink
            case StartTls():
                if end.tls is not None:
                    self.tell(Secured(conn, end.tls))
            case SetReading(_, on):
                end.listened = on
                end.slack = self.slack
            case HalfClose():
                assert conn not in self._finished, "a second HalfClose"
                self._finished.append(conn)
                end.eof = True
            case Close(_, abort):
                end.eof = True
                end.reset = abort
                self._forget(conn)
            case Park():
                self._owners[conn] = self.gateway.housekeeping
            case _:
                if end.gone or end.inbox:
                    self._forget(conn)
                    self._owners[conn] = machine
                    stale = ConnectFailed(conn, ConnectError.STALE, "closed while idle")
                    self.tell(stale)
                else:
                    self._owners[conn] = machine
