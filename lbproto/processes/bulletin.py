"""What is known of backends, as one process tells another.

The prober finds out, the master keeps it, the workers use it. A worker that starts is
given all that is known, and then each change. Workers of several generations get the
same messages, so each takes what concerns an upstream that has a health check in its
own configuration, and leaves the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lbproto.config import Config
from lbproto.health.monitor import BackendKey, Report
from lbproto.processes.channel import Kind, Message
from lbproto.selection.balancer import Balancer

__all__ = ["Bulletin", "apply", "health_messages"]

BATCH = 1000
"""Changes in one message; an address is at most some hundred bytes."""


def health_messages(
    reports: Iterable[Report | tuple[BackendKey, bool]],
) -> list[Message]:
    """Say which backends are healthy and which are not."""
    changes: list[object] = []
    for report in reports:
        if isinstance(report, tuple):
            (upstream, backend), healthy = report
            changes.append([upstream, backend, healthy])
        else:
            changes.append([report.upstream, report.backend, report.healthy])
    return [
        Message(Kind.HEALTH, {"changes": changes[at : at + BATCH]})
        for at in range(0, len(changes), BATCH)
    ]


def _changes(message: Message) -> Sequence[tuple[BackendKey, bool]]:
    changes = message.fields["changes"]
    assert isinstance(changes, list), "as it was written"
    return [((upstream, backend), healthy) for upstream, backend, healthy in changes]


class Bulletin:
    """All that is known."""

    __slots__ = ("health",)

    def __init__(self) -> None:
        self.health: dict[BackendKey, bool] = {}
        """Whether each backend is healthy, of those whose health has ever changed."""

    def note(self, message: Message) -> None:
        """Take a message of the prober."""
        self.health.update(_changes(message))

    def keep(self, config: Config) -> None:
        """Forget what a configuration does not ask about."""
        for key in [key for key in self.health if not _is_checked(config, key[0])]:
            del self.health[key]

    def messages(self) -> list[Message]:
        """Say all of it."""
        return health_messages(self.health.items())


def apply(message: Message, config: Config, balancer: Balancer) -> None:
    """Take a message in a worker; from any thread, if the balancer has a lock."""
    for (upstream, backend), healthy in _changes(message):
        if _is_checked(config, upstream):
            balancer.set_health(upstream, backend, healthy)


def _is_checked(config: Config, upstream: str) -> bool:
    found = config.upstreams.get(upstream)
    return found is not None and found.health_check is not None
