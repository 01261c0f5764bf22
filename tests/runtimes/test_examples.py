"""The examples do what they say."""

from __future__ import annotations

import subprocess
import sys

from tests.runtimes.process import ROOT, environment


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
