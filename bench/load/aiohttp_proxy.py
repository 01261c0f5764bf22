"""A reverse proxy as one writes it with aiohttp, for comparison.

    python bench/load/aiohttp_proxy.py PORT POOL BACKEND ...

It passes content on as it comes in both directions, drops what is for one hop only,
and adds X-Forwarded-For. It knows nothing of upgrades, deadlines or health.
"""

from __future__ import annotations

import asyncio
import itertools
import sys

import aiohttp
import uvloop
from aiohttp import web

HOPS = {
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}


async def serve(port: int, pool: int, backends: list[str]) -> None:
    """Serve until killed."""
    turns = itertools.cycle(backends)
    connector = aiohttp.TCPConnector(limit=0, limit_per_host=0, keepalive_timeout=300)
    session = aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
    )

    async def relay(request: web.BaseRequest) -> web.StreamResponse:
        fields = request.headers.copy()
        for name in HOPS:
            fields.popall(name, None)
        fields.add("X-Forwarded-For", request.remote or "")
        content = request.content if request.can_read_body else None
        url = f"http://{next(turns)}{request.path_qs}"
        async with session.request(
            request.method, url, headers=fields, data=content, allow_redirects=False
        ) as response:
            back = response.headers.copy()
            for name in HOPS:
                back.popall(name, None)
            answer = web.StreamResponse(status=response.status, headers=back)
            await answer.prepare(request)
            async for data in response.content.iter_any():
                await answer.write(data)
            await answer.write_eof()
            return answer

    runner = web.ServerRunner(web.Server(relay, keepalive_timeout=300.0))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
