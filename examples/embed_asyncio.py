"""A load balancer inside a program that has an event loop of its own.

    python examples/embed_asyncio.py

Two small backends, a balancer in front of them, and a client that asks four times,
all in one loop. Nothing here is special to the example: a program with a loop calls
`serve` beside what it does already.
"""

from __future__ import annotations

import asyncio

from lbproto.config import Backend, Config, Listen, Service, Upstream
from lbproto.machine.effects import Level, Target
from lbproto.proxy.gateway import Gateway
from lbproto_runtimes.aio import Server, serve
from lbproto_runtimes.env import WallClockEnv
from lbproto_runtimes.listen import bind
from lbproto_runtimes.logs import Logs


async def start_backend(name: str) -> asyncio.Server:
    """Answer each request with a name, on a port that the kernel chooses."""

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while await reader.readline():
            while await reader.readline() != b"\r\n":
                pass
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + name.encode()
            )
            await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


async def ask(host: str, port: int) -> str:
    """Send one request; return the body of its response."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET / HTTP/1.1\r\nHost: example\r\nConnection: close\r\n\r\n")
    response = await reader.read()
    writer.close()
    await writer.wait_closed()
    return response.rpartition(b"\r\n")[2].decode()


async def main() -> None:
    """Serve, ask, and stop gracefully."""
    servers = [await start_backend(name) for name in ("b1", "b2")]
    backends = tuple(
        Backend(target=Target(*server.sockets[0].getsockname())) for server in servers
    )
    listen = Listen(target=Target("127.0.0.1", 0))
    service = Service(name="web", upstream="web", listen=(listen,))
    upstream = Upstream(name="web", backends=backends)
    config = Config(services=(service,), upstreams={"web": upstream})

    listeners = bind(config)
    logs = Logs(None, Level.WARNING)
    up: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
    gateway = Gateway(config, WallClockEnv())
    serving = asyncio.create_task(serve(gateway, listeners, logs, up.set_result))

    server = await up
    where = listeners[0].target
    for _ in range(4):
        print(await ask(where.host, where.port))

    server.drain(grace=0.0, timeout=5.0)
    await serving
    for one in servers:
        one.close()
        await one.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
