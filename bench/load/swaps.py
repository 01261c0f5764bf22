"""Servers that are reloaded and replaced under load, each by its own means."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from bench.programs import nginx_binary, program
from tests.children import environment

__all__ = ["SERVERS", "HAProxy", "Lb", "Nginx", "Server"]

PATIENCE: Final = 30.0


class Server(Protocol):
    """A server in the background, that can be changed while it runs."""

    def start(self) -> None:
        """Begin to serve."""
        ...

    def reload(self) -> None:
        """Have it read its file again."""
        ...

    def upgrade(self) -> None:
        """Put a new process of it in its place."""
        ...

    def pid(self) -> int:
        """Return the process that serves."""
        ...

    def stop(self) -> None:
        """End it."""
        ...


class Lb:
    """`lb` of this tree."""

    def __init__(
        self,
        runtime: str,
        folder: Path,
        ports: tuple[int, int],
        backend: int,
        bake: str = "2s",
    ) -> None:
        self._folder = folder
        conf = folder / "conf.yaml"
        files = f"cert: {folder}/cert.pem, key: {folder}/key.pem"
        conf.write_text(
            f"""\
version: 1
runtime: {runtime}
pid_file: {folder}/lb.pid
error_log: {folder}/lb.log
upgrade_sock: {folder}/lb.sock
upgrade_bake: {bake}
services:
  - name: web
    listen:
      - 127.0.0.1:{ports[0]}
      - {{address: "127.0.0.1:{ports[1]}", tls: {{certificates: [{{{files}}}]}}}}
    upgrades: [echo]
    upstream: {{backends: ["127.0.0.1:{backend}"]}}
""",
            "utf-8",
        )
        self._command = [sys.executable, "-m", "lbproto_cli", "-c", str(conf), "-d"]

    def start(self) -> None:
        self._run()

    def reload(self) -> None:
        before = self._log().count("generation serves")
        os.kill(self.pid(), signal.SIGHUP)
        wait_for(lambda: self._log().count("generation serves") > before)

    def upgrade(self) -> None:
        os.kill(self.pid(), signal.SIGQUIT)
        self._run("-u")

    def successor(self) -> subprocess.Popen[bytes]:
        """Begin an upgrade whose new process somebody is going to kill."""
        return subprocess.Popen(
            [*self._command[:-1], "-u"],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def pid(self) -> int:
        return int((self._folder / "lb.pid").read_text("ascii"))

    def stop(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            os.kill(self.pid(), signal.SIGINT)

    def _run(self, *args: str) -> None:
        subprocess.run(
            [*self._command, *args],
            check=True,
            env=environment(),
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE,
        )

    def _log(self) -> str:
        return (self._folder / "lb.log").read_text("utf-8", "replace")


class Nginx:
    """nginx: HUP for a reload, USR2 and QUIT for another binary."""

    def __init__(self, folder: Path, ports: tuple[int, int], backend: int) -> None:
        self._folder = folder
        user = "user root;\n" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(
            user
            + f"""\
worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log error;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000; client_max_body_size 10m;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2;
  fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4;
  scgi_temp_path {folder}/t5;
  upstream web {{ server 127.0.0.1:{backend}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{ports[0]} backlog=4096;
    listen 127.0.0.1:{ports[1]} ssl backlog=4096;
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    location / {{
      proxy_pass http://web; proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
    location /echo {{
      proxy_pass http://web; proxy_http_version 1.1;
      proxy_set_header Connection upgrade; proxy_set_header Upgrade $http_upgrade;
    }}
  }}
}}
""",
            "utf-8",
        )

    def start(self) -> None:
        conf = str(self._folder / "nginx.conf")
        subprocess.run(
            [nginx_binary(), "-c", conf, "-p", str(self._folder)],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        wait_for((self._folder / "nginx.pid").exists)

    def reload(self) -> None:
        os.kill(self.pid(), signal.SIGHUP)

    def upgrade(self) -> None:
        old, moved = self.pid(), self._folder / "nginx.pid.oldbin"
        wait_for(lambda: not moved.exists())
        os.kill(old, signal.SIGUSR2)
        file = self._folder / "nginx.pid"
        wait_for(lambda: moved.exists() and file.exists() and self.pid() != old)
        time.sleep(0.2)  # nothing tells that the new workers are there
        os.kill(old, signal.SIGQUIT)

    def pid(self) -> int:
        return int((self._folder / "nginx.pid").read_text("ascii"))

    def stop(self) -> None:
        for name in ("nginx.pid", "nginx.pid.oldbin"):
            with contextlib.suppress(OSError, ValueError):
                pid = int((self._folder / name).read_text("ascii"))
                os.kill(pid, signal.SIGTERM)


class HAProxy:
    """HAProxy: a new process takes the sockets over (`-x`) and ends the old (`-sf`)."""

    def __init__(self, folder: Path, ports: tuple[int, int], backend: int) -> None:
        self._folder = folder
        both = (folder / "cert.pem").read_text() + (folder / "key.pem").read_text()
        (folder / "both.pem").write_text(both)
        (folder / "haproxy.cfg").write_text(
            f"""\
global
  nbthread 1
  maxconn 4096
  stats socket {folder}/stats.sock mode 600 level admin expose-fd listeners
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  http-reuse always
listen web
  bind 127.0.0.1:{ports[0]} backlog 4096
  bind 127.0.0.1:{ports[1]} ssl crt {folder}/both.pem backlog 4096
  server one 127.0.0.1:{backend} pool-max-conn 64
""",
            "utf-8",
        )

    def start(self) -> None:
        self._run()

    def reload(self) -> None:
        self.upgrade()  # there is no other way

    def upgrade(self) -> None:
        old = str(self.pid())
        self._run("-x", str(self._folder / "stats.sock"), "-sf", old)

    def pid(self) -> int:
        return int((self._folder / "haproxy.pid").read_text("ascii").split()[0])

    def stop(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            os.kill(self.pid(), signal.SIGTERM)

    def _run(self, *args: str) -> None:
        files = ["-f", str(self._folder / "haproxy.cfg")]
        files += ["-p", str(self._folder / "haproxy.pid")]
        subprocess.run(
            [program("haproxy"), "-q", "-D", *files, *args],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


Start = Callable[[Path, tuple[int, int], int], Server]

SERVERS: Final[dict[str, Start]] = {
    **{
        f"lb, {it}": partial(Lb, it)
        for it in ("uvloop", "asyncio", "gevent", "threads")
    },
    "nginx": Nginx,
    "HAProxy": HAProxy,
}


def wait_for(true: Callable[[], object]) -> None:
    """Return when something holds.

    Raises:
        TimeoutError: it never did.
    """
    until = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > until:
            raise TimeoutError("waited in vain")
        time.sleep(0.01)


def wait_gone(pid: int) -> None:
    """Return when a process is over, though its parent may not have noticed."""
    try:
        end = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(end, select.POLLIN)
    poll.poll(PATIENCE * 1000)
    os.close(end)
