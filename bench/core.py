"""What an exchange costs without sockets: two h11 connections, and the core.

    python bench/core.py [--exchanges N] [--rounds N]

Both relay the same request and the same response, again and again on kept
connections, and both are counted in µs of process time per exchange. Two
`h11.Connection`s (a server for the client, a client for the backend) are the
smallest HTTP proxy that one can write with h11; they check less than lbproto.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Final, NamedTuple

# Run as a script, this knows only its own folder. What is installed comes first, since
# that may be compiled.
sys.path.append(str(Path(__file__).parents[1]))

import h11

from lbproto import (
    Adopt,
    Backend,
    Config,
    Connect,
    Connected,
    Data,
    Effect,
    Gateway,
    Limits,
    Opened,
    PeerInfo,
    Send,
    Service,
    Target,
    Upstream,
)
from lbproto.machine.compilation import COMPILED
from lbproto.testing.sim import FixedEnv

__all__ = ["SETTINGS", "Setting", "core_alone", "two_h11"]

MICROSECONDS: Final = 1e6
CONTENT: Final = b"hello world\n"


class Setting(NamedTuple):
    """The fields that the client and the backend add to what every message has."""

    name: str
    request: tuple[tuple[str, str], ...]
    """Beside Host, which is first."""
    response: tuple[tuple[str, str], ...]
    """Beside the five that nginx sends."""

    @property
    def request_bytes(self) -> bytes:
        """Return the request as wrk sends it."""
        return b"GET / HTTP/1.1\r\nHost: 127.0.0.1:9900\r\n%b\r\n" % lines(self.request)

    @property
    def response_bytes(self) -> bytes:
        """Return the response as the backend sends it."""
        head = (
            b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n"
            b"Date: Mon, 23 Nov 2026 09:14:00 GMT\r\nContent-Type: text/plain\r\n"
            b"Content-Length: %d\r\nConnection: keep-alive\r\n" % len(CONTENT)
        )
        return head + lines(self.response) + b"\r\n" + CONTENT


def lines(fields: tuple[tuple[str, str], ...]) -> bytes:
    """Write fields as they stand in a head."""
    return b"".join(f"{name}: {text}\r\n".encode() for name, text in fields)


SETTINGS: Final = (
    Setting("few fields", (), ()),
    Setting(
        "browser-like",
        (
            (
                "User-Agent",
                "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128",
            ),
            (
                "Accept",
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            ),
            ("Accept-Language", "en-GB,en;q=0.5"),
            ("Accept-Encoding", "gzip, deflate, br, zstd"),
            ("Referer", "https://www.example.com/articles/2026/11/index.html"),
            ("Cookie", "session=4f1c2d7e9a8b4c3d; theme=dark; consent=yes"),
            ("Upgrade-Insecure-Requests", "1"),
            ("Sec-Fetch-Dest", "document"),
            ("Sec-Fetch-Mode", "navigate"),
            ("Sec-Fetch-Site", "same-origin"),
            ("Cache-Control", "max-age=0"),
        ),
        (
            ("Cache-Control", "private, max-age=0, must-revalidate"),
            ("ETag", '"5f3c-61f2b7a4c1e80"'),
            ("Vary", "Accept-Encoding, Cookie"),
            ("Strict-Transport-Security", "max-age=63072000; includeSubDomains"),
            ("X-Content-Type-Options", "nosniff"),
            ("Content-Security-Policy", "default-src 'self'; img-src 'self' data:"),
            ("Set-Cookie", "session=4f1c2d7e9a8b4c3d; Path=/; HttpOnly; Secure"),
        ),
    ),
)
"""Few: one field out, five back. Browser-like: twelve out, twelve back."""


def two_h11(setting: Setting, exchanges: int) -> float:
    """Relay through two h11 connections; return µs per exchange."""
    request, response = setting.request_bytes, setting.response_bytes
    server, client = h11.Connection(h11.SERVER), h11.Connection(h11.CLIENT)
    started = time.process_time()
    for _ in range(exchanges):
        server.receive_data(request)
        while True:
            event = server.next_event()
            client.send(event)  # type: ignore[arg-type]
            if isinstance(event, h11.EndOfMessage):
                break
        client.receive_data(response)
        while True:
            event = client.next_event()
            if isinstance(event, h11.Response):
                event = h11.Response(
                    status_code=event.status_code,
                    headers=event.headers,
                    reason=event.reason,
                )
            server.send(event)  # type: ignore[arg-type]
            if isinstance(event, h11.EndOfMessage):
                break
        server.start_next_cycle()
        client.start_next_cycle()
    return (time.process_time() - started) / exchanges * MICROSECONDS


def core_alone(setting: Setting, exchanges: int) -> float:
    """Relay through a `Gateway`; return µs per exchange."""
    request, response = setting.request_bytes, setting.response_bytes
    upstream = Upstream(name="web", backends=(Backend(target=Target("10.0.0.1", 80)),))
    limits = Limits(requests_per_connection=None)
    services = (Service(name="web", upstream="web", limits=limits),)
    gateway = Gateway(
        Config(services=services, upstreams={"web": upstream}), FixedEnv()
    )
    client = gateway.mint()
    machine = gateway.connection("web", client)
    machine.handle(Opened(client, PeerInfo("127.0.0.1", 40000, "127.0.0.1:80")), 0.0)

    effects: list[Effect] = machine.handle(Data(client, request), 0.0)
    (backend,) = [one.conn for one in effects if isinstance(one, Connect)]
    machine.handle(Connected(backend), 0.0)
    effects = machine.handle(Data(backend, response), 0.0)
    sent = b"".join(one.data for one in effects if isinstance(one, Send))
    assert sent.startswith(b"HTTP/1.1 200"), sent
    assert sent.endswith(CONTENT), sent

    started = time.process_time()
    for _ in range(exchanges):
        effects = machine.handle(Data(client, request), 0.0)
        assert any(isinstance(one, Adopt) for one in effects), "no kept connection"
        machine.handle(Data(backend, response), 0.0)
    return (time.process_time() - started) / exchanges * MICROSECONDS


def main() -> None:
    """Print a table."""
    flags = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    flags.add_argument("--exchanges", type=int, default=5000)
    flags.add_argument("--rounds", type=int, default=5)
    options = flags.parse_args()
    print(f"The core is {'compiled' if COMPILED else 'Python'}.\n")
    print("| setting | two h11.Connections, µs | the core, µs | ratio |")
    print("|---|---:|---:|---:|")
    for setting in SETTINGS:
        pairs = [
            (
                two_h11(setting, options.exchanges),
                core_alone(setting, options.exchanges),
            )
            for _ in range(options.rounds)
        ]
        pair, core = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"| {setting.name} | {pair:.0f} | {core:.0f} | {core / pair:.2f} |")


if __name__ == "__main__":
    main()
