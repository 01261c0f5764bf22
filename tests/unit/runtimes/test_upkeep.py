"""Looking after a load balancer in a program's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from lbproto import Backend, HealthCheck, LoadBalancer, TcpHealthCheck
from lbproto.health.monitor import Report
from lbproto.machine.effects import Level
from lbproto_runtimes import Upkeep
from lbproto_runtimes.logs import Logs
from tests.runtimes.fixtures import OriginFactory, origin
from tests.runtimes.wire import PATIENCE

__all__ = ["origin"]

A, B = "10.0.0.1:80", "10.0.0.2:80"


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    found = Logs(str(tmp_path / "log"), Level.INFO)
    yield found
    found.close()


def keep(
    upstreams: LoadBalancer, logs: Logs, true: Callable[[], object] | None = None
) -> list[str]:
    """Look after it until something holds, or to the end; return what is told."""
    told: list[str] = []
    held = asyncio.Event()

    def note(line: str) -> None:
        told.append(line)
        if true is not None and true():
            held.set()

    def reported(reports: Sequence[Report]) -> None:
        for it in reports:
            note(f"{it.backend} {it.healthy} {it.reason}")

    def found(name: str, backends: tuple[Backend, ...]) -> None:
        note(" ".join([name, *(str(it.target) for it in backends)]))

    async def run() -> None:
        upkeep = Upkeep("web", upstreams, logs, reported=reported, found=found)
        keeping = asyncio.create_task(upkeep.run())
        async with asyncio.timeout(PATIENCE):
            if true is None:
                await keeping
                return
            await held.wait()
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping

    asyncio.run(run())
    return told


def test_nothing_is_done_where_nothing_is_wanted(logs: Logs) -> None:
    upstreams = LoadBalancer.try_from_iter([A])
    asyncio.run(Upkeep("web", upstreams, logs).run())
    assert upstreams.ready(A)


def test_a_probe_of_ours_tells_the_load_balancer(
    origin: OriginFactory, logs: Logs
) -> None:
    backend = origin()
    upstreams = LoadBalancer.try_from_iter([backend.address])
    upstreams.set_health_check(TcpHealthCheck())
    upstreams.health_check_frequency = 0.01
    upstreams.set_health(backend.address, False)
    told = keep(upstreams, logs, lambda: upstreams.ready(backend.address))
    assert told == [f"{backend.address} True "]
    backend.close()
    told = keep(upstreams, logs, lambda: not upstreams.ready(backend.address))
    assert told == [f"{backend.address} False connection refused"]


def test_backends_that_are_discovered_are_probed(
    origin: OriginFactory, logs: Logs
) -> None:
    first, second = origin(), origin()
    second.close()

    class Growing:
        looks = 0

        def discover(self) -> list[str]:
            self.looks += 1
            if self.looks == 2:
                raise OSError("nobody answers")
            return [first.address, second.address][: self.looks]

    upstreams = LoadBalancer.from_backends(Growing())
    upstreams.update_frequency = 0.01
    upstreams.set_health_check(HealthCheck(interval=0.01))
    told = keep(upstreams, logs, lambda: not upstreams.healthy(second.address))
    assert told == [
        f"web {first.address}",
        f"web {first.address} {second.address}",
        f"{second.address} False connection refused",
    ]


class Marked:
    """Backends in `ill` are not well."""

    def __init__(self, *ill: str, how: str = "False") -> None:
        self.ill = ill
        self.how = how
        self.looks: list[str] = []

    def check(self, backend: Backend) -> bool | None:
        address = str(backend.target)
        self.looks.append(address)
        if address not in self.ill:
            return None
        if self.how == "raises":
            raise ConnectionError
        return False


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize(
    ("how", "reason"), [("False", "the check says so"), ("raises", "ConnectionError")]
)
def test_a_check_of_ones_own_runs_once_unless_told_otherwise(
    logs: Logs, parallel: bool, how: str, reason: str
) -> None:
    upstreams = LoadBalancer.try_from_iter([A, B])
    check = Marked(A, how=how)
    upstreams.set_health_check(check)
    upstreams.parallel_health_check = parallel
    assert keep(upstreams, logs) == [f"{A} False {reason}"]
    assert sorted(check.looks) == [A, B]
    assert not upstreams.ready(A)
    assert upstreams.ready(B)


def test_a_check_of_ones_own_has_thresholds(logs: Logs) -> None:
    class Patient(Marked):
        async def check(self, backend: Backend) -> bool | None:  # type: ignore[override]
            return Marked.check(self, backend)

        def health_threshold(self, success: bool) -> int:
            return 2 if success else 3

    upstreams = LoadBalancer.try_from_iter([A])
    upstreams.health_check_frequency = 0.001
    check = Patient(A)
    upstreams.set_health_check(check)
    keep(upstreams, logs, lambda: not upstreams.ready(A))
    assert len(check.looks) >= 3
    check.ill = ()
    check.looks.clear()
    keep(upstreams, logs, lambda: upstreams.ready(A))
    assert len(check.looks) >= 2


def test_the_log_says_what_changes(logs: Logs, tmp_path: Path) -> None:
    upstreams = LoadBalancer.try_from_iter([A])
    check = Marked(A)
    upstreams.set_health_check(check)
    asyncio.run(Upkeep("web", upstreams, logs).run())
    check.ill = ()
    asyncio.run(Upkeep("web", upstreams, logs).run())
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == [
        f"warning backend is unhealthy upstream=web backend={A} "
        'reason="the check says so"',
        f"info backend is healthy upstream=web backend={A}",
    ]
