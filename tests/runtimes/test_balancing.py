"""Who gets a request: turns, weights, services, addresses, dead backends."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import reply
from tests.runtimes.process import settings


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


def crew(origin: OriginFactory, names: str, **rules: object) -> dict[str, object]:
    """An upstream of backends that say their names."""
    return {"backends": [origin(named(name)).address for name in names], **rules}


@pytest.mark.parametrize(
    "policy", ["random", "least_connections", "p2c", "peak_ewma", "hash"]
)
def test_every_backend_gets_something(
    start: LbFactory, origin: OriginFactory, policy: str
) -> None:
    rules = {"policy": policy, "hash_on": "uri"}
    one = start(settings(upstream=crew(origin, "ab", **rules)))
    with one.connect() as client:
        got = [client.ask(f"/{number}").body for number in range(30)]
    assert set(got) == {b"a", b"b"}


@pytest.mark.parametrize("policy", ["ketama", "maglev"])
@pytest.mark.parametrize(
    ("rule", "fields"),
    [("header:X-User", "X-User: {}\r\n"), ("cookie:sid", "Cookie: a=b; sid={}\r\n")],
)
def test_what_has_the_same_key_goes_to_the_same_backend(
    start: LbFactory, origin: OriginFactory, policy: str, rule: str, fields: str
) -> None:
    upstream = crew(origin, "abc", policy=policy, hash_on=rule)
    one = start(settings(upstream=upstream))
    got = []
    for _ in range(2):
        with one.connect() as client:
            got.append(
                [client.ask("/", fields.format(user)).body for user in range(30)]
            )
    assert got[0] == got[1]
    assert len(set(got[0])) > 1


def test_a_ring_picks_what_nginx_picks(start: LbFactory) -> None:
    # Nobody is there: the log says whom each key was for.
    servers = [f"unix:/nowhere/{name}.sock" for name in "abc"]
    rules = {"policy": "ketama", "hash_on": "header:K", "backends": servers}
    one = start(settings(upstream=rules, top={"max_retries": 0}))
    with one.connect() as client:
        assert client.ask("/", "K: key-1\r\n").status == 502
    data = Path(__file__).parents[1] / "unit" / "selection" / "data" / "ketama.json"
    vectors = json.loads(data.read_text("utf-8"))
    picked = vectors["upstreams"]["sockets"]["picks"][vectors["keys"].index("key-1")]
    assert servers[picked] in one.line("exchange failed")


def test_a_backup_is_used_only_when_no_other_is(
    start: LbFactory, origin: OriginFactory
) -> None:
    spare = {"address": origin(named("spare")).address, "backup": True}
    first = origin(named("first"))
    one = start(settings(upstream={"backends": [first.address, spare]}))
    assert [one.fetch().body for _ in range(4)] == [b"first"] * 4
    other = start(settings(upstream={"backends": [refused(), spare]}))
    assert [other.fetch().body for _ in range(4)] == [b"spare"] * 4


def test_a_backend_that_says_it_fails_is_left_alone(
    start: LbFactory, origin: OriginFactory
) -> None:
    failing = origin(reply(b"bad", "503 Service Unavailable"))
    rules = {
        "backends": [failing.address, origin(named("good")).address],
        "outlier_detection": {"consecutive_failures": 2},
    }
    one = start(settings(upstream=rules))
    with one.connect() as client:
        got = [client.ask().body for _ in range(12)]
    assert got.count(b"bad") == 2
    assert got[4:] == [b"good"] * 8
    line = one.line("backend ejected", failing.address)
    assert "2 failures in a row" in line
    assert "warning" in line


def test_a_backend_that_drains_gets_nothing(
    lb: LbFactory, origin: OriginFactory
) -> None:
    one = lb({"address": refused(), "drain": True}, origin(named("b")))
    assert [one.fetch().body for _ in range(4)] == [b"b"] * 4


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
