"""The balancer between a client and a backend, and what must hold whatever they say.

`Judge` is a backend that reads with h11: if what the balancer sends it does not
parse there, h11 raises, and the fuzzer has found something. `settle` lets every
deadline pass and looks for what is left over. Nothing here is random: the same
bytes give the same run, so a crash is a file that can be replayed.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, Literal

import h11

from lbproto.config import Backend, Config, Service, Upstream
from lbproto.machine.effects import Target
from lbproto.testing import cuts
from lbproto.testing.sim import Endpoint, Sim

__all__ = [
    "ADDRESSES",
    "GET",
    "Codec",
    "Judge",
    "client_of",
    "responses",
    "segmentations",
    "settle",
    "silent",
    "without_continue",
    "world",
]

Codec = Literal["native", "h11"]
"""Which codec reads and writes HTTP."""
ADDRESSES: Final = ("10.0.0.1:80", "10.0.0.2:80")
GET: Final = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"
WEB: Final = Service(name="web", upstream="web", upgrades=(b"*",))
BACKENDS: Final = (Backend(target=Target("10.0.0.1", 80)),)
BOTH: Final = (*BACKENDS, Backend(target=Target("10.0.0.2", 80)))


def world(*, backends: int = 1, framing: Codec = "native", relays: bool = False) -> Sim:
    """Make a balancer in front of one or two backends, which are not there yet.

    `relays`: its runtime passes the bytes of tunnels on by itself.
    """
    servers = BOTH[:backends]
    service = replace(WEB, framing=framing)
    upstreams = {"web": Upstream(name="web", backends=servers)}
    return Sim(Config(services=(service,), upstreams=upstreams), relays=relays)


def silent(end: Endpoint, data: bytes) -> None:
    """Take what the balancer sends, and say nothing."""


def client_of(sim: Sim) -> Endpoint:
    """Return the first client."""
    return next(iter(sim.ends.values()))


def segmentations(data: bytes) -> Iterator[list[bytes]]:
    """Yield the bytes whole, in cuts that they determine themselves, byte by byte."""
    yield cuts.whole(data)
    places, state = [], zlib.crc32(data)
    for _ in range(1 + state % 8):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        places.append((state >> 8) % (len(data) + 1))
    yield cuts.at(data, places)
    if len(data) < 400:
        yield cuts.bytewise(data)


class Judge:
    """A backend that takes requests with h11, and answers each when it is complete."""

    def __init__(self, answer: Callable[[Endpoint], None] | None = None) -> None:
        """`answer` is called for each complete request; a 200 is the default."""
        self.seen: list[tuple[h11.Request, bytes]] = []
        """Head and content of each."""
        self._answer = answer
        self._parsers: dict[int, h11.Connection] = {}
        self._head: h11.Request | None = None
        self._body = b""
        self.opaque: set[int] = set()
        """Connections that were switched to another protocol."""

    def __call__(self, end: Endpoint, data: bytes) -> None:
        """Read what came on a connection.

        Raises:
            RemoteProtocolError: of h11; the balancer sent what is no HTTP.
        """
        if end.conn in self.opaque:
            return
        parser = self._parsers.setdefault(end.conn, h11.Connection(h11.SERVER))
        parser.receive_data(data)
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return
            if isinstance(event, h11.Request):
                self._head, self._body = event, b""
            elif isinstance(event, h11.Data):
                self._body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self._complete(end, parser.trailing_data[0])
                # A new parser: what the answer says is none of its business.
                parser = self._parsers[end.conn] = h11.Connection(h11.SERVER)

    def _complete(self, end: Endpoint, left: bytes) -> None:
        head = self._head
        assert head is not None
        assert left == b"", f"bytes behind a request: {left[:64]!r}"
        check_request(head)
        self.seen.append((head, self._body))
        if self._answer is None:
            end.send(OK)
        else:
            self._answer(end)


def check_request(head: h11.Request) -> None:
    """Check what a backend must be able to rely on."""
    names = [bytes(name) for name, _ in head.headers]
    framing = names.count(b"content-length") + names.count(b"transfer-encoding")
    assert framing <= 1, f"framing is in doubt: {names}"
    assert names.count(b"host") == 1, f"not one Host: {names}"
    assert not any(b"_" in name for name in names), f"an underscore: {names}"
    assert head.http_version == b"1.1"


def settle(sim: Sim) -> None:
    """Let every deadline pass; afterwards nothing may be left, nor wrong."""
    sim.advance(100_000.0)
    stats = sim.gateway.balancer.stats()
    assert stats.active == 0, "a lease is held"
    assert stats.idle == 0, "an idle connection outlives its time"
    left = [end.conn for end in sim.ends.values() if not end.closed]
    assert left == [], f"connections without a deadline: {left}"
    codes = [record.error for record in sim.access]
    assert "INTERNAL" not in codes, "our own bug"


_INTERIM: Final = re.compile(rb"HTTP/1\.1 100 Continue\r\n(?:[^\r\n]++\r\n)*+\r\n")


def without_continue(wire: bytes) -> bytes:
    """Leave 100 out: whether one is needed depends on what came with the head."""
    return _INTERIM.sub(b"", wire)


def responses(wire: bytes, methods: Sequence[bytes]) -> list[tuple[object, ...]]:
    """Read what a client got with h11, request by request.

    Raises:
        RemoteProtocolError: of h11; what we sent is no HTTP.
    """
    found: list[tuple[object, ...]] = []
    for method in methods:
        if not wire:
            break
        judge = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        judge.send(h11.Request(method=method, target=b"/", headers=[("Host", "a")]))
        judge.send(h11.EndOfMessage())
        judge.receive_data(wire)
        found.append(_one_response(judge))
        if found[-1][-1] != "complete":
            break
        wire = judge.trailing_data[0]
    return found


def _one_response(judge: h11.Connection) -> tuple[object, ...]:
    seen: list[object] = []
    body = b""
    while True:
        event = judge.next_event()
        if event is h11.NEED_DATA or event is h11.PAUSED:
            return (*seen, body, "incomplete")
        if isinstance(event, h11.EndOfMessage):
            return (*seen, body, "complete")
        if isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.Response | h11.InformationalResponse):
            seen.append((event.status_code, event.headers.raw_items()))
