"""Retries over real sockets."""

from __future__ import annotations

from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import Origin, reply
from tests.runtimes.process import Lb, Settings

BUSY = reply(b"busy", "503 Service Unavailable")


def retrying(start: LbFactory, *backends: Origin, **retry: object) -> Lb:
    upstream = {"backends": [one.address for one in backends], "retry": retry}
    web: Settings = {"name": "web", "listen": ["127.0.0.1:0"], "upstream": upstream}
    return start({"services": [web]})


def test_another_backend_is_asked_after_a_pause(
    start: LbFactory, origin: OriginFactory
) -> None:
    bad, good = origin(BUSY), origin(reply(b"good"))
    backoff = {"base": "1ms", "max": "1ms"}
    lb = retrying(start, bad, good, on=[503], budget_percent=100, backoff=backoff)
    with lb.connect() as client:
        got = [client.ask() for _ in range(10)]
    assert [(one.status, one.body) for one in got] == [(200, b"good")] * 10
    assert bad.received.count(b"GET / ") > 0
