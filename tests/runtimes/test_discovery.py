"""Backends that are found while the balancer runs: in a file, and in DNS."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import Origin, answers, reply
from tests.runtimes.process import Lb, Settings, settings


def found_by(**source: object) -> Settings:
    wanted = settings()
    wanted["services"][0]["upstream"]["backends"] = source
    return wanted


def write(path: Path, *backends: Origin | str) -> None:
    """Replace a file as careful editors do."""
    named = [it if isinstance(it, str) else it.address for it in backends]
    fresh = path.with_suffix(".new")
    fresh.write_text("".join(f"- '{address}'\n" for address in named), "utf-8")
    os.replace(fresh, path)


def bodies(one: Lb, count: int = 6) -> set[bytes]:
    return {one.fetch().body for _ in range(count)}


def ask_until(one: Lb, wanted: set[bytes]) -> None:
    assert any(bodies(one) == wanted for _ in range(300)), wanted


def test_a_file_of_backends_is_watched(
    start: LbFactory, origin: OriginFactory, tmp_path: Path
) -> None:
    first, second = (origin(answers(reply(body))) for body in (b"1", b"2"))
    file = tmp_path / "backends.yaml"
    write(file, first)
    one = start(found_by(file="backends.yaml"))
    assert bodies(one) == {b"1"}
    write(file, first, second)
    line = one.line("backends have changed")
    assert f"added={second.address}" in line
    ask_until(one, {b"1", b"2"})
    write(file, "nonsense")
    line = one.line("backends are not found, the last stay")
    assert "nonsense" in line
    assert bodies(one) == {b"1", b"2"}
    file.unlink()
    one.line("backends are not found, the last stay", "No such file")
    assert bodies(one) == {b"1", b"2"}
    write(file, second)
    one.line("backends are found again")
    ask_until(one, {b"2"})


def test_a_worker_that_is_new_begins_with_the_backends_of_now(
    start: LbFactory, origin: OriginFactory, tmp_path: Path
) -> None:
    first, second = (origin(answers(reply(body))) for body in (b"1", b"2"))
    file = tmp_path / "backends.yaml"
    write(file, first)
    one = start(found_by(file=str(file)))
    one.wait_ready(1)
    write(file, second)
    one.line("backends have changed")
    ask_until(one, {b"2"})
    os.kill(one.workers()[0], 9)
    one.wait_ready(2)
    assert bodies(one) == {b"2"}


class NameServer:
    """Answers every question of DNS with some records."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.records: list[tuple[int, bytes]] | None = []
        """Types and contents; None: it refuses to answer."""
        self.address = f"127.0.0.1:{self.sock.getsockname()[1]}"
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def _answer(self) -> None:
        while True:
            query, peer = self.sock.recvfrom(4096)
            if query == b"end":
                return
            end = query.index(b"\0", 12) + 5
            question, records = query[12:end], self.records
            code = 5 if records is None else 0
            counts = (1, len(records or ()), 0, 0)
            head = query[:2] + struct.pack("!6H", 0x8180 | code, *counts, 0)[:10]
            answer = b"".join(
                struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(data)) + data
                for kind, data in records or ()
            )
            self.sock.sendto(head + question + answer, peer)

    def close(self) -> None:
        self.sock.sendto(b"end", self.sock.getsockname())
        self._thread.join()
        self.sock.close()


@pytest.fixture
def names() -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.close()


def service(origin: Origin, priority: int = 0) -> tuple[int, bytes]:
    """A record of type SRV."""
    port = int(origin.address.rpartition(":")[2])
    target = b"\x09localhost\0"
    return 33, struct.pack("!HHH", priority, 0, port) + target


def test_backends_are_those_that_dns_names(
    start: LbFactory, origin: OriginFactory, names: NameServer
) -> None:
    pytest.importorskip("dns")
    first, second, spare = (origin(answers(reply(body))) for body in (b"1", b"2", b"3"))
    names.records = [service(first), service(spare, priority=9)]
    dns = {"name": "_http._tcp.app.test", "type": "srv", "server": names.address}
    one = start(found_by(dns={**dns, "interval": "200ms"}))
    one.line("backends have changed")
    ask_until(one, {b"1"})
    names.records = [service(first), service(second)]
    ask_until(one, {b"1", b"2"})
    names.records = None
    one.line("backends are not found, the last stay", "REFUSED")
    assert bodies(one) == {b"1", b"2"}
    names.records = []
    one.line("backends are not found, the last stay", "does not contain an answer")
    assert bodies(one) == {b"1", b"2"}
    names.records = [service(second)]
    ask_until(one, {b"2"})


def test_the_addresses_of_a_name_have_one_port(
    start: LbFactory, origin: OriginFactory, names: NameServer
) -> None:
    pytest.importorskip("dns")
    backend = origin()
    port = int(backend.address.rpartition(":")[2])
    names.records = [(1, socket.inet_aton("127.0.0.1"))]
    dns = {"name": "app.test", "port": port, "server": names.address}
    one = start(found_by(dns=dns))
    assert f"added={backend.address}" in one.line("backends have changed")
    ask_until(one, {b"OK"})
