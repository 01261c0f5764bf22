"""Clients at a fixed rate, whether the answers come or not (an open loop).

Each kind of work has a rate of its own. A request is due at its time; if answers are
late, more are asked at once, as from users who do not know of each other, and latency
counts from when it was due. Kept connections are used as a browser uses them: one
that was closed while nothing was asked is opened again in silence, which is no
failure; one that ends when something was asked is.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from bench.load.backend import content
from bench.load.tally import Tally, Wrong

__all__ = ["Load", "Mix"]

PATIENCE: Final = 20.0
"""Seconds after which a request has failed."""
SMALL: Final = b"GET /bytes/100 HTTP/1.1\r\nHost: a\r\n\r\n"
UPLOAD: Final = content(300_000)
UPLOADED: Final = hashlib.sha256(UPLOAD).hexdigest().encode()
DOWNLOAD: Final = 300_000


@dataclass(frozen=True)
class Mix:
    """How often what is asked; per second, but for `idle`."""

    fresh: float = 60.0
    """New connections, each with one request."""
    kept: float = 120.0
    """Requests on kept connections."""
    uploads: float = 6.0
    downloads: float = 6.0
    tunnels: float = 2.0
    """New ones; each says something ten times a second, for a second."""
    secure: float = 25.0
    """New connections and requests on kept ones, each, over TLS."""
    idle: int = 40
    """Connections that ask every two seconds, each."""


class Connection:
    """One connection of a client."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self.writer = writer
        self.stays = True

    @classmethod
    async def dial(cls, port: int, tls: ssl.SSLContext | None) -> Connection:
        """Connect."""
        name = "localhost" if tls else None
        pair = await asyncio.open_connection(
            "127.0.0.1", port, ssl=tls, server_hostname=name
        )
        return cls(*pair)

    @property
    def ended(self) -> bool:
        """The server has closed it."""
        return self._reader.at_eof() or self.writer.transport.is_closing()

    async def ask(self, request: bytes) -> bytes:
        """Send a request; return the content of its answer."""
        self.writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200"):
            raise Wrong(f"status: {head[:60]!r}")
        self.stays = b"connection: close" not in head
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        return await self._reader.readexactly(length)

    async def upgrade(self) -> None:
        """Open a tunnel."""
        self.writer.write(b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n")
        self.writer.write(b"Upgrade: echo\r\n\r\n")
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise Wrong(f"status: {head[:60]!r}")

    async def echo(self, data: bytes) -> None:
        """Say something in a tunnel, and hear it again."""
        self.writer.write(data)
        if await self._reader.readexactly(len(data)) != data:
            raise Wrong("wrong bytes")

    async def close(self) -> None:
        """Close, and do not care."""
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


Port = Callable[[bool], int]


class Load:
    """Asks at a rate until told to stop."""

    def __init__(
        self, mix: Mix, port: int, tls_port: int, tls: ssl.SSLContext | None
    ) -> None:
        """Without a context nothing is asked over TLS."""
        self.tally = Tally()
        self._mix = mix
        self._ports = {False: port, True: tls_port}
        self._tls = tls
        self._free: dict[bool, list[Connection]] = {False: [], True: []}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Ask until `stop`, then see to it that all is answered."""
        mix = self._mix
        rates: list[tuple[str, float, Callable[[float], Awaitable[None]]]] = [
            ("new connection", mix.fresh, lambda at: self._fresh(False)),
            ("kept connection", mix.kept, lambda at: self._kept(False)),
            ("upload", mix.uploads, lambda at: self._upload()),
            ("download", mix.downloads, lambda at: self._download()),
            ("tunnel", mix.tunnels, lambda at: self._tunnel()),
        ]
        if self._tls is not None:
            rates += [
                ("new TLS connection", mix.secure, lambda at: self._fresh(True)),
                ("kept TLS connection", mix.secure, lambda at: self._kept(True)),
            ]
        async with asyncio.TaskGroup() as group:
            for work, rate, ask in rates:
                group.create_task(self._at_rate(work, rate, ask))
            for number in range(mix.idle):
                group.create_task(self._idle(number / mix.idle * 2.0))
        if self._tasks:
            await asyncio.wait(self._tasks)
        for connections in self._free.values():
            for connection in connections:
                await connection.close()

    def stop(self) -> None:
        """Ask nothing new."""
        self._stopping.set()

    async def _sleep_until(self, at: float) -> bool:
        """Tell whether the time came before the end."""
        with contextlib.suppress(TimeoutError):
            patience = max(0.0, at - time.monotonic())
            await asyncio.wait_for(self._stopping.wait(), patience)
        return not self._stopping.is_set()

    async def _at_rate(
        self, work: str, rate: float, ask: Callable[[float], Awaitable[None]]
    ) -> None:
        if not rate:
            return
        due = time.monotonic()
        while await self._sleep_until(due):
            task = asyncio.create_task(self._one(work, due, ask))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            due += 1 / rate

    async def _one(
        self, work: str, due: float, ask: Callable[[float], Awaitable[None]]
    ) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await ask(due)
        except (OSError, EOFError, Wrong, TimeoutError) as error:
            self.tally.went_wrong(work, error)
        else:
            self.tally.succeeded(work, due)

    async def _dial(self, secure: bool) -> Connection:
        tls = self._tls if secure else None
        return await Connection.dial(self._ports[secure], tls)

    async def _fresh(self, secure: bool) -> None:
        connection = await self._dial(secure)
        try:
            _check(await connection.ask(SMALL), content(100))
        finally:
            await connection.close()

    async def _kept(self, secure: bool) -> None:
        connection = await self._take(secure)
        try:
            _check(await connection.ask(SMALL), content(100))
        except BaseException:
            await connection.close()
            raise
        await self._give_back(secure, connection)

    async def _take(self, secure: bool) -> Connection:
        while free := self._free[secure]:
            connection = free.pop()
            if not connection.ended:
                return connection
            self.tally.reopened += 1
            await connection.close()
        return await self._dial(secure)

    async def _give_back(self, secure: bool, connection: Connection) -> None:
        if connection.stays:
            self._free[secure].append(connection)
        else:
            await connection.close()

    async def _upload(self) -> None:
        connection = await self._dial(False)
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
        try:
            _check(await connection.ask(head % len(UPLOAD) + UPLOAD), UPLOADED)
        finally:
            await connection.close()

    async def _download(self) -> None:
        connection = await self._dial(False)
        request = b"GET /bytes/%d HTTP/1.1\r\nHost: a\r\n\r\n" % DOWNLOAD
        try:
            _check(await connection.ask(request), content(DOWNLOAD))
        finally:
            await connection.close()

    async def _tunnel(self) -> None:
        connection = await self._dial(False)
        try:
            await connection.upgrade()
            for number in range(10):
                await connection.echo(b"word %d" % number)
                await asyncio.sleep(0.1)
        finally:
            await connection.close()

    async def _idle(self, first: float) -> None:
        """Ask every two seconds on a connection that is kept."""
        due = time.monotonic() + first
        connection: Connection | None = None
        while await self._sleep_until(due):
            if connection is not None and connection.ended:
                self.tally.reopened += 1
                await connection.close()
                connection = None
            try:
                async with asyncio.timeout(PATIENCE):
                    connection = connection or await self._dial(False)
                    _check(await connection.ask(SMALL), content(100))
            except (OSError, EOFError, Wrong, TimeoutError) as error:
                self.tally.went_wrong("idle connection", error)
                connection = None
            else:
                self.tally.succeeded("idle connection", due)
                if not connection.stays:
                    await connection.close()
                    connection = None
            due += 2.0
        if connection is not None:
            await connection.close()


def _check(found: bytes, expected: bytes) -> None:
    if found != expected:
        raise Wrong("wrong bytes")
