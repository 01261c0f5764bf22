"""The whole load balancer of one process, without a socket.

A runtime makes one `Gateway`, asks it for a `ProxyConnection` for each client it
accepts, and for `housekeeping`, the machine that owns the idle backend
connections. Everything else is events and effects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lbproto.config import Config, Listen
from lbproto.machine.env import Env
from lbproto.machine.values import ConnId
from lbproto.phases.http import ProxyHttp
from lbproto.proxy.connection import ProxyConnection
from lbproto.proxy.destination import Destination
from lbproto.proxy.site import Site
from lbproto.proxy.stock import Stock
from lbproto.selection.balancer import Balancer
from lbproto.selection.housekeeping import Housekeeping

__all__ = ["Gateway"]


class Gateway:
    """Services, the balancer they share, and its idle connections."""

    __slots__ = ("balancer", "config", "housekeeping", "sites")

    def __init__(
        self,
        config: Config,
        env: Env,
        applications: Mapping[str, ProxyHttp[Any]] | None = None,
    ) -> None:
        """Serve what is configured; services named in `applications` are theirs."""
        self.config = config
        self.balancer = Balancer(config, env)
        self.housekeeping = Housekeeping(self.balancer)
        destinations = {
            name: Destination(upstream, env)
            for name, upstream in config.upstreams.items()
        }
        conducting = applications or {}
        stock = Stock(config.buffer_budget, env.guard)
        self.sites: Mapping[str, Site] = {
            service.name: Site(
                service,
                self.balancer,
                destinations,
                env,
                config.max_retries,
                stock,
                conducting.get(service.name),
            )
            for service in config.services
        }

    def mint(self) -> ConnId:
        """Return an id for a connection that was accepted."""
        return self.balancer.mint()

    def connection(
        self, service: str, conn: ConnId, listen: Listen | None = None
    ) -> ProxyConnection:
        """Make the machine of a client connection; feed it `Opened` first.

        `listen` is where the client was accepted; without it HTTP comes at once.
        """
        return ProxyConnection(conn, self.sites[service], listen)
