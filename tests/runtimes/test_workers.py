"""The master and its workers: deaths, reloads, shares."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import Origin, answers, reply
from tests.runtimes.process import Lb, settings
from tests.runtimes.wire import PATIENCE, Wire, dial


def rewrite(one: Lb, *backends: Origin, **keys: Any) -> None:
    """Change the file, and have it read again."""
    wanted = settings(*[backend.address for backend in backends], **keys)
    one.conf.write_text(yaml.safe_dump(wanted), "utf-8")
    one.signal(signal.SIGHUP)


def gone(pid: int) -> bool:
    """Tell whether a process is over; a zombie is."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text("ascii")
    except FileNotFoundError:
        return True


def wait_gone(pid: int) -> None:
    """Wait for the end of a process that is not our child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    assert poll.poll(PATIENCE * 1000), "it lives on"
    os.close(descriptor)


def test_a_worker_that_is_killed_is_replaced_and_the_others_never_notice(
    lb: LbFactory, origin: OriginFactory
) -> None:
    one = lb(origin(), top={"threads": 2})
    first, second = one.workers(2)
    one.wait_ready(2)
    clients = [one.connect() for _ in range(30)]
    for client in clients:
        assert client.ask().body == b"OK"
    os.kill(first, signal.SIGKILL)
    one.line("worker died", "SIGKILL")
    one.workers(3)
    kept = 0
    for client in clients:
        with contextlib.suppress(EOFError, ConnectionError):  # the dead one's
            kept += client.ask().body == b"OK"
    assert kept, "those of the other worker"
    assert not gone(second)
    for _ in range(20):
        assert one.fetch().body == b"OK"


def test_no_worker_outlives_its_master(lb: LbFactory, origin: OriginFactory) -> None:
    one = lb(origin(), top={"threads": 2})
    workers = one.workers(2)
    assert one.fetch().body == b"OK"
    one.process.kill()
    for pid in workers:
        wait_gone(pid)
    one.may_fail = True


def test_clients_are_spread_over_the_workers(
    lb: LbFactory, origin: OriginFactory
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    one = lb(origin(), top={"threads": 2})
    workers = one.workers(2)
    one.wait_ready(2)

    def counts() -> list[int]:
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in workers]

    before = counts()
    address = one.address()
    clients = [dial(address) for _ in range(1000)]
    clients[-1].ask()
    shares = [now - then for now, then in zip(counts(), before, strict=True)]
    for client in clients:
        client.close()
    assert sum(shares) >= 1000
    assert max(shares) <= 2 * min(shares), shares


def test_a_limit_of_clients_is_for_all_workers_together(
    lb: LbFactory, origin: OriginFactory
) -> None:
    one = lb(origin(), top={"threads": 2}, limits={"connections": 4})
    one.wait_ready(2)
    clients = [one.connect() for _ in range(4)]
    for client in clients:
        assert client.ask().body == b"OK"
    late = one.connect()
    late.get()
    for client in clients:
        assert client.ask().body == b"OK"
    assert late.silent()
    clients[0].close()
    assert late.response().body == b"OK"


def test_a_reload_is_for_new_connections_and_old_ones_end_well(
    lb: LbFactory, origin: OriginFactory
) -> None:
    begun = threading.Event()

    def script(wire: Wire) -> None:
        head = wire.head()
        begun.set()
        wire.content(head)
        wire.send(reply(b"old"))

    old, new = origin(script), origin(answers(reply(b"new")))
    one = lb(old)
    with one.connect() as client, one.connect() as silent:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
        assert begun.wait(PATIENCE)
        rewrite(one, new)
        one.line("changed", "upstreams.web.backends")
        one.wait_ready(2)
        one.line("generation serves", "generation=2")
        # The old worker may not have heard yet that it is not to accept any more.
        assert any(one.fetch().body == b"new" for _ in range(100))
        client.send(b"llo")
        assert client.response().body == b"old"
        silent.get()  # it had said nothing yet, and nobody closed it for that
        assert silent.response().status == 200


@pytest.mark.parametrize("text", ["services: 5\n", "a: b: c", ""])
def test_a_broken_file_changes_nothing(
    lb: LbFactory, origin: OriginFactory, text: str
) -> None:
    one = lb(origin())
    with one.connect() as client:
        assert client.ask().body == b"OK"
        one.conf.write_text(text, "utf-8")
        one.signal(signal.SIGHUP)
        one.line("the configuration stays as it is")
        assert client.ask().body == b"OK"
    assert one.fetch().body == b"OK"
    assert len(one.workers()) == 1


def test_listeners_come_and_go_with_a_reload(
    lb: LbFactory, origin: OriginFactory, tmp_path: Path
) -> None:
    backend = origin()
    first, second = f"unix:{tmp_path}/first", f"unix:{tmp_path}/second"
    one = lb(backend, listen=["127.0.0.1:0", first])
    address = one.address()
    with dial(first) as client:
        assert client.ask().body == b"OK"
    rewrite(one, backend, listen=["127.0.0.1:0", second])
    one.line("generation serves", "generation=2")
    assert not os.path.exists(f"{tmp_path}/first")
    assert " warning " not in one.log
    with dial(second) as client:
        assert client.ask().body == b"OK"
    with dial(address) as client:
        assert client.ask().body == b"OK", "the same socket"
    locked = {"address": "127.0.0.1:0", "proxy_protocol": True}
    rewrite(one, backend, listen=[locked])
    one.line("proxy_protocol with no trusted_proxies", " warning ")


def test_no_request_is_lost_while_it_is_reloaded_again_and_again(
    lb: LbFactory, origin: OriginFactory
) -> None:
    backend = origin()
    one = lb(backend)
    address = one.address()
    for turn in range(2, 7):
        rewrite(one, backend, timeouts={"connect": turn})
        for _ in range(20):
            with dial(address) as client:
                assert client.ask().body == b"OK"
        one.line("generation serves", f"generation={turn}")


def held(wire: Wire) -> None:
    wire.request()
    wire.rest()


def test_a_second_sigterm_makes_it_fast(lb: LbFactory, origin: OriginFactory) -> None:
    backend = origin(held)
    one = lb(backend)
    with one.connect() as client:
        client.get()
        backend.wait_accepted(1)
        one.signal(signal.SIGTERM)
        one.line("stopping gracefully")
        one.signal(signal.SIGTERM)
        assert one.wait() == 0
        assert client.rest() == b""


def test_an_address_that_the_file_gives_up_is_closed(
    lb: LbFactory, origin: OriginFactory
) -> None:
    backend = origin()
    one = lb(backend, listen=["127.0.0.1:0", "127.0.0.2:0"])
    kept, given_up = one.address(0), one.address(1)
    with dial(given_up) as client:
        assert client.ask().body == b"OK"
    rewrite(one, backend, listen=["127.0.0.1:0"])
    one.line("generation serves", "generation=2")
    tick = threading.Event()
    for _ in range(1000):
        try:
            with dial(given_up) as client:
                client.get(fields="Connection: close\r\n")
                client.rest()  # the old worker's last clients are served, not left
        except ConnectionRefusedError:
            break
        except ConnectionError:
            pass  # in the queue of a socket that was being closed
        tick.wait(0.01)
    else:
        raise AssertionError("it is open still")
    with dial(kept) as client:
        assert client.ask().body == b"OK"


def test_each_service_keeps_the_port_that_the_kernel_chose_for_it(
    start: LbFactory, origin: OriginFactory
) -> None:
    backend = origin()
    wanted = settings(backend.address)
    (web,) = wanted["services"]
    wanted["services"] = [{**web, "name": "other"}, web]
    one = start(wanted)
    address = one.address(service="web")
    rewrite(one, backend)
    one.line("generation serves", "generation=2")
    with dial(address) as client:
        assert client.ask().body == b"OK"
