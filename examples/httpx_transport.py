"""Load balancing inside an HTTP client: a transport of httpx.

    python examples/httpx_transport.py      (needs `pip install httpx`)

Only `lbproto` is used, and of that only selection: who gets a request, who rests after
a failed dial, who is ejected after failures, who is well. Connections and HTTP are
httpx's.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AbstractContextManager, nullcontext

import httpx

from lbproto import (
    Backend,
    Balancer,
    Config,
    Lease,
    Outcome,
    OutlierDetection,
    Target,
    Upstream,
)

NAME = "servers"


class LoopEnv:
    """What selection needs of the world; one loop needs no lock."""

    @property
    def guard(self) -> AbstractContextManager[object]:
        """Hold nothing."""
        return nullcontext()

    def random(self) -> float:
        """Return a number in [0, 1)."""
        return random.random()

    def http_date(self, now: float) -> bytes:
        """Selection never asks for it."""
        raise NotImplementedError


class BalancedTransport(httpx.AsyncBaseTransport):
    """Sends each request to one of several servers, and to another one if it must."""

    def __init__(self, addresses: list[tuple[str, int]], tries: int = 2) -> None:
        backends = tuple(Backend(target=Target(*address)) for address in addresses)
        upstream = Upstream(
            name=NAME,
            backends=backends,
            outlier_detection=OutlierDetection(consecutive_failures=3),
        )
        config = Config(services=(), upstreams={NAME: upstream})
        self.balancer = Balancer(config, LoopEnv())
        self._tries = tries
        self._inner = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Lease a server, ask it, and give the lease back with what became of it."""
        tried = []
        while True:
            lease = self.balancer.lease(NAME, tried, time.monotonic())
            if lease is None:
                raise httpx.ConnectError("no server is left", request=request)
            try:
                return await self._ask(lease, request)
            except httpx.ConnectError:
                tried.append(lease.backend)
                if len(tried) == self._tries:
                    raise

    async def _ask(self, lease: Lease, request: httpx.Request) -> httpx.Response:
        host, port = lease.target.host, lease.target.port
        request.url = request.url.copy_with(host=host, port=port)
        outcome = Outcome.ABANDONED
        try:
            response = await self._inner.handle_async_request(request)
            self.balancer.responded(lease, response.status_code, time.monotonic())
            outcome = Outcome.OK
        except httpx.ConnectError:
            outcome = Outcome.CONNECT_FAILED
            raise
        except httpx.TransportError:
            outcome = Outcome.FAILED
            raise
        finally:
            self.balancer.release(lease, outcome, time.monotonic())
        return response

    async def check_health(self, path: str) -> None:
        """Ask every server for its health, once; call it as often as you like."""
        for backend, target in self.balancer.members(NAME):
            url = f"http://{target}{path}"
            try:
                request = httpx.Request("GET", url)
                response = await self._inner.handle_async_request(request)
                await response.aread()
                healthy, reason = response.is_success, f"status {response.status_code}"
            except httpx.TransportError as error:
                healthy, reason = False, str(error)
            now = time.monotonic()
            for line in self.balancer.set_health(backend, healthy, now, reason).log:
                print(line.message, line.fields["backend"], line.fields["reason"])

    async def aclose(self) -> None:
        """Close what is idle."""
        await self._inner.aclose()


async def start_server(name: str, health: list[int]) -> asyncio.Server:
    """Answer with a name, and /health with the status in `health`."""

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        line = await reader.readline()
        while await reader.readline() != b"\r\n":
            pass
        status = health[0] if b"/health" in line else 200
        head = f"HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n{name}"
        writer.write(head.encode())
        await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


async def main() -> None:
    """Ask three servers, of which one is sick for a while and one is not there."""
    health = [200]
    servers = [await start_server("one", [200]), await start_server("two", health)]
    addresses = [server.sockets[0].getsockname() for server in servers]
    gone = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    addresses.append(gone.sockets[0].getsockname())
    gone.close()
    await gone.wait_closed()

    transport = BalancedTransport(addresses)
    async with httpx.AsyncClient(transport=transport) as client:
        print([(await client.get("http://servers/")).text for _ in range(4)])
        health[0] = 503
        await transport.check_health("/health")
        print([(await client.get("http://servers/")).text for _ in range(3)])
        health[0] = 200
        await transport.check_health("/health")
        print([(await client.get("http://servers/")).text for _ in range(2)])
    for server in servers:
        server.close()
        await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
