"""A small world for scenarios: two backends, one service, one clock."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from lbproto.config import Backend, Config, Limits, Service, Timeouts, Upstream
from lbproto.machine.effects import Log, Target
from lbproto.testing.sim import Endpoint, Sim

ONE = Target("10.0.0.1", 80)
TWO = Target("10.0.0.2", 80)
GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"
POST = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello"
WEBSOCKET = (
    b"GET /ws HTTP/1.1\r\nHost: a.example\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)

FRAMING: Literal["native", "h11"] = "native"
"""The codec of services that name none; the fixture `every_framing` changes it."""


def config(
    backends: Sequence[Target] = (ONE,),
    *,
    limits: dict[str, Any] | None = None,
    timeouts: dict[str, float] | None = None,
    max_retries: int = 1,
    pool: int = 128,
    **service: Any,
) -> Config:
    """One service `web`; what is not named has its default."""
    service.setdefault("framing", FRAMING)
    web = Service(
        name="web",
        upstream="web",
        limits=Limits(**(limits or {})),
        timeouts=Timeouts(**(timeouts or {})),
        **service,
    )
    servers = tuple(Backend(target=target) for target in backends)
    return Config(
        services=(web,),
        upstreams={"web": Upstream(name="web", backends=servers)},
        max_retries=max_retries,
        upstream_keepalive_pool_size=pool,
    )


def bare(**changes: Any) -> Config:
    """A service that adds as little as it can to a request."""
    return config(via=None, **changes)


def logged(sim: Sim) -> list[Log]:
    """What was written to the error log."""
    return [effect for _, effect in sim.log if isinstance(effect, Log)]


def errors(sim: Sim) -> list[object]:
    """The errors of all log lines."""
    return [line.fields.get("error") for line in logged(sim)]


def answers(end: Endpoint, data: bytes) -> None:
    """Answer every read, which is a whole request here."""
    end.send(OK)


def status(end: Endpoint) -> int:
    """The status of the first response."""
    return int(end.received.split(b" ", 2)[1])


def replace(old: Config, **changes: Any) -> Config:
    return dataclasses.replace(old, **changes)
