"""Applications that conduct their own exchanges, on the virtual clock."""

from __future__ import annotations

from typing import Any

import pytest

from lbproto.config import Config, Listen, Service, Timeouts
from lbproto.machine.effects import Cancel, Target
from lbproto.machine.events import ConnectError
from lbproto.phases.errors import FailToProxy, HttpError, ProxyError
from lbproto.phases.header import RequestHeader, ResponseHeader
from lbproto.phases.http import ProxyHttp
from lbproto.phases.peer import HttpPeer
from lbproto.phases.session import Session
from lbproto.testing.awaited import sleep
from lbproto.testing.sim import Endpoint, Sim
from tests.scenario import world
from tests.scenario.world import (
    GET,
    OK,
    ONE,
    POST,
    TWO,
    answers,
    errors,
    logged,
    status,
)

pytestmark = pytest.mark.usefixtures("every_framing")

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def bare(**changes: Any) -> Config:
    """A service of a program: it has no upstream."""
    service = Service(
        name="web", framing=world.FRAMING, via=None, timeouts=Timeouts(**changes)
    )
    return Config(services=(service,), upstreams={}, max_retries=3)


def simulated(application: ProxyHttp[Any], config: Config | None = None) -> Sim:
    return Sim(config or bare(), applications={"web": application})


class Diary(ProxyHttp[list[str]]):
    """Sends everything to ONE and writes down which phase is called."""

    def __init__(self) -> None:
        self.pages: list[list[str]] = []

    def new_ctx(self) -> list[str]:
        self.pages.append(["new_ctx"])
        return self.pages[-1]

    def early_request_filter(self, session: Session, ctx: list[str]) -> None:
        ctx.append("early_request_filter")

    def request_filter(self, session: Session, ctx: list[str]) -> bool:
        ctx.append("request_filter")
        return False

    def proxy_upstream_filter(self, session: Session, ctx: list[str]) -> bool:
        ctx.append("proxy_upstream_filter")
        return True

    def upstream_peer(self, session: Session, ctx: list[str]) -> HttpPeer:
        ctx.append("upstream_peer")
        return HttpPeer(ONE)

    def fail_to_connect(
        self, session: Session, peer: object, ctx: list[str], error: ProxyError
    ) -> ProxyError:
        ctx.append(f"fail_to_connect {error.code.name}")
        return error

    def connected_to_upstream(
        self,
        session: Session,
        reused: bool,
        peer: object,
        digest: object,
        ctx: list[str],
    ) -> None:
        ctx.append(f"connected_to_upstream {'reused' if reused else 'fresh'}")

    def upstream_request_filter(
        self, session: Session, upstream_request: RequestHeader, ctx: list[str]
    ) -> None:
        ctx.append("upstream_request_filter")

    def request_body_filter(
        self, session: Session, body: bytes, end_of_stream: bool, ctx: list[str]
    ) -> None:
        ctx.append(f"request_body_filter {body!r} {end_of_stream}")

    def upstream_response_filter(
        self, session: Session, upstream_response: ResponseHeader, ctx: list[str]
    ) -> None:
        ctx.append(f"upstream_response_filter {upstream_response.status}")

    def response_filter(
        self, session: Session, upstream_response: ResponseHeader, ctx: list[str]
    ) -> None:
        ctx.append(f"response_filter {upstream_response.status}")

    def upstream_response_body_filter(
        self, session: Session, body: bytes, end_of_stream: bool, ctx: list[str]
    ) -> None:
        ctx.append(f"upstream_response_body_filter {body!r} {end_of_stream}")

    def response_body_filter(
        self, session: Session, body: bytes, end_of_stream: bool, ctx: list[str]
    ) -> None:
        ctx.append(f"response_body_filter {body!r} {end_of_stream}")

    def error_while_proxy(
        self,
        peer: object,
        session: Session,
        error: ProxyError,
        ctx: list[str],
        client_reused: bool,
    ) -> ProxyError:
        ctx.append(f"error_while_proxy {error.code.name} {error.retry}")
        return error

    def fail_to_proxy(
        self, session: Session, error: ProxyError, ctx: list[str]
    ) -> FailToProxy | int | None:
        ctx.append(f"fail_to_proxy {error.code.name}")
        return None

    def logging(
        self, session: Session, error: ProxyError | None, ctx: list[str]
    ) -> None:
        ctx.append(f"logging {error.code.name if error else None}")


def test_the_phases_come_in_order() -> None:
    diary = Diary()
    sim = simulated(diary)
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    assert status(client) == 200
    assert client.received.endswith(b"OK")
    assert diary.pages == [
        [
            "new_ctx",
            "early_request_filter",
            "request_filter",
            "proxy_upstream_filter",
            "upstream_peer",
            "connected_to_upstream fresh",
            "upstream_request_filter",
            "request_body_filter b'' True",
            "upstream_response_filter 200",
            "response_filter 200",
            "upstream_response_body_filter b'OK' True",
            "response_body_filter b'OK' True",
            "logging None",
        ]
    ]
