"""Who accepts how many clients, and when it lets another worker go first."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lbproto import Backend, Config, Gateway, Service, Target, Upstream
from lbproto.config import Limits, Listen
from lbproto.machine.events import PeerInfo
from lbproto.testing.fixed_env import FixedEnv
from lbproto_runtimes.accept import BURST, Acceptors, quick_accept
from lbproto_runtimes.listen import Listener, bind
from lbproto_runtimes.share import CALM, MOMENT, Ledger, Share


class Clock:
    """Watches listeners and keeps what is to be done later, until a test says so."""

    def __init__(self) -> None:
        self.ready: dict[int, Callable[[], None]] = {}
        self.due: list[tuple[float, Callable[[], None]]] = []

    def watch(self, sock: socket.socket, ready: Callable[[], None]) -> None:
        self.ready[sock.fileno()] = ready

    def ignore(self, sock: socket.socket) -> None:
        del self.ready[sock.fileno()]

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.due.append((seconds, call))

    def turn(self) -> None:
        for ready in list(self.ready.values()):
            ready()

    def passes(self, seconds: float) -> None:
        """Do what was to be done after exactly so long."""
        now = [call for after, call in self.due if after == seconds]
        self.due = [pair for pair in self.due if pair[0] != seconds]
        for call in now:
            call()


class Worker:
    """One worker, beside another that a test speaks for."""

    def __init__(self, connections: int = 1000) -> None:
        ledger = Ledger(2)
        self.share = Share(ledger, ledger.take() or 0)
        self.other = Share(ledger, ledger.take() or 0)
        service = Service(
            name="web",
            upstream="web",
            listen=(Listen(target=Target("127.0.0.1", 0)),),
            limits=Limits(connections=connections),
        )
        backends = (Backend(target=Target("127.0.0.1", 1)),)
        upstream = Upstream(name="web", backends=backends)
        config = Config(services=(service,), upstreams={"web": upstream})
        (self.listener,) = bind(config)
        self.listener.share = self.share
        gateway = Gateway(config, FixedEnv())
        self.site = gateway.sites["web"]
        self.clock = Clock()
        self.accepted: list[tuple[socket.socket, PeerInfo]] = []
        self.clients: list[socket.socket] = []
        logs: Any = None
        self.acceptors = Acceptors(
            gateway, [self.listener], self._accept, logs, self.clock
        )
        self.acceptors.watch()

    def _accept(self, sock: socket.socket, listener: Listener, peer: PeerInfo) -> None:
        self.accepted.append((sock, peer))
        self.site.opened()

    def come(self, count: int) -> None:
        """Have so many clients wait."""
        address = self.listener.socket.getsockname()
        self.clients += [socket.create_connection(address) for _ in range(count)]

    def leave(self, count: int) -> None:
        """Lose so many clients."""
        for _ in range(count):
            self.accepted.pop()[0].close()
            self.site.closed()
        self.acceptors.left()

    @property
    def is_watching(self) -> bool:
        return bool(self.clock.ready)

    def close(self) -> None:
        self.acceptors.finish()
        for sock in [*self.clients, *(sock for sock, _ in self.accepted)]:
            sock.close()


@pytest.fixture
def worker() -> Iterator[Worker]:
    one = Worker()
    yield one
    one.close()


def test_several_clients_are_accepted_in_a_turn(worker: Worker) -> None:
    worker.other.publish("web", 1000)
    worker.come(BURST + 3)
    worker.clock.turn()
    assert len(worker.accepted) == BURST
    worker.clock.turn()
    assert len(worker.accepted) == BURST + 3
    ports = [client.getsockname()[1] for client in worker.clients]
    assert [peer.port for _, peer in worker.accepted] == ports
    local = f"127.0.0.1:{worker.listener.socket.getsockname()[1]}"
    assert {peer.local for _, peer in worker.accepted} == {local}


def test_an_accepted_socket_carries_bytes(worker: Worker) -> None:
    worker.come(1)
    worker.clock.turn()
    ((sock, _),) = worker.accepted
    worker.clients[0].sendall(b"question")
    assert sock.recv(100) == b"question"
    sock.send(b"answer")
    assert worker.clients[0].recv(100) == b"answer"
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_no_more_are_accepted_than_others_have_on_average(worker: Worker) -> None:
    worker.other.publish("web", 3)
    worker.come(6)
    worker.clock.turn()
    assert len(worker.accepted) == 4


def test_others_go_first_when_they_have_fewer(worker: Worker) -> None:
    worker.come(2)
    worker.clock.turn()
    worker.clock.turn()
    assert len(worker.accepted) == 1
    assert not worker.is_watching
    worker.other.publish("web", 1)  # it took the second, so to speak
    worker.clients[1].close()
    worker.listener.socket.accept()[0].close()
    worker.clock.passes(MOMENT)
    assert worker.is_watching
    worker.come(1)
    worker.clock.turn()
    assert len(worker.accepted) == 2
    worker.come(1)
    worker.clock.turn()
    assert not worker.is_watching, "they took the last one, so they get the next, too"


def test_one_that_nobody_takes_is_accepted_a_moment_later(worker: Worker) -> None:
    worker.come(2)
    worker.clock.turn()
    worker.clock.turn()
    worker.clock.passes(MOMENT)
    assert len(worker.accepted) == 2
    assert worker.is_watching


def test_who_waited_in_vain_may_lead_and_loses_that_with_time(worker: Worker) -> None:
    worker.come(20)
    for lead in (0, 1, 2, 3):
        # One more than the average of both is two more than the other.
        assert worker.is_watching
        while worker.is_watching:
            worker.clock.turn()
        assert len(worker.accepted) - len(worker.accepted) / 2 > lead
        worker.clock.passes(MOMENT)
    taken = len(worker.accepted)
    for _ in range(4):
        worker.clock.passes(CALM)
    assert [seconds for seconds, _ in worker.clock.due] == []
    worker.clock.turn()
    assert len(worker.accepted) == taken
    assert not worker.is_watching


def test_clients_that_come_and_go_are_not_held_up(worker: Worker) -> None:
    waits = 0
    for _ in range(200):
        worker.come(3)
        while len(worker.accepted) < 3:
            worker.clock.turn()
            if not worker.is_watching:
                waits += 1
                worker.clock.passes(MOMENT)
        worker.leave(3)
    assert waits <= 3


def test_a_full_service_accepts_nobody_until_there_is_room() -> None:
    worker = Worker(connections=2)
    try:
        worker.other.publish("web", 10)
        worker.come(3)
        worker.clock.turn()
        assert len(worker.accepted) == 2
        assert not worker.is_watching
        worker.leave(1)
        assert worker.is_watching
        worker.clock.turn()
        assert len(worker.accepted) == 2
    finally:
        worker.close()


def test_who_waits_when_it_ends_is_taken_whoever_goes_first(worker: Worker) -> None:
    worker.come(3)
    worker.clock.turn()
    worker.clock.turn()
    assert len(worker.accepted) == 1
    worker.acceptors.finish()
    assert len(worker.accepted) == 3
    worker.clock.passes(MOMENT)
    assert not worker.is_watching


def test_a_held_listener_stays_held_after_the_moment(worker: Worker) -> None:
    worker.come(2)
    worker.clock.turn()
    worker.clock.turn()
    worker.acceptors.hold([worker.listener.key])
    worker.clock.passes(MOMENT)
    assert len(worker.accepted) == 1
    assert not worker.is_watching
    worker.acceptors.accept([worker.listener.key])
    worker.clock.turn()
    worker.clock.passes(MOMENT)
    assert len(worker.accepted) == 2


def test_where_python_has_no_quick_way_the_slow_one_will_do() -> None:
    class Sock:
        def accept(self) -> tuple[str, str]:
            return "socket", "address"

    sock: Any = Sock()
    assert quick_accept(sock)() == ("socket", "address")
