"""The examples do what they say."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.children import environment
from tests.runtimes.process import ROOT


def run(name: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / name)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_a_gateway_in_ones_own_loop() -> None:
    assert run("embed_asyncio.py") == ["b1", "b2", "b1", "b2"]


def test_the_core_over_plain_sockets() -> None:
    lines = run("embed_sync.py")
    assert [line for line in lines if line in ("Connect", "Send", "Park", "Close")] == [
        "Connect",
        "Send",
        "Send",
        "Park",
        "Close",
    ]
    assert "HTTP/1.1 200 OK" in lines
    assert lines[-1] == "hello"


def test_selection_and_health_inside_a_client_of_http() -> None:
    pytest.importorskip("httpx")
    first, sick, gone, asked, well, again = run("httpx_transport.py")
    assert first == "['one', 'two', 'one', 'two']"
    assert sick.startswith("backend becomes unhealthy 127.0.0.1:")
    assert sick.endswith("status 503")
    assert gone.startswith("backend becomes unhealthy 127.0.0.1:")
    assert asked == "['one', 'one', 'one']"
    assert well.startswith("backend becomes healthy 127.0.0.1:")
    assert sorted(eval_list(again)) == ["one", "two"]


def eval_list(text: str) -> list[str]:
    return [str(one) for one in ast.literal_eval(text)]


def test_the_handshake_of_upgrades_inside_another_server() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / "echo_upgrade.py")],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        check=False,
    )
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        ["old: hello", "old: first", "new: hello", "old: last", "new: hello"],
    )
    assert "Traceback" not in done.stderr
