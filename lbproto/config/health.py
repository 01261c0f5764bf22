"""Where the backends of an upstream come from, and how they are probed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lbproto.machine.effects import Target

__all__ = ["DnsSource", "FileSource", "HealthCheck"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """How the servers of an upstream are probed; durations are seconds."""

    type: Literal["tcp", "http"] = "tcp"
    """Whether a connection will do (after TLS, if the upstream has it)."""
    interval: float = 1.0
    """Between the beginnings of two probes."""
    timeout: float = 1.0
    """For a whole probe."""
    healthy_after: int = 1
    """Successes in a row."""
    unhealthy_after: int = 1
    """Failures in a row."""
    port: int | None = None
    """Where the probes go; None: where the requests go."""
    method: bytes = b"GET"
    path: bytes = b"/"
    host: bytes | None = None
    """The value of Host; None: the name or address of the backend."""
    expect_status: tuple[int, ...] = (200,)
    expect_body: bytes = b""
    """What must stand somewhere in the content."""
    reuse: bool = False
    """The connection is kept for the next probe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource:
    """Backends are listed in a file of their own."""

    path: str
    interval: float = 1.0
    """Seconds between two looks at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsSource:
    """Backends are the addresses of a name."""

    name: str
    port: int | None = None
    """Of all of them; None: the records of type SRV name it."""
    type: Literal["a", "srv"] = "a"
    interval: float = 30.0
    """Seconds between two questions; a shorter TTL is honoured."""
    server: Target | None = None
    """Whom to ask; None: who the system asks."""
