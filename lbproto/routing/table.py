"""The routes of one service: who takes a request.

The first route of the file that fits wins. Which routes a host can take is known
beforehand (`hosts`), so what is left to ask is the path, the method and the fields.

A request whose path has no safe form is refused as soon as one route looks at
paths, even if another one would take it: what cannot be compared can be let past
no route that was meant to stop it.
"""

from __future__ import annotations

from lbproto.config import Service
from lbproto.framing.messages import RequestHead
from lbproto.rewriting.paths import split_target, true_path
from lbproto.rewriting.variables import host_of
from lbproto.routing.hosts import HostIndex
from lbproto.routing.plan import Plan

__all__ = ["RouteTable"]


class RouteTable:
    """Finds the plan for a request; built once."""

    __slots__ = ("_hosts", "_looks_at_paths", "plans")

    def __init__(self, service: Service) -> None:
        """Make the routes of a service ready.

        Raises:
            PatternError: an expression is outside of the language, or too large.
        """
        self.plans = tuple(Plan(route, service) for route in service.routes)
        """In the order of the routes."""
        self._looks_at_paths = any(plan.looks_at_path for plan in self.plans)
        self._hosts = HostIndex(
            [
                (route.match.hosts, plan)
                for route, plan in zip(service.routes, self.plans, strict=True)
            ]
        )

    def path(self, target: bytes) -> bytes | None:
        """Return the path that the routes look at; None if it has no safe form."""
        path = split_target(target)[0]
        return true_path(path) if self._looks_at_paths else path

    def find(self, head: RequestHead, path: bytes) -> Plan | None:
        """Return the first plan that takes a request with this path."""
        for plan in self._hosts.find(host_of(head.authority)):
            if plan.takes(head, path):
                return plan
        return None
