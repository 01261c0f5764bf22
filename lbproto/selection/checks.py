"""How a load balancer's backends are looked after: what is said, not what is done.

A check of ours is a description; `lbproto.health` has the machine that carries it
out. The names and the defaults are Pingora's. A check of the program's own is any
object with a method `check`, and a way to find backends one with a method `discover`;
whoever drives the load balancer calls them.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from lbproto.config import Backend, HealthCheck
from lbproto.config.shown import shown
from lbproto.framing.field_lines import TOKEN
from lbproto.framing.grammar import ORIGIN_FORM
from lbproto.machine.tls import ClientTls
from lbproto.selection.addresses import Address

__all__ = [
    "AnyCheck",
    "HttpHealthCheck",
    "OwnHealthCheck",
    "ServiceDiscovery",
    "StaticDiscovery",
    "TcpHealthCheck",
    "description",
]

HOST: Final = re.compile(rb"[\x21-\x7e]++")
PORT: Final = re.compile(r":[0-9]++\Z")


@dataclass(slots=True, kw_only=True)
class TcpHealthCheck:
    """A connection can be made, and TLS spoken if that is asked for."""

    consecutive_success: int = 1
    """So many in a row make an unhealthy backend healthy."""
    consecutive_failure: int = 1
    """So many in a row make a healthy backend unhealthy."""
    timeout: float = 1.0
    """Seconds."""
    tls: ClientTls | None = None
    """TLS to speak; None: none."""
    port: int | None = None
    """Probe this port; None: the backend's own."""

    @classmethod
    def new_tls(cls, sni: str) -> TcpHealthCheck:
        """Make a check that speaks TLS and verifies the certificate for a name."""
        return cls(tls=ClientTls(sni=sni))

    def describe(self, interval: float) -> HealthCheck:
        """Return the probe to send every `interval` seconds."""
        return HealthCheck(
            type="tcp",
            interval=interval,
            timeout=self.timeout,
            healthy_after=self.consecutive_success,
            unhealthy_after=self.consecutive_failure,
            port=self.port,
        )


@dataclass(slots=True)
class HttpHealthCheck:
    """A request is answered with a status, and with some words if that is asked for."""

    host: str
    """Goes out as Host, and as the name of TLS."""
    use_tls: bool = False
    """Speak TLS, and verify the certificate for `host`."""
    consecutive_success: int = field(default=1, kw_only=True)
    consecutive_failure: int = field(default=1, kw_only=True)
    timeout: float = field(default=1.0, kw_only=True)
    """Seconds for the whole probe."""
    method: str = field(default="GET", kw_only=True)
    path: str = field(default="/", kw_only=True)
    """The target, with a query if there is one."""
    expect_status: tuple[int, ...] = field(default=(200,), kw_only=True)
    expect_body: bytes = field(default=b"", kw_only=True)
    """Words that have to be in the content."""
    reuse_connection: bool = field(default=False, kw_only=True)
    port_override: int | None = field(default=None, kw_only=True)
    peer_tls: ClientTls | None = field(default=None, kw_only=True)
    """TLS to speak, in every detail; None: as `use_tls` says."""

    @property
    def tls(self) -> ClientTls | None:
        """TLS to speak; None: none."""
        if self.peer_tls is None and self.use_tls:
            return ClientTls(sni=PORT.sub("", self.host).strip("[]"))
        return self.peer_tls

    def describe(self, interval: float) -> HealthCheck:
        """Return the probe to send every `interval` seconds.

        Raises:
            ValueError: method, path or host cannot stand in a request.
        """
        return HealthCheck(
            type="http",
            interval=interval,
            timeout=self.timeout,
            healthy_after=self.consecutive_success,
            unhealthy_after=self.consecutive_failure,
            port=self.port_override,
            method=_checked(self.method, TOKEN, "method"),
            path=_checked(self.path, ORIGIN_FORM, "path"),
            host=_checked(self.host, HOST, "host"),
            expect_status=self.expect_status,
            expect_body=self.expect_body,
            reuse=self.reuse_connection,
        )


def _checked(text: str, form: re.Pattern[bytes], what: str) -> bytes:
    raw = text.encode("utf-8")
    if form.fullmatch(raw) is None:
        raise ValueError(f"{shown(text)} is no {what} of a request")
    return raw


class OwnHealthCheck(Protocol):
    """A check of the program's own.

    It may also have `health_threshold(success: bool) -> int`: so many findings in a
    row change what is believed of a backend; without it, one does.
    """

    def check(self, backend: Backend, /) -> bool | Awaitable[bool | None] | None:
        """Look at a backend; False or an exception: it is not well.

        A plain function is called in a thread; a coroutine is awaited.
        """
        ...


AnyCheck: TypeAlias = TcpHealthCheck | HttpHealthCheck | HealthCheck | OwnHealthCheck


def description(
    check: AnyCheck | None, interval: float
) -> tuple[HealthCheck, ClientTls | None] | None:
    """Return the probe that a check of ours means, and the TLS to speak.

    None: there is no check, or it is the program's own.

    Raises:
        ValueError: it cannot be carried out.
    """
    if isinstance(check, TcpHealthCheck | HttpHealthCheck):
        return check.describe(interval), check.tls
    if isinstance(check, HealthCheck):
        return check, None
    return None


class ServiceDiscovery(Protocol):
    """A way to find backends."""

    def discover(self) -> Iterable[Address] | Awaitable[Iterable[Address]]:
        """Return all backends that there are; those with `drain` get nothing new.

        A plain function is called in a thread; a coroutine is awaited. An exception
        changes nothing: the last backends stay.
        """
        ...


class StaticDiscovery:
    """Backends that are known from the start."""

    __slots__ = ("_backends",)

    def __init__(self, backends: Iterable[Backend]) -> None:
        self._backends = tuple(backends)

    def discover(self) -> tuple[Backend, ...]:
        """Return them."""
        return self._backends
