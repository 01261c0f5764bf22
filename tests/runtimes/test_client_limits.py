"""More clients than there may be, or than there are descriptors for."""

from __future__ import annotations

import resource
import socket

from lbproto.phases.http import ProxyHttp
from lbproto.phases.session import Session
from tests.runtimes.fixtures import Conducted, LbFactory, OriginFactory
from tests.runtimes.wire import PATIENCE, Wire


class Answers(ProxyHttp[None]):
    """An application that needs no backend."""

    def new_ctx(self) -> None:
        return None

    def request_filter(self, session: Session, ctx: None) -> bool:
        session.respond(200, b"OK")
        return True


def test_a_client_past_the_limit_waits_until_another_leaves(
    lb: LbFactory, origin: OriginFactory
) -> None:
    one = lb(origin(), limits={"connections": 2})
    first, second = one.connect(), one.connect()
    assert first.ask().body == b"OK"
    assert second.ask().body == b"OK"
    third = one.connect()
    third.get()
    for _ in range(5):  # the others are served meanwhile
        assert first.ask().body == b"OK"
        assert second.ask().body == b"OK"
    assert third.silent()
    first.close()
    assert third.response().body == b"OK"
    third.close()
    second.close()


def test_services_do_not_share_their_limits(
    start: LbFactory, origin: OriginFactory
) -> None:
    backend = origin().address
    services = [
        {
            "name": name,
            "listen": ["127.0.0.1:0"],
            "limits": {"connections": 1},
            "upstream": {"backends": [backend]},
        }
        for name in ("one", "two")
    ]
    one = start({"services": services})
    with one.connect(service="one") as first, one.connect(service="two") as second:
        assert first.ask().body == b"OK"
        assert second.ask().body == b"OK"


def test_running_out_of_descriptors_is_survived(
    start: LbFactory, origin: OriginFactory
) -> None:
    backend = origin()

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))

    web = {
        "listen": ["127.0.0.1:0"],
        "upstream": {"backends": [backend.address]},
        "timeouts": {"keepalive": 60},
    }
    one = start({"services": [web]}, preexec=few)
    assert one.fetch().body == b"OK"
    clients: list[Wire] = []
    for _ in range(60):
        clients.append(one.connect())
        clients[-1].send(b"GET /")  # who is about to ask does not make room
    one.line("cannot accept")
    for client in clients:
        client.close()
    for _ in range(5):
        assert one.fetch().body == b"OK"
    errors = [line for line in one.lines if "cannot accept" in line]
    assert len(errors) < 1000  # it waits between tries


def test_idle_clients_make_room_where_descriptors_are_scarce(
    start: LbFactory, origin: OriginFactory
) -> None:
    backend = origin()

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    web = {"listen": ["127.0.0.1:0"], "upstream": {"backends": [backend.address]}}
    one = start({"services": [web]}, preexec=few)
    clients: list[Wire] = []
    for _ in range(100):
        clients.append(one.connect())
        assert clients[-1].ask().body == b"OK"
    assert clients[0].ended()  # who came first had to leave first
    assert clients[-20].ask().body == b"OK"
    for client in clients:
        client.close()
    assert not [line for line in one.lines if "cannot accept" in line]


def test_idle_clients_make_room_also_where_an_application_serves_them(
    conducted: Conducted,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    clients: list[Wire] = []
    try:
        host, _, port = conducted(Answers()).rpartition(":")
        for _ in range(60):  # both ends are this process's
            sock = socket.create_connection((host, int(port)), PATIENCE)
            clients.append(Wire(sock))
            assert clients[-1].ask().body == b"OK"
        assert any(client.ended() for client in clients if not client.silent())
    finally:
        for client in clients:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_descriptors_are_given_back(lb: LbFactory, origin: OriginFactory) -> None:
    one = lb(origin(), top={"upstream_keepalive_pool_size": 1})
    with one.connect() as client:
        assert client.ask().body == b"OK"
        before = one.descriptors()
        for _ in range(3):
            others = [one.connect() for _ in range(30)]
            for other in others:
                other.get()
            for other in others:
                assert other.response().body == b"OK"
                other.close()
        # Each round trip shows that the loop has seen what came before it.
        for _ in range(200):
            assert client.ask().body == b"OK"
            if one.descriptors() <= before:
                break
        assert one.descriptors() <= before


def test_a_burst_of_clients_does_not_stop_the_others(
    lb: LbFactory, origin: OriginFactory
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    one = lb(origin(), limits={"connections": 500})
    host, _, port = one.address().rpartition(":")
    with one.connect() as client:
        assert client.ask().body == b"OK"
        for _ in range(10):
            # More at once than may be accepted: the rest waits in the kernel's queue.
            burst = [
                socket.create_connection((host, int(port)), PATIENCE)
                for _ in range(1000)
            ]
            assert client.ask().body == b"OK"
            for sock in burst:
                sock.close()
        assert client.ask().body == b"OK"
    assert one.fetch().body == b"OK"
