"""The rows of the catalogue that need a configuration, a clock or a script.

The same rows as in `tests/scenario`, over real sockets: each configuration is a
balancer of its own, and a script is played by a client and a backend that do nothing
by themselves. The clock is the real one; what a row says of seconds is shortened, and
a test waits for what is to come, never for a time to pass, unless the script says so.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lbproto.testing import cuts
from tests.runtimes.fixtures import RUNTIMES
from tests.runtimes.origins import Origin
from tests.runtimes.process import Lb, settings
from tests.runtimes.test_refused_bytes import SPECIAL, Stage, check, play
from tests.runtimes.wire import PATIENCE, Wire
from tests.scenario import vectors

ELSEWHERE = {
    "lim-connections": "the file wants room for one client; see test_bounds",
    "own-cl-any-over-zero": "the file has null for no limit, and no 0",
    "own-cl-none-of-zero": "the same",
    "pool-connect-timeout": "nothing on loopback is silent; see test_balancing",
}
"""Rows that are not played here, and why."""

ROWS = {
    row["id"]: row
    for row in vectors.load()
    if SPECIAL & set(row) and row["id"] not in ELSEWHERE
}
SCALE = 0.3
"""What a second of a row lasts here."""

NAMES = {"allow_upgrade": "upgrades", "via_pseudonym": "via"}


def service_keys(overrides: dict[str, Any]) -> dict[str, Any]:
    """Say a row's configuration in the words of the file."""
    keys: dict[str, Any] = {}
    for key, value in overrides.items():
        if key in vectors.LIMITS:
            keys.setdefault("limits", {})[vectors.LIMITS[key]] = value
        elif key in vectors.TIMEOUTS:
            seconds = keys.setdefault("timeouts", {})
            seconds[vectors.TIMEOUTS[key]] = value * SCALE
        elif key == "deny_path":
            denied = {"match": {"path": value}, "respond": {"status": 403}}
            keys["routes"] = [denied]
        else:
            keys[NAMES.get(key, key)] = value
    return keys


def until(true: Callable[[], object], what: str) -> None:
    """Wait until something holds that another thread sees to."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.001)


class Stages:
    """A balancer for each configuration, of one runtime."""

    def __init__(self, runtime: str, framing: str, folder: Path) -> None:
        self.runtime, self.framing, self.folder = runtime, framing, folder
        self._stages: dict[str, Stage] = {}

    def of(self, row: dict[str, Any]) -> Stage:
        name = json.dumps(row.get("config", {}), sort_keys=True)
        if name not in self._stages:
            keys = service_keys(row.get("config", {}))
            conf = self.folder / f"conf{len(self._stages)}.yaml"
            self._stages[name] = Stage(self.runtime, conf, framing=self.framing, **keys)
        return self._stages[name]

    def close(self) -> None:
        for stage in self._stages.values():
            stage.close()


@pytest.fixture(scope="module", params=[*RUNTIMES, "asyncio h11"])
def stages(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stages]:
    runtime, _, framing = request.param.partition(" ")
    if runtime in ("uvloop", "gevent"):
        pytest.importorskip(runtime)
    made = Stages(runtime, framing or "native", tmp_path_factory.mktemp("scripts"))
    yield made
    made.close()


# -- rows without a script -----------------------------------------------------


def perform(stage: Stage, row: dict[str, Any]) -> tuple[bytes, bytes]:
    """Send a row in its own way; return what the client and the backend got of it."""
    tunnels = 101 in vectors.statuses_of(row)
    if not tunnels and not {"client_then", "delay_ms"} & set(row):
        return play(stage, row, bytewise=False)
    if tunnels:  # it ends with the backend
        row = {**row, "backend_then": "close"}
    data = vectors.octets(row, "client")
    with stage.playing(row), stage.lb.connect() as client:
        pause = row.get("delay_ms", 0) / 1000 * SCALE
        with contextlib.suppress(ConnectionError):
            for piece in cuts.bytewise(data) if pause else [data]:
                client.send(piece)
                time.sleep(pause)
        if row["expect"]["forwarded"]:
            # A client that ends sooner is not worth a connection.
            until(stage.seen, "nothing was forwarded")
        if row.get("client_then") == "reset":
            client.reset()
            got = b""
        else:
            if row.get("client_then") == "half_close":
                client.end()
            got = client.rest()
    return got, stage.seen()


PLAIN = [name for name, row in ROWS.items() if "steps" not in row]


@pytest.mark.parametrize("name", PLAIN)
def test_a_row_in_its_own_way(stages: Stages, name: str) -> None:
    row = ROWS[name]
    got, seen = perform(stages.of(row), row)
    check(row, got, seen)
    if not row["expect"]["forwarded"] and not row.get("head_may_be_forwarded"):
        assert b"GET /probe" in seen or seen == b""


# -- rows with a script --------------------------------------------------------


def unused() -> str:
    """An address of loopback where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


class Script:
    """Two clients and a backend that do what the steps say."""

    def __init__(self, stages: Stages, row: dict[str, Any], conf: Path) -> None:
        self.row = row
        self.origin = Origin(self._backend)
        self._resets = False
        self._ended: set[Wire] = set()
        keys = {"framing": stages.framing, **service_keys(row.get("config", {}))}
        address = self.origin.address
        if any("backend_refuses" in step for step in row["steps"]):
            address = unused()
        self.lb = Lb(stages.runtime, conf, settings(address, **keys))
        self.clients: dict[str, Wire] = {}
        self._asked = 0
        """Heads that clients have sent."""
        self._answered = 0
        """Bytes that the client had when the backend last spoke."""

    def close(self) -> None:
        self.lb.finish()
        self.origin.close()
        assert not self.origin.errors

    def _backend(self, wire: Wire) -> None:
        try:
            while wire.more():
                if self._resets:
                    self._resets = False
                    wire.reset()
                    return
        finally:
            self._ended.add(wire)

    def play(self) -> None:
        for step in self.row["steps"]:
            for name, value in step.items():
                getattr(self, f"step_{name}")(value)

    def _say(self, who: str, text: str) -> None:
        if self.clients:
            # What was answered is over here, too, before the next request comes.
            self._read("client", lambda got: len(got) > self._answered)
        if who not in self.clients:
            self.clients[who] = self.lb.connect()
        self._asked += text.count(" HTTP/1.")
        self.clients[who].send(text.encode("latin-1"))

    def _read(self, who: str, enough: Callable[[bytes], bool]) -> bytes:
        wire = self.clients[who]
        with contextlib.suppress(ConnectionError):
            while not enough(wire.received) and wire.more():
                pass
        return wire.received

    def step_client(self, text: str) -> None:
        self._say("client", text)

    def step_client2(self, text: str) -> None:
        self._say("client2", text)

    def step_backend(self, text: str) -> None:
        self.step_backend_sees_head(True)
        self._answered = len(self.clients["client"].received)
        with contextlib.suppress(OSError):  # it may be closed already
            self.origin.wires[-1].send(text.encode("latin-1"))

    def step_backend_sees_head(self, _: bool) -> None:
        # A pipelined request comes only after the response to the one before.
        wires = self.origin.wires
        until(lambda: wires and b"\r\n\r\n" in wires[-1].received, "no head")

    def step_backend_sees(self, text: str) -> None:
        wanted = text.encode("latin-1")
        until(lambda: wanted in self.origin.received, f"backend does not see {text!r}")

    def step_client_sees(self, text: str) -> None:
        wanted = text.encode("latin-1")
        assert wanted in self._read("client", lambda got: wanted in got)

    def step_backend_close(self, _: bool) -> None:
        self.origin.wires[-1].sock.shutdown(socket.SHUT_WR)
        self.step_backend_sees_end(True)

    def step_backend_sees_end(self, _: bool) -> None:
        wire = self.origin.wires[-1]
        until(lambda: wire in self._ended, "the connection is kept")

    def step_backend_reset_on_next_request(self, _: bool) -> None:
        self._resets = True

    def step_new_backend_connection(self, _: bool) -> None:
        self.origin.wait_accepted(2)

    def step_wait_ms(self, milliseconds: int) -> None:
        time.sleep(milliseconds / 1000 * SCALE)

    def step_backend_refuses(self, _: bool) -> None:
        pass

    def judge(self) -> None:
        row, expect = self.row, self.row["expect"]
        asked = sum(step.get("client", "").count(" HTTP/1.") for step in row["steps"])

        def answered(got: bytes) -> bool:
            finals = [one for one in vectors.STATUS.findall(got) if one[:1] != b"1"]
            switched = b"HTTP/1.1 101 " in got
            texts = expect.get("client_must_contain", [])
            there = all(text.encode("latin-1").lower() in got.lower() for text in texts)
            return there and (switched or len(finals) >= asked)

        got = self._read("client", answered)
        found = [int(status) for status in vectors.STATUS.findall(got)]
        finals = [status for status in found if status >= 200 or status == 101]
        assert (finals or [0])[-1] in vectors.statuses_of(row), got
        seen = self.origin.received
        for side, data in (("backend", seen), ("client", got)):
            for text in expect.get(f"{side}_must_contain", []):
                assert text.encode("latin-1").lower() in data.lower()
            for text in expect.get(f"{side}_must_not_contain", []):
                assert text.encode("latin-1").lower() not in data.lower()
        if "client2" in self.clients:
            second = self._read("client2", lambda got: got.endswith(b"OK"))
            assert second.startswith(b"HTTP/1.1 200 OK\r\n")
            for text in expect.get("client_must_not_contain", []):
                assert text.encode("latin-1") not in second


SCRIPTED = [name for name, row in ROWS.items() if "steps" in row]


@pytest.mark.parametrize("name", SCRIPTED)
def test_a_script(stages: Stages, name: str, tmp_path: Path) -> None:
    script = Script(stages, ROWS[name], tmp_path / "conf.yaml")
    try:
        script.play()
        script.judge()
    finally:
        script.close()
