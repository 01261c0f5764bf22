"""Clients that connect, ask once and stay: idle, or without reading the answer."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from typing import Final

__all__ = ["ask", "idle_clients", "slow_readers"]

PATIENCE: Final = 30.0
LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


def ask(port: int, path: bytes = b"/") -> socket.socket:
    """Connect, make one request, read its response, and stay connected.

    Raises:
        RuntimeError: the response was wrong, or the connection was closed.
    """
    client = socket.create_connection(("127.0.0.1", port), PATIENCE)
    client.sendall(b"GET %b HTTP/1.1\r\nHost: bench.test\r\n\r\n" % path)
    read = b""
    while True:
        head, mark, content = read.partition(b"\r\n\r\n")
        length = LENGTH.search(head + b"\r\n") if mark else None
        if length is not None and len(content) >= int(length[1]):
            break
        data = client.recv(65536)
        if not data:
            raise RuntimeError(f"closed after {read!r}")
        read += data
    if not read.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"not the response of the backend: {read!r}")
    return client


@contextlib.contextmanager
def idle_clients(port: int, count: int, path: bytes) -> Iterator[None]:
    """Keep so many clients that have asked and say no more, until the block ends."""
    with contextlib.ExitStack() as clients:
        for _ in range(count):
            clients.enter_context(ask(port, path))
        yield


@contextlib.contextmanager
def slow_readers(port: int, count: int, path: bytes) -> Iterator[None]:
    """Keep so many clients that ask and read nothing, until the block ends."""
    with contextlib.ExitStack() as clients:
        for _ in range(count):
            client = clients.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(PATIENCE)
            client.connect(("127.0.0.1", port))
            client.sendall(b"GET %b HTTP/1.1\r\nHost: bench.test\r\n\r\n" % path)
        yield
