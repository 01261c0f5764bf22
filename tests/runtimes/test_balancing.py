"""Who gets a request: turns, weights, services, addresses, dead backends."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import reply


def named(name: str) -> bytes:
    return reply(name.encode())


def refused() -> str:
    """An address at which nobody listens: bound, so that nobody else takes it."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    HELD.append(sock)
    return f"127.0.0.1:{sock.getsockname()[1]}"


HELD: list[socket.socket] = []


@pytest.fixture(autouse=True)
def _release_ports() -> object:
    yield
    while HELD:
        HELD.pop().close()


def test_backends_take_turns(lb: LbFactory, origin: OriginFactory) -> None:
    one = lb(*[origin(named(name)) for name in "abc"])
    with one.connect() as client:
        got = [client.ask().body for _ in range(6)]
    assert got == [b"a", b"b", b"c", b"a", b"b", b"c"]


def test_turns_are_taken_across_connections(
    lb: LbFactory, origin: OriginFactory
) -> None:
    one = lb(*[origin(named(name)) for name in "ab"])
    assert [one.fetch().body for _ in range(4)] == [b"a", b"b", b"a", b"b"]


def test_weights_give_the_smooth_order_of_nginx(
    lb: LbFactory, origin: OriginFactory
) -> None:
    weighted = [
        {"address": origin(named(name)).address, "weight": weight}
        for name, weight in (("a", 5), ("b", 1), ("c", 1))
    ]
    with lb(*weighted).connect() as client:
        got = b"".join(client.ask().body for _ in range(14))
    assert got == b"aabacaa" * 2


def test_services_have_their_own_backends(
    start: LbFactory, origin: OriginFactory
) -> None:
    services = [
        {
            "name": name,
            "listen": ["127.0.0.1:0", "127.0.0.1:0"],
            "upstream": {"backends": [origin(named(name)).address]},
        }
        for name in ("web", "api")
    ]
    one = start({"services": services})
    for name in ("web", "api"):
        for index in range(2):
            with one.connect(index, name) as client:
                assert client.ask().body == name.encode()
    assert len({address for _, address in one.listening()}) == 4


def test_services_may_share_an_upstream(
    start: LbFactory, origin: OriginFactory
) -> None:
    upstreams = {"app": {"backends": [origin(named(n)).address for n in "ab"]}}
    services = [
        {"name": name, "listen": ["127.0.0.1:0"], "upstream": "app"}
        for name in ("one", "two")
    ]
    lb = start({"services": services, "upstreams": upstreams})
    got = [lb.fetch(service=name).body for name in ("one", "two", "one", "two")]
    assert got == [b"a", b"b", b"a", b"b"]


def test_ipv6_on_both_sides(lb: LbFactory, origin: OriginFactory) -> None:
    try:
        backend = origin(named("six"), host="::1")
    except OSError:
        pytest.skip("there is no ::1")
    one = lb(backend, listen=["[::1]:0"])
    assert one.address().startswith("[::1]:")
    assert one.fetch().body == b"six"
    assert b"X-Forwarded-For: ::1\r\n" in backend.received


def test_unix_sockets_on_both_sides(
    lb: LbFactory, origin: OriginFactory, tmp_path: Path
) -> None:
    backend = origin(named("unix"), path=tmp_path / "up.sock")
    listen = f"unix:{tmp_path}/lb.sock"
    one = lb(backend, listen=[listen])
    assert one.address() == listen
    with one.connect() as client:
        assert client.ask().body == b"unix"
        assert client.ask().body == b"unix"
    assert backend.accepted == 1
    assert one.process.poll() is None


def test_a_dead_backend_costs_no_client_anything(
    lb: LbFactory, origin: OriginFactory
) -> None:
    dead = refused()
    one = lb(dead, origin(named("alive")))
    with one.connect() as client:
        got = [client.ask() for _ in range(20)]
    assert [response.status for response in got] == [200] * 20
    line = one.line("trying another backend", dead)
    assert "warning" in line
    assert "connect_refused" in line


def test_when_all_backends_are_down_the_client_is_told_and_kept(
    lb: LbFactory,
) -> None:
    one = lb(refused(), refused())
    with one.connect() as client:
        for _ in range(3):
            response = client.ask()
            assert response.status == 502
            assert response.body == b"502 Bad Gateway\n"
            assert response.get("Content-Type") == b"text/plain; charset=utf-8"
            assert response.get("Connection") is None


def test_a_backend_that_comes_back_is_used_again(
    lb: LbFactory, origin: OriginFactory, tmp_path: Path
) -> None:
    path = tmp_path / "up.sock"
    one = lb(f"unix:{path}")
    with one.connect() as client:
        assert client.ask().status == 502
        origin(named("back"), path=path)
        assert client.ask().body == b"back"


def test_a_backend_without_an_answer_to_the_dial_is_a_504(lb: LbFactory) -> None:
    # The queue of a socket that nobody accepts from: full, so dials stay unanswered.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = []
        try:
            for _ in range(4):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(address)
                waiting.append(sock)
            one = lb("{}:{}".format(*address), timeouts={"connect": 0.3})
            with one.connect() as client:
                response = client.ask()
                assert response.status == 504
                assert b"connection_timeout" in (response.get("Proxy-Status") or b"")
                assert client.ask().status == 504  # and the connection is kept
        finally:
            for sock in waiting:
                sock.close()


def test_a_name_that_does_not_resolve_is_a_502(lb: LbFactory) -> None:
    one = lb("no-such-host.invalid:80")
    response = one.fetch()
    assert response.status == 502
    assert b"dns_error" in (response.get("Proxy-Status") or b"")
