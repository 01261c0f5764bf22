"""What all connections of one service share."""

from __future__ import annotations

from typing import Any, Final

from lbproto.config import Service
from lbproto.framing.codec import ClientCodec, CodecLimits, ServerCodec
from lbproto.framing.codecs import Framing
from lbproto.machine.env import Env
from lbproto.phases.http import ProxyHttp
from lbproto.proxy.destination import Destination
from lbproto.proxy.stock import Stock
from lbproto.proxy.terms import Terms
from lbproto.routing.plan import Plan
from lbproto.routing.table import RouteTable
from lbproto.selection.balancer import Balancer

__all__ = ["Site"]

UNBOUNDED: Final = 10**15
"""A number of requests that no connection lives to see."""


class Site:
    """A service at work: its rules, its limits, how many clients it has."""

    __slots__ = (
        "_date",
        "_framing",
        "_http_date",
        "_plans",
        "_second",
        "application",
        "balancer",
        "connection_age",
        "connections",
        "crowd",
        "destinations",
        "env",
        "keepalive",
        "last_stream",
        "max_retries",
        "most_of_address",
        "rejects_underscores",
        "request_header",
        "send",
        "service",
        "stock",
        "table",
        "terms",
        "upstream_keepalive",
        "via",
    )

    def __init__(
        self,
        service: Service,
        balancer: Balancer,
        destinations: dict[str, Destination],
        env: Env,
        max_retries: int,
        stock: Stock,
        application: ProxyHttp[Any] | None = None,
    ) -> None:
        limits, timeouts = service.limits, service.timeouts
        self.service = service
        self.terms = Terms(service)
        """What holds for requests that no route takes."""
        self.via = service.via
        self.rejects_underscores = service.underscores == "reject"
        self.request_header = float(timeouts.request_header)
        # One that was kept elsewhere and moved here gets its time for another head.
        self.keepalive = float(timeouts.keepalive or timeouts.request_header)
        self.connection_age = float(timeouts.connection_age)
        self.send = float(timeouts.send)
        self.upstream_keepalive = float(timeouts.upstream_keepalive)
        self.balancer = balancer
        self.destinations = destinations
        self.env = env
        self._http_date = env.http_date
        self._second = -1
        self._date = b""
        self.max_retries = max_retries
        self.stock = stock
        self.connections = 0
        self.crowd: dict[str, int] = {}
        """How many connections an address has, if that is limited."""
        self.most_of_address: int | None = limits.connections_per_address
        most = limits.requests_per_connection if timeouts.keepalive else 1
        self.last_stream = UNBOUNDED if most is None else 2 * most - 1
        """Of a client connection; HTTP/1 counts 1, 3, 5 ..."""
        self.application = application
        """Who conducts the exchanges; None: the configuration alone."""
        self.table = RouteTable(service) if service.routes else None
        """Who takes a request; None: the service's upstream takes all."""
        plans = () if self.table is None else self.table.plans
        self._plans: dict[Plan, Terms] = {plan: Terms(plan.service) for plan in plans}
        codec_limits = CodecLimits(
            request_line=limits.request_line,
            header_size=limits.header_size,
            header_count=limits.header_count,
            body_size=self._largest_body(),
            chunk_extensions=limits.chunk_extensions,
            trailer_size=limits.trailer_size,
            keep_trailers=service.trailers == "pass",
            response_header_size=limits.response_header_size,
        )
        self._framing = Framing(service.framing, codec_limits)

    def server_codec(self) -> ServerCodec:
        """Make the codec for a client connection."""
        return self._framing.server()

    def client_codec(self) -> ClientCodec:
        """Make the codec for one exchange with a backend."""
        return self._framing.client()

    def terms_of(self, plan: Plan) -> Terms:
        """Return what holds for requests of a route."""
        return self._plans[plan]

    def date(self, now: float) -> bytes:
        """The wall-clock time as an IMF-fixdate, which is new once a second."""
        second = int(now)
        if second != self._second:
            # The date first: another thread that finds the second finds it, too.
            self._date = self._http_date(now)
            self._second = second
        return self._date

    def _largest_body(self) -> int | None:
        """What a codec lets pass; a route may allow more than its service."""
        services = [self.service]
        if self.table is not None:
            services += [plan.service for plan in self.table.plans]
        largest = 0
        for service in services:
            if service.limits.body_size is None:
                return None
            largest = max(largest, service.limits.body_size)
        return largest

    @property
    def has_room(self) -> bool:
        """Whether one more client may be accepted (`limits.connections`)."""
        most = self.service.limits.connections
        return most is None or self.connections < most

    def opened(self) -> None:
        """Count a client that was accepted."""
        with self.env.guard:
            self.connections += 1

    def closed(self) -> None:
        """Count a client whose connection is gone."""
        with self.env.guard:
            self.connections -= 1
