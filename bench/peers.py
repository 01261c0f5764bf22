"""The proxies that are compared, and how each is configured.

All do the same work: HTTP/1.1 kept alive on both sides, no access log, and everything
that is on by default stays on. What is not default is what the work needs, and is
written here: connections kept to backends and no buffering of events for nginx, no
gathering of them for HAProxy, the upgrade to WebSocket for nginx and Envoy, room for
many connections. Without the second and the third a stream of events would arrive in
lumps, which is less work, and not what was asked for.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench import programs
from bench.programs import Missing

__all__ = ["BASE", "PEERS", "Peer", "Work", "find", "versions"]

NUMBER: Final = re.compile(r"\d+\.\d+\.\d+")
BASE: Final = "nginx"
"""All ratios are to this one."""
FOLDERS: Final = ("", "bin", "lib/python*/site-packages/*/*bin")


class Work(NamedTuple):
    """What a proxy is started for."""

    backends: Sequence[str]
    """Each `address:port`."""
    places: Sequence[Path] = ()
    """Where programs are looked for, after PATH."""
    workers: int = 1
    pool: int = 128
    """Idle connections to backends that may be kept."""
    connections: int = 8000
    """Most connections at a time."""


Configure = Callable[[Path, int, Work], list[str]]
"""Write the configuration into a folder, to listen here; return the command."""


class Peer(NamedTuple):
    """A proxy: how it is started, and how to ask for its version."""

    configure: Configure
    version: Callable[[Work], list[str]]
    workers: bool = False
    """Its workers are processes, so each can be looked at."""


def find(name: str, places: Sequence[Path]) -> str:
    """Find a program on PATH, in a folder, or in a virtual environment.

    Raises:
        Missing: it is nowhere.
    """
    with contextlib.suppress(Missing):
        return programs.program(name)
    for place in places:
        for folder in reversed(FOLDERS):
            for inner in ("", "*/"):
                for file in sorted(place.glob(f"{folder}/{inner}{name}".lstrip("/"))):
                    if file.is_file():
                        file.chmod(file.stat().st_mode | 0o100)
                        return str(file)
    raise Missing(f"{name} is not installed")


def write(file: Path, text: str) -> str:
    """Write a configuration; return its path."""
    file.write_text(text, "utf-8")
    return str(file)


# -- nginx and HAProxy --------------------------------------------------------

NGINX: Final = """\
worker_processes {workers}; daemon off; pid nginx.pid; error_log stderr error;
events {{ worker_connections {room}; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 300s;
  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;
  uwsgi_temp_path t4; scgi_temp_path t5; client_max_body_size 0;
  map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
  upstream web {{
    {servers}
    keepalive {pool}; keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    proxy_pass_request_headers on; proxy_http_version 1.1;
    proxy_set_header Connection $connection_upgrade;
    proxy_set_header Upgrade $http_upgrade; proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    location / {{ proxy_pass http://web; }}
    location /events {{ proxy_pass http://web; proxy_buffering off; }}
  }}
}}
"""


def nginx(folder: Path, port: int, work: Work) -> list[str]:
    """Run nginx."""
    servers = " ".join(f"server {backend};" for backend in work.backends)
    text = NGINX.format(
        workers=work.workers,
        room=2 * work.connections,
        servers=servers,
        pool=work.pool,
        port=port,
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    conf = write(folder / "nginx.conf", user + text)
    start = [find("nginx", work.places), "-p", str(folder), "-c", conf]
    return [*start, "-e", "stderr"]


HAPROXY: Final = """\
global
  nbthread {workers}
  maxconn {room}
  tune.pool-high-fd-ratio 90
  tune.pool-low-fd-ratio 85
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  option forwardfor
  option http-no-delay
  http-reuse always
listen web
  bind 127.0.0.1:{port} backlog 4096
  {servers}
"""


def haproxy(folder: Path, port: int, work: Work) -> list[str]:
    """Run HAProxy."""
    servers = "\n  ".join(
        f"server s{number} {backend} pool-max-conn {work.pool}"
        for number, backend in enumerate(work.backends)
    )
    text = HAPROXY.format(
        workers=work.workers, room=work.connections, servers=servers, port=port
    )
    conf = write(folder / "haproxy.cfg", text)
    return [find("haproxy", work.places), "-db", "-q", "-f", conf]


# -- Envoy, Caddy, Traefik ----------------------------------------------------

MANAGER: Final = "envoy.extensions.filters.network.http_connection_manager.v3"


def envoy_listener(port: int) -> dict[str, object]:
    """Return what Envoy calls a listener."""
    router = {
        "name": "router",
        "typed_config": {
            "@type": "type.googleapis.com/"
            "envoy.extensions.filters.http.router.v3.Router"
        },
    }
    # A stream of events takes as long as it takes; 15 s are Envoy's default.
    route = {
        "match": {"prefix": "/"},
        "route": {"cluster": "web", "timeout": "0s"},
    }
    host = {"name": "web", "domains": ["*"], "routes": [route]}
    manager = {
        "@type": f"type.googleapis.com/{MANAGER}.HttpConnectionManager",
        "stat_prefix": "web",
        "use_remote_address": True,  # adds X-Forwarded-For
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [router],
    }
    filters = [{"name": "manager", "typed_config": manager}]
    return {
        "name": "web",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": filters}],
    }


def envoy(folder: Path, port: int, work: Work) -> list[str]:
    """Run Envoy."""
    ends = []
    for backend in work.backends:
        host, _, number = backend.partition(":")
        address = {"socket_address": {"address": host, "port_value": int(number)}}
        ends.append({"endpoint": {"address": address}})
    plenty = 2 * work.connections
    cluster = {
        "name": "web",
        "type": "STATIC",
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": plenty,
                    "max_requests": plenty,
                    "max_pending_requests": plenty,
                }
            ]
        },
        "load_assignment": {
            "cluster_name": "web",
            "endpoints": [{"lb_endpoints": ends}],
        },
    }
    resources = {"listeners": [envoy_listener(port)], "clusters": [cluster]}
    conf = write(folder / "envoy.json", json.dumps({"static_resources": resources}))
    start = [find("envoy", work.places), "-c", conf, "--log-level", "error"]
    return [*start, "--concurrency", str(work.workers), "--disable-hot-restart"]


def go(work: Work, *command: str) -> list[str]:
    """Run a program in Go with as many cores as it has workers."""
    return ["env", f"GOMAXPROCS={work.workers}", *command]


def caddy(folder: Path, port: int, work: Work) -> list[str]:
    """Run Caddy."""
    backends = " ".join(work.backends)
    text = (
        "{\n  admin off\n  auto_https off\n  persist_config off\n}\n"
        f"http://127.0.0.1:{port}, http://:{port} {{\n  bind 127.0.0.1\n"
        f"  reverse_proxy {backends}\n}}\n"
    )
    conf = write(folder / "Caddyfile", text)
    start = [find("caddy", work.places), "run", "--config", conf]
    return go(work, *start, "--adapter", "caddyfile")


def traefik(folder: Path, port: int, work: Work) -> list[str]:
    """Run Traefik."""
    servers = [{"url": f"http://{backend}"} for backend in work.backends]
    http = {
        "routers": {"web": {"rule": "PathPrefix(`/`)", "service": "web"}},
        "services": {"web": {"loadBalancer": {"servers": servers}}},
    }
    # JSON is YAML.
    rules = write(folder / "rules.yaml", json.dumps({"http": http}))
    static = {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": "ERROR"},
        "entryPoints": {"web": {"address": f"127.0.0.1:{port}"}},
        "providers": {"file": {"filename": rules}},
    }
    conf = write(folder / "traefik.yaml", json.dumps(static))
    return go(work, find("traefik", work.places), f"--configFile={conf}")


# -- Python -------------------------------------------------------------------


def lb(runtime: str) -> Configure:
    """Run `lb` of this tree."""

    def configure(folder: Path, port: int, work: Work) -> list[str]:
        optional = runtime in ("uvloop", "gevent")
        if optional and importlib.util.find_spec(runtime) is None:
            raise Missing(f"{runtime} is not installed")
        service = {
            "name": "web",
            "listen": [f"127.0.0.1:{port}"],
            "upgrades": ["websocket"],
            "upstream": {"backends": list(work.backends)},
        }
        settings: dict[str, object] = {
            "version": 1,
            "threads": work.workers,
            "upstream_keepalive_pool_size": work.pool,
            "services": [service],
        }
        conf = write(folder / "lb.yaml", json.dumps(settings))
        start = [sys.executable, "-m", "lbproto_cli", "--log-level", "error"]
        return [*start, "--runtime", runtime, "-c", conf]

    return configure


def aiohttp_python(places: Sequence[Path]) -> str:
    """Find a Python that has aiohttp and uvloop.

    Raises:
        Missing: there is none.
    """
    inside = [str(place / "bin" / "python") for place in places]
    for python in [sys.executable, *inside]:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            subprocess.run(
                [python, "-c", "import aiohttp, uvloop"],
                check=True,
                capture_output=True,
            )
            return python
    raise Missing("aiohttp and uvloop are not installed")


def aiohttp(folder: Path, port: int, work: Work) -> list[str]:
    """Run the smallest proxy that aiohttp makes."""
    script = Path(__file__).parent / "load" / "aiohttp_proxy.py"
    start = [aiohttp_python(work.places), str(script), str(port), str(work.pool)]
    return [*start, *work.backends]


def asked(name: str, flag: str) -> Callable[[Work], list[str]]:
    """Make the question for a program's version."""
    return lambda work: [find(name, work.places), flag]


def python(text: str) -> Callable[[Work], list[str]]:
    """Make the question for a package's version."""
    return lambda work: [aiohttp_python(work.places), "-c", text]


def ours(_: Work) -> list[str]:
    """Ask which Python runs `lb`."""
    return [sys.executable, "--version"]


PEERS: Final = {
    "lb, uvloop": Peer(lb("uvloop"), ours, workers=True),
    "lb, asyncio": Peer(lb("asyncio"), ours, workers=True),
    "lb, threads": Peer(lb("threads"), ours, workers=True),
    "lb, gevent": Peer(lb("gevent"), ours, workers=True),
    "nginx": Peer(nginx, asked("nginx", "-v"), workers=True),
    "HAProxy": Peer(haproxy, asked("haproxy", "-v")),
    "Envoy": Peer(envoy, asked("envoy", "--version")),
    "Caddy": Peer(caddy, asked("caddy", "version")),
    "Traefik": Peer(traefik, asked("traefik", "version")),
    "aiohttp": Peer(aiohttp, python("import aiohttp; print(aiohttp.__version__)")),
}


def versions(names: Sequence[str], work: Work) -> dict[str, str]:
    """Ask each program for its version; who is missing is left out."""
    found = {}
    for name in names:
        with contextlib.suppress(Missing, OSError):
            done = subprocess.run(
                PEERS[name].version(work), capture_output=True, text=True, check=False
            )
            number = NUMBER.search(done.stdout + done.stderr)
            found[name] = number[0] if number is not None else "?"
    return found
