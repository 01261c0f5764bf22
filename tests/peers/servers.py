"""Other people's servers, on loopback, with everything of theirs in one folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runtimes.wire import PATIENCE

TRIES = 5

NGINX = """
{user}
daemon off;
master_process off;
worker_processes 1;
pid {here}/nginx.pid;
error_log {here}/error.log;
events {{ worker_connections 128; }}
http {{
    access_log off;
    client_body_temp_path {here}/body;
    proxy_temp_path {here}/proxy;
    fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi;
    scgi_temp_path {here}/scgi;
    client_max_body_size 0;
    server {{
        listen 127.0.0.1:{port}{options};
        root {here}/files;
        location /put/ {{ dav_methods PUT; create_full_put_path on; }}
        location /empty {{ return 204; }}
        location /moved {{ return 301 /small; }}
        location /proxied {{
            return 200 "$proxy_protocol_addr $proxy_protocol_port";
        }}
        location /fields {{
            add_header X-Saw-Host $http_host;
            add_header X-Saw-For $http_x_forwarded_for;
            add_header X-Saw-Via $http_via;
            return 200 "ok";
        }}
    }}
}}
"""

HAPROXY = """
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
frontend in
    bind 127.0.0.1:{port}{bind}
    http-request set-header X-Saw-Source %[src]:%[src_port]
    default_backend out
backend out
    server lb {backend}{server}
"""


def need(program: str) -> str:
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Server:
    """A process that listens on a port that was free a moment ago."""

    def __init__(self, command: Callable[[int], list[str]]) -> None:
        for _ in range(TRIES):
            self.port = free_port()
            self.process = subprocess.Popen(
                command(self.port),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if self._is_up():
                return
            self.stop()
        raise AssertionError(f"does not start: {command(self.port)}")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _is_up(self) -> bool:
        tick = threading.Event()
        for _ in range(1000):
            if self.process.poll() is not None:
                return False  # somebody else took the port
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
            except OSError:
                tick.wait(0.01)
            else:
                return self.process.poll() is None
        return False


def nginx(here: Path, options: str = "") -> Server:
    """Serve `here/files`; PUT stores below `/put/`; `options` are of `listen`."""
    program = need("nginx")
    user = "user root;" if os.geteuid() == 0 else ""

    def command(port: int) -> list[str]:
        conf = here / "nginx.conf"
        text = NGINX.format(here=here, port=port, user=user, options=options)
        conf.write_text(text, "utf-8")
        return [
            program,
            "-p",
            str(here),
            "-e",
            str(here / "error.log"),
            "-c",
            str(conf),
        ]

    return Server(command)


def haproxy(here: Path, backend: str, *, bind: str = "", server: str = "") -> Server:
    """Pass everything on to `backend`; the options are of `bind` and `server`."""
    program = need("haproxy")

    def command(port: int) -> list[str]:
        conf = here / "haproxy.cfg"
        text = HAPROXY.format(port=port, backend=backend, bind=bind, server=server)
        conf.write_text(text, "utf-8")
        return [program, "-db", "-f", str(conf)]

    return Server(command)


def http_server(files: Path) -> Server:
    """The standard library's server: HTTP/1.0, closing."""

    def command(port: int) -> list[str]:
        bind = ["--bind", "127.0.0.1", "--directory", str(files)]
        return [sys.executable, "-m", "http.server", *bind, str(port)]

    return Server(command)
