"""Clients at a fixed rate notice nothing of reloads, upgrades and killed successors.

A small form of `bench/upgrade.py`; the same load finds what a restart does to clients.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path

import pytest

from bench.load.clients import Mix
from bench.load.swaps import Lb
from bench.upgrade import killed, serving, under_load, wait_listening

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="it makes the certificate"
)
MIX = Mix(fresh=40, kept=60, uploads=4, downloads=4, tunnels=2, secure=10, idle=20)


@pytest.fixture(params=["uvloop", "asyncio", "gevent", "threads"])
def name(request: pytest.FixtureRequest) -> str:
    if request.param in ("uvloop", "gevent"):
        pytest.importorskip(request.param)
    return f"lb, {request.param}"


def test_reloads_and_upgrades_lose_nothing(name: str, tmp_path: Path) -> None:
    with serving(name, tmp_path / "load") as (server, *ports):
        steps = [server.reload, server.upgrade] * 2
        tally = asyncio.run(under_load(MIX, ports, steps, 0.1))
    assert tally.failed == {}, tally.first
    works = {"new connection", "kept connection", "upload", "download", "tunnel"}
    secure = {"new TLS connection", "kept TLS connection"}
    assert set(tally.done) == works | secure | {"idle connection"}


def test_a_new_process_that_is_killed_at_any_time_loses_nothing(
    name: str, tmp_path: Path
) -> None:
    chance = random.Random(name)
    with serving(name, tmp_path / "load") as (server, *ports):
        assert isinstance(server, Lb)
        kills = [lambda: killed(server, chance)] * 2
        tally = asyncio.run(under_load(MIX, ports, kills, 0.1))
    assert tally.failed == {}, tally.first


def test_a_restart_is_noticed(tmp_path: Path) -> None:
    pytest.importorskip("uvloop")
    with serving("lb, uvloop", tmp_path / "load") as (server, *ports):

        def restart() -> None:
            server.stop()
            while (tmp_path / "load" / "lb.pid").exists():
                pass
            server.start()
            wait_listening(ports[0])

        tally = asyncio.run(under_load(MIX, ports, [restart], 0.1))
    assert tally.failed["refused"]
    assert tally.reopened or tally.failed["reset"] or tally.failed["cut off"]
