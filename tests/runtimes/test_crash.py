"""A bug of ours in one connection is nobody else's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from lbproto.config import Backend, Config, Listen, Service, Upstream
from lbproto.machine.effects import Effect, Level, Target
from lbproto.machine.events import Data, Event
from lbproto.machine.values import ConnId
from lbproto.proxy.connection import ProxyConnection
from lbproto.proxy.gateway import Gateway
from lbproto_runtimes import load
from lbproto_runtimes.listen import bind
from lbproto_runtimes.logs import Logs
from tests.runtimes.embedded import Embedded
from tests.runtimes.fixtures import OriginFactory
from tests.runtimes.origins import Origin
from tests.runtimes.wire import PATIENCE, Wire, dial


class Fragile:
    """A client connection that breaks when it reads a certain word."""

    def __init__(self, inner: ProxyConnection) -> None:
        self.inner = inner

    @property
    def deadline(self) -> float:
        return self.inner.deadline

    def handle(self, event: Event, now: float, /) -> list[Effect]:
        if isinstance(event, Data) and b"crash" in event.data:
            raise RuntimeError("a bug of ours")
        return self.inner.handle(event, now)


class FragileGateway(Gateway):
    def connection(
        self, service: str, conn: ConnId, listen: Listen | None = None
    ) -> ProxyConnection:
        inner = super().connection(service, conn, listen)
        return Fragile(inner)  # type: ignore[return-value]


Serving = Callable[[Origin], str]


@pytest.fixture
def serving(runtime: str, capfd: pytest.CaptureFixture[str]) -> Iterator[Serving]:
    """Serve with fragile connections in a thread of this process."""
    started: list[Embedded] = []

    def launch(backend: Origin) -> str:
        host, _, port = backend.address.rpartition(":")
        target = Backend(target=Target(host, int(port)))
        upstream = Upstream(name="web", backends=(target,))
        listen = Listen(target=Target("127.0.0.1", 0))
        service = Service(name="web", upstream="web", listen=(listen,))
        config = Config(services=(service,), upstreams={"web": upstream})
        gateway = FragileGateway(config, load(runtime).env())
        logs = Logs(None, Level.INFO)
        started.append(Embedded(runtime, gateway, bind(config), logs))
        return started[-1].address

    yield launch
    for one in started:
        one.stop()


def test_a_crash_resets_its_own_connection_alone(
    serving: Serving, origin: OriginFactory, capfd: pytest.CaptureFixture[str]
) -> None:
    address = serving(origin())
    with dial(address) as well, dial(address) as broken:
        assert well.ask().body == b"OK"
        assert broken.ask().body == b"OK"
        broken.get("/crash")
        assert broken.was_reset()
        assert well.ask().body == b"OK"
        with dial(address) as fresh:
            assert fresh.ask().body == b"OK"
    logged = capfd.readouterr().err
    assert logged.count("internal error") == 1
    assert "a bug of ours" in logged
    assert all(line.startswith("2") for line in logged.splitlines())  # one line each


def test_a_crash_in_mid_request_resets_the_backend_connection_too(
    serving: Serving, origin: OriginFactory, capfd: pytest.CaptureFixture[str]
) -> None:
    head, reset = threading.Event(), threading.Event()

    def script(wire: Wire) -> None:
        wire.head()
        head.set()
        assert wire.was_reset()
        reset.set()

    with dial(serving(origin(script))) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
        assert head.wait(PATIENCE)
        client.send(b"crash")
        assert client.was_reset()
        assert reset.wait(PATIENCE)
    assert "internal error" in capfd.readouterr().err
