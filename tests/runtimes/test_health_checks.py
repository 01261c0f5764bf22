"""Health checks of a running balancer: who probes, who learns of it, who survives."""

from __future__ import annotations

import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import OK, Origin, reply
from tests.runtimes.process import Lb, Settings, settings
from tests.runtimes.test_workers import wait_gone
from tests.runtimes.wire import PATIENCE, Wire

HTTP: Settings = {"type": "http", "path": "/healthz", "interval": "100ms"}


class Switched:
    """A backend that can be told to fail its probes."""

    def __init__(self) -> None:
        self.ok = True
        self.requests = 0
        self.probes = 0
        self._changed = threading.Condition()

    def __call__(self, wire: Wire) -> None:
        while True:
            target = wire.request().start.split(b" ")[1]
            with self._changed:
                if target == b"/healthz":
                    self.probes += 1
                else:
                    self.requests += 1
                self._changed.notify_all()
            good = self.ok or target != b"/healthz"
            wire.send(OK if good else reply(status="500 Oh"))

    def wait_probes(self, more: int) -> None:
        with self._changed:
            wanted = self.probes + more
            assert self._changed.wait_for(lambda: self.probes >= wanted, PATIENCE)


def checked(*backends: Origin, check: Settings = HTTP, **keys: Any) -> Settings:
    wanted = settings(*[backend.address for backend in backends], **keys)
    wanted["services"][0]["upstream"]["health_check"] = check
    return wanted


def rewrite(one: Lb, wanted: Settings) -> None:
    one.conf.write_text(yaml.safe_dump(wanted), "utf-8")
    one.signal(signal.SIGHUP)


def prober(one: Lb, number: int = 1) -> int:
    """The process id of the n-th prober."""

    def found() -> list[str]:
        return re.findall(r"prober started prober_pid=(\d+)", one.log)

    one.wait_until(lambda: len(found()) >= number)
    return int(found()[number - 1])


def ask_until(one: Lb, status: int) -> None:
    """Ask until a worker has heard the news; it has its line in the log already."""
    for _ in range(1000):
        if one.fetch().status == status:
            return
    raise AssertionError(f"never {status}")


def test_a_backend_that_fails_gets_no_requests_until_it_is_well(
    start: LbFactory, origin: OriginFactory
) -> None:
    sick, well = Switched(), Switched()
    one = start(checked(origin(sick), origin(well)))
    for _ in range(4):
        assert one.fetch().status == 200
    assert sick.requests == well.requests == 2
    sick.ok = False
    line = one.line("backend is unhealthy")
    assert "upstream=web" in line
    assert 'reason="status 500, expected 200"' in line

    def shunned() -> bool:
        before = sick.requests
        assert all(one.fetch().status == 200 for _ in range(10))
        return sick.requests == before

    assert any(shunned() for _ in range(100)), "the worker hears of it soon"
    before = sick.requests
    sick.ok = True
    one.line("backend is healthy")
    for _ in range(1000):
        assert one.fetch().status == 200
        if sick.requests > before:
            break
    assert sick.requests > before


def test_when_all_fail_clients_are_told_to_come_back(
    start: LbFactory, origin: OriginFactory
) -> None:
    backend = Switched()
    one = start(checked(origin(backend)))
    assert one.fetch().status == 200
    backend.ok = False
    one.line("backend is unhealthy")
    ask_until(one, 503)
    answer = one.fetch()
    assert answer.status == 503
    assert answer.get("Retry-After") == b"1"
    backend.ok = True
    one.line("backend is healthy")
    ask_until(one, 200)


def test_a_dead_backend_is_found_over_tcp(
    start: LbFactory, origin: OriginFactory
) -> None:
    dead, alive = origin(), origin()
    one = start(checked(dead, alive, check={"interval": "50ms"}))
    dead.wait_accepted(1)
    dead.close()
    line = one.line("backend is unhealthy")
    assert f"backend={dead.address}" in line
    assert 'reason="connection refused"' in line
    for _ in range(10):
        assert one.fetch().status == 200


def test_one_set_of_probes_serves_all_workers(
    start: LbFactory, origin: OriginFactory
) -> None:
    backend = origin(Switched())
    check = {**HTTP, "reuse": True}
    one = start(checked(backend, check=check, top={"threads": 4}))
    one.wait_ready(4)
    script = backend.script
    assert isinstance(script, Switched)
    script.wait_probes(5)
    assert backend.accepted == 1, "one connection, which is kept"
    script.ok = False
    one.line("backend is unhealthy")

    def heard() -> bool:
        """Whichever worker is asked, it knows."""
        return all(one.fetch().status == 503 for _ in range(20))

    assert any(heard() for _ in range(100))
    assert one.log.count("backend is unhealthy") == 1


def test_a_prober_that_dies_is_replaced_and_what_is_known_stays(
    start: LbFactory, origin: OriginFactory
) -> None:
    backend = Switched()
    backend.ok = False
    one = start(checked(origin(backend)))
    one.line("backend is unhealthy")
    ask_until(one, 503)
    os.kill(prober(one), signal.SIGKILL)
    one.line("prober died", "SIGKILL")
    assert one.fetch().status == 503
    prober(one, 2)
    backend.wait_probes(2)
    assert one.fetch().status == 503
    assert one.log.count("backend is unhealthy") == 1, "nothing has changed"
    backend.ok = True
    one.line("backend is healthy")
    ask_until(one, 200)


def test_a_new_worker_begins_with_what_is_known(
    start: LbFactory, origin: OriginFactory
) -> None:
    backend = Switched()
    backend.ok = False
    one = start(checked(origin(backend), check={**HTTP, "interval": "1h"}))
    one.line("backend is unhealthy")
    ask_until(one, 503)
    os.kill(one.workers()[0], signal.SIGKILL)
    one.wait_ready(2)
    assert one.fetch().status == 503


def test_a_reload_keeps_what_is_known_and_ends_what_is_not_asked_for(
    start: LbFactory, origin: OriginFactory
) -> None:
    backend, other = origin(Switched()), origin(Switched())
    assert isinstance(backend.script, Switched)
    backend.script.ok = False
    one = start(checked(backend, check={**HTTP, "interval": "1h"}))
    first = prober(one)
    one.line("backend is unhealthy")
    ask_until(one, 503)
    rewrite(one, checked(backend, other, check={**HTTP, "interval": "50ms"}))
    one.line("generation serves", "generation=2")
    wait_gone(first)
    second = prober(one, 2)
    backend.script.wait_probes(2)
    assert one.log.count("backend is unhealthy") == 1
    rewrite(one, settings(backend.address))
    one.line("generation serves", "generation=3")
    wait_gone(second)
    ask_until(one, 200)


def test_the_prober_ends_with_its_master_and_leaves_signals_to_it(
    start: LbFactory, origin: OriginFactory
) -> None:
    backend = Switched()
    one = start(checked(origin(backend)))
    pid = prober(one)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        os.kill(pid, number)
    backend.wait_probes(2)
    one.process.kill()
    wait_gone(pid)
    one.may_fail = True


def test_the_prober_opens_its_log_anew(
    start: LbFactory, origin: OriginFactory, tmp_path: Path
) -> None:
    backend = Switched()
    log = tmp_path / "error.log"
    one = start(checked(origin(backend), top={"error_log": str(log)}))
    backend.wait_probes(1)
    log.rename(tmp_path / "old.log")
    one.signal(signal.SIGUSR1)
    while not log.exists():
        backend.wait_probes(1)
    backend.ok = False
    while "backend is unhealthy" not in log.read_text("utf-8"):
        backend.wait_probes(1)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_probes_name_nobody_in_the_proxy_header(
    start: LbFactory, origin: OriginFactory, version: str
) -> None:
    seen: list[bytes] = []
    heard = threading.Event()

    def script(wire: Wire) -> None:
        seen.append(wire.rest())
        heard.set()

    wanted = checked(origin(script), check={"interval": "50ms"})
    wanted["services"][0]["upstream"]["proxy_protocol"] = version
    start(wanted)
    assert heard.wait(PATIENCE)
    local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
    assert seen[0] == (local if version == "v2" else b"PROXY UNKNOWN\r\n")
