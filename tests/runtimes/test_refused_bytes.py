"""The catalogue of byte streams over real sockets, whole and byte by byte.

The same rows as in `tests/scenario`, without those that need a configuration, a
clock or a script of their own. After each row a well-formed request goes through
the same balancer, which shows what a refused one left behind: nothing.
"""

from __future__ import annotations

import fcntl
import re
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.runtimes.fixtures import RUNTIMES
from tests.runtimes.origins import OK, Origin, reply
from tests.runtimes.process import Lb, settings
from tests.runtimes.wire import PATIENCE, Wire, dial
from tests.scenario import vectors

SPECIAL = {"steps", "config", "client_then", "delay_ms"}
ROWS = {row["id"]: row for row in vectors.load() if not SPECIAL & set(row)}
PROBE = b"GET /probe HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"
PROBED = reply(b"probed")


class Stage:
    """A balancer, and a backend that plays the row at hand."""

    def __init__(self, runtime: str, conf: Path, **keys: Any) -> None:
        self.row: dict[str, Any] = {}
        self._between: dict[Wire, bool] = {}
        """Whether a connection of the backend is between two requests."""
        self.origin = Origin(self.script)
        keys = {"via": "lb-under-test", **keys}
        self.lb = Lb(runtime, conf, settings(self.origin.address, **keys))

    def close(self) -> None:
        self.lb.finish()
        self.origin.close()
        assert not self.origin.errors

    def script(self, wire: Wire) -> None:
        wire.sock.settimeout(None)  # the next row may be long in coming
        try:
            self._serve(wire)
        finally:
            self._between.pop(wire)

    def _serve(self, wire: Wire) -> None:
        while True:
            self._between[wire] = True
            request = wire.head()
            self._between[wire] = False
            row = self.row
            if row.get("backend_reads") != "head only":
                request = wire.content(request)
            if request.start.startswith(b"GET /probe "):
                wire.send(PROBED)
                continue
            scripted = "backend_text" in row or "backend_bytes_b64" in row
            wire.send(vectors.octets(row, "backend") if scripted else OK)
            if row.get("backend_reads") == "head only":
                wire.content(request)  # it comes, and is no request
            if row.get("backend_then") == "close":
                return
            if row.get("backend_then") == "reset":
                wire.reset()
                return

    @contextmanager
    def playing(self, row: dict[str, Any]) -> Iterator[None]:
        """Play a row; what is `seen` is what came since, and once it is over, all."""
        self.row = row
        self.origin.forget()
        try:
            yield
        finally:
            self._settle()

    def seen(self) -> bytes:
        return self.origin.received

    def _settle(self) -> None:
        """Wait until the backend has read all that was sent to it so far.

        What it reads of one row must not be taken for the next one's.
        """
        count = self.origin.accepted
        with dial(self.origin.address) as last:  # in the queue behind all others
            ours = last.sock.getsockname()
            while not any(_peer(wire) == ours for wire in self.origin.wires[count:]):
                time.sleep(0)
        until = time.monotonic() + PATIENCE
        calm = 0
        while calm < 3:
            assert time.monotonic() < until, "the backend waits for the rest"
            calm = 0 if any(map(self._reads, list(self.origin.wires))) else calm + 1
            time.sleep(0)  # a thread may be between reading and taking note

    def _reads(self, wire: Wire) -> bool:
        try:
            if wire.sock.fileno() < 0:
                return False
            waiting = fcntl.ioctl(wire.sock, termios.FIONREAD, b"\0" * 4)
        except (OSError, ValueError):
            return False  # closed meanwhile
        return any(waiting) or bool(wire.ahead) or not self._between.get(wire, False)


def _peer(wire: Wire) -> object:
    try:
        return wire.sock.getpeername()
    except OSError:
        return None


CHUNK_SIZE = re.compile(rb"\r\n[0-9a-f]{1,4}\r\n")


@pytest.fixture(scope="module", params=[*RUNTIMES, "asyncio h11"])
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    runtime, _, framing = request.param.partition(" ")
    conf = tmp_path_factory.mktemp("bytes") / "conf.yaml"
    one = Stage(runtime, conf, framing=framing or "native")
    yield one
    one.close()


def play(stage: Stage, row: dict[str, Any], *, bytewise: bool) -> tuple[bytes, bytes]:
    """Send a row; return what the client and the backend got of it."""
    data = vectors.octets(row, "client")
    with stage.playing(row), stage.lb.connect() as client:
        if bytewise:
            client.drip(data)
        else:
            client.send(data)
        if row["expect"]["connection"] != "close":
            try:
                # Answered last, so everything before it is there too.
                client.send(PROBE)
            except ConnectionError:
                assert row["expect"]["connection"] == "any"
        got = client.rest()
    if got.endswith(b"probed"):
        got = got[: got.rindex(b"HTTP/1.1 200 OK\r\n")]
    return got, stage.seen()


def check(row: dict[str, Any], got: bytes, seen: bytes) -> None:
    expect = row["expect"]
    found = [int(status) for status in vectors.STATUS.findall(got)]
    final = [status for status in found if status >= 200 or status == 101] or [0]
    assert final[0] in vectors.statuses_of(row), got
    if expect["connection"] == "keep":
        assert b"GET /probe HTTP/1.1\r\n" in seen
    fold = (lambda data: data) if row.get("exact_case") else bytes.lower
    if row.get("head_may_be_forwarded"):
        return
    for side, data in (("backend", seen), ("client", got)):
        # Content that came in pieces may have left in as many chunks.
        joined = CHUNK_SIZE.sub(b"", data)
        for text in expect.get(f"{side}_must_contain", []):
            wanted = fold(text.encode("latin-1"))
            assert wanted in fold(data) or wanted in fold(joined)
        for text in expect.get(f"{side}_must_not_contain", []):
            plain = data.replace(PROBE, b"").partition(b"GET /probe")[0]
            assert fold(text.encode("latin-1")) not in fold(plain)


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("name", ROWS)
def test_what_comes_out_is_what_the_catalogue_says(
    stage: Stage, name: str, bytewise: bool
) -> None:
    row = ROWS[name]
    if bytewise and len(vectors.octets(row, "client")) > 4096:
        pytest.skip("too long to be sent byte by byte")
    got, seen = play(stage, row, bytewise=bytewise)
    check(row, got, seen)
    if row["expect"]["forwarded"] or row.get("head_may_be_forwarded"):
        return
    # Nothing of it may come later, in front of somebody else's request either.
    assert seen in (b"", probe_of(seen))
    with stage.playing(row), stage.lb.connect() as client:
        client.send(PROBE)
        assert client.response().body == b"probed"
    assert stage.seen().startswith(b"GET /probe HTTP/1.1\r\nHost: probe\r\n")


def probe_of(seen: bytes) -> bytes:
    """The probe alone, as a backend gets it; something else if it is not alone."""
    one = seen.count(b"\r\n\r\n") == 1 and seen.startswith(b"GET /probe HTTP/1.1\r\n")
    return seen if one else b"something else"


def test_every_class_of_the_catalogue_is_played() -> None:
    classes = {name.partition("-")[0] for name in ROWS}
    assert {
        "abs",
        "chk",
        "cl",
        "eol",
        "hdr",
        "host",
        "oct",
        "rl",
        "te",
        "tgt",
    } <= classes
    refused = [row for row in ROWS.values() if not row["expect"]["forwarded"]]
    assert len(refused) >= 100
