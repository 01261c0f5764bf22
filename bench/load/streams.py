"""Streams of small messages through a proxy: the client and the backend in one.

    python -m bench.load.streams echo|events PROXY_PORT BACKEND_PORT SECONDS

`echo`: 32 WebSocket connections, each with one message of 100 bytes under way, that
the backend says again. `events`: 64 responses in chunks, on each of which the backend
sends an event of 100 bytes every 10 ms, so that no two are together on the way.

It says `ready` when all connections stand, starts at a line on standard input, and in
the end says in JSON how many messages arrived, in how many reads and seconds.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import select
import socket
import sys
import time
from collections.abc import Callable
from typing import Final

__all__ = ["main"]

ECHOES: Final = 32
STREAMS: Final = 64
EVENTS_PER_SECOND: Final = 100.0
"""Of each stream."""
PATIENCE: Final = 20.0
CONTENT: Final = b"data: " + b"x" * 91 + b"@\n\n"
EVENT: Final = b"%x\r\n%b\r\n" % (len(CONTENT), CONTENT)
ASK_EVENTS: Final = b"GET /events HTTP/1.1\r\nHost: bench.test\r\n\r\n"
GIVE_EVENTS: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
)
ASK_ECHO: Final = (
    b"GET /echo HTTP/1.1\r\nHost: bench.test\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
GIVE_ECHO: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)
KEY: Final = re.compile(rb"(?i)\r\nsec-websocket-key: *([^\r]+)\r\n")
MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
SAID: Final = b"\x81\xe4\0\0\0\0" + b"x" * 99 + b"@"
"""A message of a client: 100 bytes, under a mask of zeros."""
HEARD: Final = b"\x81\x64" + b"x" * 99 + b"@"


def accepted(head: bytes) -> bytes:
    """Agree to WebSocket."""
    found = KEY.search(head)
    key = found[1] if found is not None else b""
    digest = hashlib.sha1(key + MAGIC, usedforsecurity=False).digest()
    return GIVE_ECHO % base64.b64encode(digest)


class Pairs:
    """Connections through the proxy, both ends of each."""

    def __init__(self, port: int, backend: int) -> None:
        self._port = port
        self._listener = socket.create_server(
            ("127.0.0.1", backend), backlog=1024, reuse_port=True
        )
        self._listener.settimeout(PATIENCE)
        self.clients: list[socket.socket] = []
        self.origins: list[socket.socket] = []

    def open(self, ask: bytes, give: Callable[[bytes], bytes]) -> None:
        """Ask, answer, and read the head of the answer.

        Raises:
            RuntimeError: it is not what the backend said.
        """
        client = socket.create_connection(("127.0.0.1", self._port), PATIENCE)
        client.sendall(ask)
        while True:
            origin, _ = self._listener.accept()
            origin.settimeout(PATIENCE)
            head = read_head(origin)
            if head:
                break
            origin.close()  # somebody has only looked whether we are here
        origin.sendall(give(head))
        answer = read_head(client)
        if answer.split(b" ", 2)[1] not in (b"200", b"101"):
            raise RuntimeError(f"not what the backend said: {answer!r}")
        for end in (client, origin):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.setblocking(False)
        self.clients.append(client)
        self.origins.append(origin)


def read_head(end: socket.socket) -> bytes:
    """Read to the end of a head; nothing comes behind it. Empty: it was closed."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = end.recv(65536)
        if not data:
            return b""
        head += data
    return head


def go() -> float:
    """Say that all is ready; return when it starts."""
    print("ready", flush=True)
    sys.stdin.readline()
    return time.monotonic()


def echo(pairs: Pairs, seconds: float) -> tuple[int, int, float]:
    """Say and hear; return messages, reads and seconds."""
    for _ in range(ECHOES):
        pairs.open(ASK_ECHO, accepted)
    poll = select.epoll()
    ends = {end.fileno(): end for end in pairs.clients + pairs.origins}
    origins = {end.fileno() for end in pairs.origins}
    for fd in ends:
        poll.register(fd, select.EPOLLIN)
    parts: dict[int, int] = dict.fromkeys(ends, 0)
    heard = reads = 0
    started = go()
    for client in pairs.clients:
        client.send(SAID)
    while time.monotonic() < started + seconds:
        for fd, _ in poll.poll(1.0):
            end = ends[fd]
            data = end.recv(65536)
            if not data:
                raise RuntimeError("a tunnel was closed")
            there = fd in origins
            size, reply = (len(SAID), HEARD) if there else (len(HEARD), SAID)
            whole, parts[fd] = divmod(parts[fd] + len(data), size)
            if not there:
                reads += 1
                heard += whole
            if whole:
                end.send(reply * whole)
    return heard, reads, time.monotonic() - started


def events(pairs: Pairs, seconds: float) -> tuple[int, int, float]:
    """Send events at a fixed rate; return events, reads and seconds."""
    for _ in range(STREAMS):
        pairs.open(ASK_EVENTS, lambda _: GIVE_EVENTS)
    poll = select.epoll()
    ends = {end.fileno(): end for end in pairs.clients}
    for fd in ends:
        poll.register(fd, select.EPOLLIN)
    sent = heard = reads = 0
    started = go()
    total = int(seconds * EVENTS_PER_SECOND * STREAMS)
    last = started
    while heard < total and last < started + 3 * seconds:
        last = time.monotonic()
        due = int((last - started) * EVENTS_PER_SECOND * STREAMS)
        while sent < min(due, total):
            pairs.origins[sent % STREAMS].send(EVENT)
            sent += 1
        for fd, _ in poll.poll(0.0005):
            data = ends[fd].recv(65536)
            if not data:
                raise RuntimeError("a stream was closed")
            reads += 1
            heard += data.count(b"@")
    if heard < total:
        raise RuntimeError(f"{total} events were sent, {heard} came")
    return heard, reads, last - started


def main() -> None:
    """Run what the command line asks for."""
    kind, port, backend, seconds = sys.argv[1:]
    pairs = Pairs(int(port), int(backend))
    run = {"echo": echo, "events": events}[kind]
    try:
        count, reads, took = run(pairs, float(seconds))
    except (RuntimeError, OSError) as error:
        sys.exit(f"{kind}: {error}")
    print(json.dumps({"messages": count, "reads": reads, "seconds": took}), flush=True)
    sys.stdin.readline()  # the end of it says that the clock has been read


if __name__ == "__main__":
    main()
