"""What all connections of one service share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lbproto.config import Service
from lbproto.framing.codec import ClientCodec, CodecLimits, ServerCodec
from lbproto.framing.codecs import Framing
from lbproto.machine.env import Env
from lbproto.phases.http import ProxyHttp
from lbproto.proxy.destination import Destination
from lbproto.proxy.stock import Stock
from lbproto.routing.table import RouteTable
from lbproto.selection.balancer import Balancer

__all__ = ["Site"]


class Site:
    """A service at work: its rules, its limits, how many clients it has."""

    __slots__ = (
        "_framing",
        "application",
        "balancer",
        "connections",
        "crowd",
        "destinations",
        "env",
        "last_stream",
        "max_retries",
        "service",
        "stock",
        "table",
    )

    def __init__(
        self,
        service: Service,
        balancer: Balancer,
        destinations: Mapping[str, Destination],
        env: Env,
        max_retries: int,
        stock: Stock,
        application: ProxyHttp[Any] | None = None,
    ) -> None:
        limits = service.limits
        self.service = service
        self.balancer = balancer
        self.destinations = destinations
        self.env = env
        self.max_retries = max_retries
        self.stock = stock
        self.connections = 0
        self.crowd: dict[str, int] = {}
        """How many connections an address has, if that is limited."""
        most = limits.requests_per_connection
        self.last_stream = math.inf if most is None else 2 * most - 1
        """Of a client connection; HTTP/1 counts 1, 3, 5 ..."""
        self.application = application
        """Who conducts the exchanges; None: the configuration alone."""
        self.table = RouteTable(service) if service.routes else None
        """Who takes a request; None: the service's upstream takes all."""
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
        return self.connections < self.service.limits.connections

    def opened(self) -> None:
        """Count a client that was accepted."""
        with self.env.guard:
            self.connections += 1

    def closed(self) -> None:
        """Count a client whose connection is gone."""
        with self.env.guard:
            self.connections -= 1
