"""A backend whose answers can be checked.

`GET /bytes/N` gives N bytes that everybody can compute, `POST /` the SHA-256 of what
came, `GET /echo` with `Upgrade: echo` a tunnel that says again what it hears.

    python -m bench.load.backend PORT
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sys

__all__ = ["content"]


def content(size: int) -> bytes:
    """Return the bytes of a download."""
    block = bytes(range(256)) * (1 + size // 256)
    return block[:size]


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection to its end."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while await one_request(reader, writer):
            pass
    writer.close()


async def one_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """Answer; tell whether there may be another."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    target = head.split(b" ", 2)[1]
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name == b"content-length":
            length = int(value)
    digest = hashlib.sha256()
    while length:
        data = await reader.read(min(length, 65536))
        if not data:
            return False
        digest.update(data)
        length -= len(data)
    if target == b"/echo":
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n")
        writer.write(b"Upgrade: echo\r\n\r\n")
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        return False
    size = target.removeprefix(b"/bytes/")
    body = content(int(size)) if size.isdigit() else digest.hexdigest().encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()
    return True


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.start_server(
        answer, "127.0.0.1", int(sys.argv[1]), backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
