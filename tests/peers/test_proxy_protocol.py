"""PROXY headers, exchanged with HAProxy and nginx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.peers import servers
from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import Recorder
from tests.runtimes.process import curl
from tests.runtimes.wire import dial

TRUSTED: Any = {
    "listen": [{"address": "127.0.0.1:0", "proxy_protocol": True}],
    "trusted_proxies": ["127.0.0.0/8"],
}


@pytest.mark.parametrize(
    "option", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c"]
)
def test_haproxy_in_front_names_its_clients(
    lb: LbFactory, origin: OriginFactory, tmp_path: Path, option: str
) -> None:
    recorder = Recorder()
    one = lb(origin(recorder), **TRUSTED, via=None)
    front = servers.haproxy(tmp_path, one.address(), server=f" {option}")
    try:
        with dial(front.address) as client:
            # Loopback in IPv4 has as many addresses as one likes.
            port = client.sock.getsockname()[1]
            assert client.ask().body == b"OK"
    finally:
        front.stop()
    (request,) = recorder.requests
    assert request.get("X-Saw-Source") == f"127.0.0.1:{port}".encode()
    # The client is a trusted proxy itself here, so HAProxy's word counts too.
    assert request.all("X-Forwarded-For") == [b"127.0.0.1"]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_haproxy_behind_learns_who_the_client_is(
    lb: LbFactory, origin: OriginFactory, tmp_path: Path, version: str
) -> None:
    recorder = Recorder()
    behind = servers.haproxy(tmp_path, origin(recorder).address, bind=" accept-proxy")
    try:
        one = lb(upstream={"backends": [behind.address], "proxy_protocol": version})
        for _ in range(2):
            with one.connect() as client:
                port = client.sock.getsockname()[1]
                assert client.ask().body == b"OK"
                assert client.ask().body == b"OK"
            sources = [request.get("X-Saw-Source") for request in recorder.requests]
            assert sources[-2:] == [f"127.0.0.1:{port}".encode()] * 2
    finally:
        behind.stop()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_nginx_behind_learns_who_the_client_is(
    lb: LbFactory, tmp_path: Path, version: str
) -> None:
    (tmp_path / "files").mkdir()
    behind = servers.nginx(tmp_path, " proxy_protocol")
    try:
        one = lb(upstream={"backends": [behind.address], "proxy_protocol": version})
        with one.connect() as client:
            host, port = client.sock.getsockname()
            said = f"{host} {port}".encode()
            assert client.ask("/proxied").body == said
            assert client.ask("/proxied").body == said
        assert curl(one.url("/proxied")).startswith(b"127.0.0.1 ")
    finally:
        behind.stop()
