"""Probes in a program's own event loop, and over TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from lbproto.config import Backend, HealthCheck, Upstream
from lbproto.health.monitor import Report
from lbproto.machine.effects import Level, Target
from lbproto.machine.tls import ClientTls
from lbproto_runtimes.logs import Logs
from lbproto_runtimes.probing import Probing
from tests.certificates import Authority
from tests.runtimes.fixtures import OriginFactory
from tests.runtimes.origins import Origin
from tests.runtimes.secured import NAME, TlsOriginFactory, authority, tls_origin
from tests.runtimes.wire import PATIENCE

__all__ = ["authority", "tls_origin"]

CHECK = HealthCheck(interval=0.05)


def upstream(
    origin: Origin, check: HealthCheck = CHECK, tls: ClientTls | None = None
) -> Upstream:
    host, _, port = origin.address.rpartition(":")
    backend = Backend(target=Target(host, int(port)))
    return Upstream(name="web", backends=(backend,), health_check=check, tls=tls)


def first_report(tmp_path: Path, wanted: Upstream, known: bool) -> Report:
    """Probe in a loop of our own until something changes."""
    logs = Logs(str(tmp_path / "log"), Level.INFO)

    async def probe() -> Report:
        reported: asyncio.Future[Report] = asyncio.get_running_loop().create_future()

        def report(reports: Sequence[Report]) -> None:
            if not reported.done():
                reported.set_result(reports[0])

        probing = Probing(logs, report)
        (backend,) = wanted.backends
        probing.watch([wanted], {("web", str(backend.target)): known})
        try:
            async with asyncio.timeout(PATIENCE):
                return await reported
        finally:
            probing.close()

    try:
        return asyncio.run(probe())
    finally:
        logs.close()


def test_a_program_can_probe_in_its_own_loop(
    origin: OriginFactory, tmp_path: Path
) -> None:
    backend = origin()
    report = first_report(tmp_path, upstream(backend), known=False)
    assert report == Report("web", backend.address, True, "")
    backend.close()
    report = first_report(tmp_path, upstream(backend), known=True)
    assert report == Report("web", backend.address, False, "connection refused")
    assert "backend is unhealthy" in (tmp_path / "log").read_text("utf-8")


@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_a_probe_speaks_tls_and_verifies(
    tls_origin: TlsOriginFactory, authority: Authority, tmp_path: Path, kind: str
) -> None:
    backend = tls_origin(authority.issue(NAME))
    check = HealthCheck(type="http" if kind == "http" else "tcp")
    good = ClientTls(sni=NAME, ca_file=authority.ca_file)
    assert first_report(tmp_path, upstream(backend, check, good), known=False).healthy
    bad = ClientTls(sni="other.example", ca_file=authority.ca_file)
    report = first_report(tmp_path, upstream(backend, check, bad), known=True)
    assert not report.healthy
    assert report.reason.startswith("TLS handshake failed: ")
