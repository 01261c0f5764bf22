"""curl in front; nginx, HAProxy and the standard library's server around."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers import servers
from tests.peers.servers import Server
from tests.runtimes.bulk import BLOCK, digest
from tests.runtimes.fixtures import LbFactory
from tests.runtimes.process import Lb, curl


def sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


@pytest.fixture
def one(lb: LbFactory, nginx: Server) -> Lb:
    """A balancer in front of nginx."""
    return lb(nginx.address)


def test_small_things_from_nginx(one: Lb, folder: Any) -> None:
    assert curl(one.url("/small")) == b"small\n"
    head = curl("-I", one.url("/large"))
    assert b"HTTP/1.1 200 OK\r\n" in head
    assert f"Content-Length: {folder.size}\r\n".encode() in head
    assert curl("-w", "%{http_code}", one.url("/empty")) == b"204"
    assert b"404 Not Found" in curl(one.url("/nothing-here"))
    assert curl("-L", "-w", "%{num_redirects}", one.url("/moved")) == b"small\n1"


def test_nginx_sees_who_asked(one: Lb) -> None:
    head = curl("-i", "-H", "Host: www.example", one.url("/fields"))
    assert b"X-Saw-Host: www.example\r\n" in head
    assert b"X-Saw-For: 127.0.0.1\r\n" in head
    assert b"X-Saw-Via: 1.1 lb\r\n" in head


def test_several_requests_share_curls_connection(one: Lb) -> None:
    urls = [one.url("/small")] * 5
    got = curl("-w", "%{num_connects} ", *urls)
    assert got.replace(b"small\n", b"") == b"1 0 0 0 0 "


def test_a_large_file_comes_whole_from_nginx(one: Lb, folder: Any) -> None:
    assert sha1(curl(one.url("/large"))) == digest(folder.size)


def test_a_large_file_comes_whole_to_a_10_client(one: Lb, folder: Any) -> None:
    got = curl("--http1.0", one.url("/large"))
    assert sha1(got) == digest(folder.size)


def test_many_at_once_come_whole(one: Lb, tmp_path: Path, folder: Any) -> None:
    wanted: list[str] = []
    for n in range(4):
        wanted += ["-o", str(tmp_path / f"got{n}"), one.url("/large")]
    curl("--parallel", "--parallel-immediate", *wanted)
    for n in range(4):
        assert sha1((tmp_path / f"got{n}").read_bytes()) == digest(folder.size)


def test_ranges_pass(one: Lb) -> None:
    got = curl("-i", "-r", "1000-1099", one.url("/large"))
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 206 Partial Content")
    assert body == BLOCK[1000:1100]


def test_an_unchanged_file_is_a_304(one: Lb) -> None:
    head = curl("-I", one.url("/small")).decode()
    tag = next(line for line in head.split("\r\n") if line.startswith("ETag: "))
    match = tag.replace("ETag", "If-None-Match")
    got = curl("-H", match, "-w", "%{http_code}", one.url("/small"))
    assert got == b"304"


def test_a_large_upload_reaches_nginx_whole(one: Lb, folder: Any) -> None:
    large = str(folder.files / "large")
    code = curl("-T", large, "-w", "%{http_code}", one.url("/put/counted"))
    assert code in (b"201", b"204")
    assert sha1((folder.files / "put/counted").read_bytes()) == digest(folder.size)


def test_an_upload_of_unknown_length_reaches_nginx_whole(one: Lb, folder: Any) -> None:
    body = BLOCK * 40
    code = curl("-T", "-", "-w", "%{http_code}", one.url("/put/chunked"), stdin=body)
    assert code in (b"201", b"204")
    assert (folder.files / "put/chunked").read_bytes() == body


def test_curl_waits_for_100_and_gets_it(one: Lb, tmp_path: Path, folder: Any) -> None:
    trace = tmp_path / "trace"
    body = tmp_path / "body"
    body.write_bytes(BLOCK * 8)
    curl(
        *("--expect100-timeout", "30", "-H", "Expect: 100-continue"),
        *("-T", str(body), "--trace-ascii", str(trace), one.url("/put/expected")),
    )
    told = trace.read_text("latin-1")
    assert "HTTP/1.1 100 Continue" in told
    assert told.index("HTTP/1.1 100 Continue") < told.index("Send data")
    assert (folder.files / "put/expected").read_bytes() == BLOCK * 8


def test_the_standard_librarys_server(
    lb: LbFactory, http_server: Server, folder: Any
) -> None:
    one = lb(http_server.address)
    assert curl(one.url("/small"), one.url("/small")) == b"small\n" * 2
    assert sha1(curl(one.url("/large"))) == digest(folder.size)
    assert b"small" in curl(one.url("/"))
    assert b"HTTP/1.1 501 " in curl("-i", "-d", "x", one.url("/small"))


@pytest.fixture
def outer(one: Lb, tmp_path: Path) -> Iterator[Server]:
    """HAProxy in front of the balancer."""
    server = servers.haproxy(tmp_path, one.address())
    yield server
    server.stop()


def test_haproxy_in_front(outer: Server, folder: Any) -> None:
    url = f"http://{outer.address}"
    assert curl(f"{url}/small", f"{url}/small") == b"small\n" * 2
    assert sha1(curl(f"{url}/large")) == digest(folder.size)
    large = str(folder.files / "large")
    assert curl("-T", large, "-w", "%{http_code}", f"{url}/put/outer") in (
        b"201",
        b"204",
    )
    assert sha1((folder.files / "put/outer").read_bytes()) == digest(folder.size)


def test_two_balancers_in_a_row(one: Lb, lb: LbFactory, folder: Any) -> None:
    front = lb(one.address(), via="front")
    head = curl("-i", front.url("/fields"))
    assert b"X-Saw-Via: 1.1 front" in head  # old ones show the first line alone
    assert sha1(curl(front.url("/large"))) == digest(folder.size)
