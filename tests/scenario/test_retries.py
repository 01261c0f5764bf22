"""A request goes out again, or it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lbproto.config import Backoff, Config, Retry, Upstream
from lbproto.machine.effects import Connect, Target
from lbproto.machine.events import ConnectError
from lbproto.selection.balancer import Balancer
from lbproto.testing.sim import Endpoint, Sim
from tests.scenario.world import (
    GET,
    OK,
    ONE,
    POST,
    TWO,
    answers,
    bare,
    errors,
    logged,
    replace,
    status,
)

Answer = Callable[[Endpoint, bytes], None]

PUT = POST.replace(b"POST", b"PUT")
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
BOTH = (ONE, TWO)


def busy(end: Endpoint, data: bytes) -> None:
    end.send(BUSY)


def closes(end: Endpoint, data: bytes) -> None:
    end.close()


def mute(end: Endpoint, data: bytes) -> None:
    """It never answers."""


def retrying(
    retry: Retry | None = None,
    backends: tuple[Target, ...] = BOTH,
    **changes: Any,
) -> Config:
    settings = bare(backends=backends, **changes)
    web = settings.upstreams["web"]
    upstream = Upstream(name="web", backends=web.backends, retry=retry or Retry())
    return replace(settings, upstreams={"web": upstream})


def world(
    first: Answer | ConnectError, retry: Retry | None = None, **changes: Any
) -> Sim:
    """Two backends, of which the first fails and the second is well."""
    sim = Sim(retrying(retry, **changes))
    bad = sim.backend(str(ONE))
    if isinstance(first, ConnectError):
        bad.mode = first
    else:
        bad.answer = first
    sim.backend(str(TWO), answers)
    return sim


def ask(sim: Sim, request: bytes = GET) -> Endpoint:
    client = sim.client()
    client.send(request)
    return client


def dials(sim: Sim) -> list[str]:
    return [str(it.target) for _, it in sim.log if isinstance(it, Connect)]


def tries(sim: Sim) -> int:
    return sim.access[-1].tries


# -- each row of the table -----------------------------------------------------


@pytest.mark.parametrize("request_", [GET, POST])
def test_no_connection_any_method(request_: bytes) -> None:
    sim = world(ConnectError.REFUSED)
    assert status(ask(sim, request_)) == 200
    assert tries(sim) == 2
    off = world(ConnectError.REFUSED, Retry(on=()))
    assert status(ask(off, request_)) == 502
    assert tries(off) == 1


@pytest.mark.parametrize(("request_", "wanted"), [(GET, 200), (PUT, 200), (POST, 502)])
def test_an_idle_connection_that_closes_under_a_request(
    request_: bytes, wanted: int
) -> None:
    def once(end: Endpoint, data: bytes) -> None:
        if end.received.count(b"HTTP/1.1") == 1:
            end.send(OK)
        else:
            end.close()

    for retry, expected in ((Retry(), wanted), (Retry(on=()), 502)):
        sim = Sim(retrying(retry, (ONE,)))
        sim.backend(str(ONE), once)
        client = ask(sim)
        client.received = b""
        client.send(request_)
        assert status(client) == expected
        assert dials(sim) == [str(ONE)] * (2 if expected == 200 else 1)


@pytest.mark.parametrize(
    ("request_", "on", "wanted"),
    [
        (GET, ("connection_closed",), 200),
        (PUT, ("connection_closed",), 200),
        (POST, ("connection_closed",), 502),
        (GET, (), 502),
    ],
)
def test_a_new_connection_that_closes_under_a_request(
    request_: bytes, on: Any, wanted: int
) -> None:
    sim = world(closes, Retry(on=on))
    assert status(ask(sim, request_)) == wanted
    assert dials(sim) == [str(ONE), str(TWO)][: 2 if wanted == 200 else 1]


@pytest.mark.parametrize(
    ("request_", "on", "wanted"),
    [(GET, ("timeout",), 200), (POST, ("timeout",), 504), (GET, (), 504)],
)
def test_no_response_in_time(request_: bytes, on: Any, wanted: int) -> None:
    sim = world(mute, Retry(on=on, per_try_timeout=2.0))
    client = ask(sim, request_)
    sim.advance(1.9)
    assert client.received == b""
    sim.advance(0.2)
    assert status(client) == wanted


@pytest.mark.parametrize(
    ("request_", "statuses", "wanted"),
    [
        (GET, (503,), 200),
        (PUT, (502, 503), 200),
        (POST, (503,), 503),
        (GET, (502,), 503),
    ],
)
def test_a_status(request_: bytes, statuses: Any, wanted: int) -> None:
    sim = world(busy, Retry(statuses=statuses))
    client = ask(sim, request_)
    assert status(client) == wanted
    assert client.received.count(b"HTTP/1.1") == 1
    if wanted == 503:
        assert client.received.endswith(b"busy")


# -- what is never repeated ----------------------------------------------------


def test_never_after_a_byte_of_a_response_for_the_client() -> None:
    def hints_then_busy(end: Endpoint, data: bytes) -> None:
        end.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + BUSY)

    sim = world(hints_then_busy, Retry(statuses=(503,)))
    client = ask(sim)
    assert client.received.count(b"HTTP/1.1") == 2
    assert b"HTTP/1.1 503" in client.received
    assert tries(sim) == 1


def test_never_after_half_a_head() -> None:
    def half(end: Endpoint, data: bytes) -> None:
        end.send(b"HTTP/1.1 200 OK\r\nConte")

    sim = world(half, Retry(on=("timeout",), per_try_timeout=1.0))
    client = ask(sim)
    sim.advance(2.0)
    assert status(client) == 504


def test_never_a_request_that_is_not_complete() -> None:
    sim = world(busy, Retry(statuses=(503,)))
    assert status(ask(sim, PUT[:-1])) == 503


def test_never_a_request_that_is_not_here_any_more() -> None:
    sim = world(busy, Retry(statuses=(503,)))
    sim._backends[str(ONE)].answer = None
    size = 200_000
    client = ask(sim, PUT[:-5].replace(b": 5", b": %d" % size) + b"x" * size)
    (backend,) = sim._backends[str(ONE)].connections
    backend.send(BUSY)
    assert status(client) == 503


def test_a_backend_that_is_alone_has_the_last_word() -> None:
    sim = Sim(retrying(Retry(statuses=(503,)), (ONE,)))
    sim.backend(str(ONE), busy)
    client = ask(sim)
    assert client.received.endswith(b"busy")
    assert tries(sim) == 1


def test_not_more_often_than_max_retries() -> None:
    many = tuple(Target("10.0.0.1", port) for port in range(1, 6))
    sim = Sim(retrying(Retry(statuses=(503,)), many, max_retries=2))
    for target in many:
        sim.backend(str(target), busy)
    assert status(ask(sim)) == 503
    assert len(dials(sim)) == 3


def test_the_failed_response_is_given_up_whole() -> None:
    sim = world(busy, Retry(statuses=(503,)))
    client = ask(sim)
    (bad,) = sim._backends[str(ONE)].connections
    assert bad.reset
    assert client.received.endswith(b"\r\n\r\nOK")
    assert [backend.active for backend in sim.gateway.balancer.stats().backends] == [
        0,
        0,
    ]


def test_what_follows_the_failed_head_is_void_for_the_next_backend() -> None:
    """The next backend's idle connection is taken while the old one still speaks."""
    sim = world(busy, Retry(statuses=(503,)))
    good = sim.client()
    sim._backends[str(ONE)].answer = answers
    good.send(GET)
    good.send(GET)
    assert good.received.count(b"200 OK") == 2
    sim._backends[str(ONE)].connections[0].on_data = busy
    client = ask(sim)
    assert client.received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert client.received.endswith(b"\r\n\r\nOK")
    assert len(dials(sim)) == 2


# -- pauses --------------------------------------------------------------------


def paused(**changes: Any) -> tuple[Sim, Endpoint]:
    """A request waits for its second try."""
    retry = Retry(statuses=(503,), backoff=Backoff(base=4.0, max=4.0), **changes)
    sim = world(busy, retry)
    client = ask(sim)
    assert client.received == b""
    assert len(dials(sim)) == 1
    return sim, client


def test_a_pause_comes_before_the_next_try() -> None:
    sim, client = paused()
    wait = sim.deadline - sim.now
    assert 0 < wait < 4
    sim.advance(wait)
    assert status(client) == 200


def test_a_client_that_leaves_in_a_pause_leaves_nothing_behind() -> None:
    sim, client = paused()
    client.abort()
    sim.advance(10.0)
    assert len(dials(sim)) == 1
    assert sim.gateway.balancer.stats().active == 0
    assert errors(sim)[-1:] == [None]


def test_a_drain_may_end_a_pause() -> None:
    sim, client = paused()
    sim.drain(timeout=0.0)
    assert client.closed
    assert sim.gateway.balancer.stats().active == 0


def test_content_may_come_in_a_pause() -> None:
    retry = Retry(backoff=Backoff(base=4.0, max=4.0))
    sim = world(ConnectError.REFUSED, retry)
    client = ask(sim, POST[:-5])
    client.send(b"hel")
    client.send(b"lo")
    sim.advance(4.0)
    assert status(client) == 200
    assert sim._backends[str(TWO)].received.endswith(b"\r\n\r\nhello")


# -- the budget ----------------------------------------------------------------


def test_a_budget_is_kept_over_all_requests() -> None:
    sim = world(closes, Retry(on=("connection_closed",), budget_percent=20))
    got = [status(ask(sim)) for _ in range(40)]
    # Every other request meets the backend that closes; three are free, and then
    # one in five of all.
    repeated = sim._backends[str(TWO)].received.count(b"GET / ") - 20
    assert got.count(502) == 40 - got.count(200)
    assert 3 <= repeated <= 8
    sim.advance(1.0)
    assert 200 in [status(ask(sim)) for _ in range(2)]


def test_a_repetition_on_the_same_backend_costs_budget_too() -> None:
    def once(end: Endpoint, data: bytes) -> None:
        if end.received.count(b"HTTP/1.1") == 1:
            end.send(OK)
        else:
            end.close()

    sim = Sim(retrying(Retry(budget_percent=0), (ONE,)))
    sim.backend(str(ONE), once)
    got = [status(ask(sim)) for _ in range(12)]
    assert got.count(502) > 0
    assert got[:4] == [200] * 4


def test_who_gets_no_budget_gives_its_lease_back() -> None:
    sim = world(ConnectError.REFUSED, Retry(budget_percent=0), max_retries=1)
    for _ in range(12):
        ask(sim)
        sim.gateway.balancer.stats()
    balancer: Balancer = sim.gateway.balancer
    assert balancer.stats().active == 0


def test_the_time_of_one_try_bounds_the_dial() -> None:
    sim = world(ConnectError.TIMEOUT, Retry(per_try_timeout=0.5))
    client = ask(sim)
    sim.advance(0.5)
    assert status(client) == 200
    assert errors(sim) == ["connect_timeout"]
    # It may have dialled, and wait in the midst of the TLS handshake.
    assert logged(sim)[0].fields["detail"] == "no connection in time"
