"""More clients than there may be, or than there are descriptors for."""

from __future__ import annotations

import resource
import socket

from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.wire import PATIENCE, Wire


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
    clients: list[Wire] = [one.connect() for _ in range(60)]
    one.line("cannot accept")
    # Whoever is in without a descriptor left for a backend gets a 503 at worst.
    assert clients[0].ask().status in (200, 503)
    for client in clients:
        client.close()
    for _ in range(5):
        assert one.fetch().body == b"OK"
    errors = [line for line in one.lines if "cannot accept" in line]
    assert len(errors) < 1000  # it waits between tries


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
