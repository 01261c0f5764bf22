"""The backends of the demo, over real sockets."""

from __future__ import annotations

import http.client
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from lbproto_cli.announce import tell_demo
from lbproto_cli.demo import demo_backends

if TYPE_CHECKING:
    from lbproto.machine.effects import Target


def test_the_demo_runs_where_nobody_can_read_how_to_try_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open("/dev/full", "w", encoding="ascii") as full:
        monkeypatch.setattr(sys, "stdout", full)
        tell_demo(["backend 1 listens on a:1"], [])
        full.flush()


def read_all(target: Target, request: bytes) -> bytes:
    with socket.create_connection((target.host, target.port), timeout=10) as sock:
        sock.sendall(request)
        return b"".join(iter(lambda: sock.recv(65536), b""))


@pytest.mark.parametrize("method", ["GET", "POST", "BREW"])
def test_any_method_is_answered_with_the_backends_name(method: str) -> None:
    with demo_backends(2) as targets:
        for number, target in enumerate(targets, 1):
            client = http.client.HTTPConnection(target.host, target.port, timeout=10)
            for _ in range(2):
                client.request(method, "/a?b", body=b"x" * 100_000)
                response = client.getresponse()
                assert (response.status, response.version) == (200, 11)
                assert response.read().decode() == (
                    f"hello from backend {number} ({target})\n{method} /a?b HTTP/1.1\n"
                )
            client.close()


def test_head_has_no_content() -> None:
    with demo_backends(1) as (target,):
        got = read_all(
            target, b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        head, _, content = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert content == b""


def test_chunked_content_is_read_to_its_end() -> None:
    with demo_backends(1) as (target,):
        got = read_all(
            target,
            b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n"
            b"GET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        )
        assert got.count(b"HTTP/1.1 200 OK") == 2
        assert got.endswith(b"\nGET /2 HTTP/1.1\n")


@pytest.mark.parametrize(
    "rest",
    [
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"Content-Length: x\r\n\r\n",
    ],
)
def test_content_in_doubt_ends_the_connection(rest: bytes) -> None:
    with demo_backends(1) as (target,):
        got = read_all(target, b"POST / HTTP/1.1\r\nHost: a\r\n" + rest)
        assert b"\r\nConnection: close\r\n" in got
