"""What is known of backends, as one process tells another.

The prober finds out, the master keeps it, the workers use it. A worker that starts is
given all that is known, and then each change. Workers of several generations get the
same messages, so each takes what concerns an upstream that has a health check, or a
source of backends, in its own configuration, and leaves the rest. The load balancers of
a program are told in the same way, each under a name of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from lbproto.config import Backend, Config, Upstream
from lbproto.health.monitor import BackendKey, Report
from lbproto.machine.effects import Target
from lbproto.processes.channel import Kind, Message
from lbproto.selection.backend import BackendId
from lbproto.selection.balancer import Balancer
from lbproto.selection.load_balancer import LoadBalancer

__all__ = ["Bulletin", "Follower", "backends_message", "health_messages"]

BATCH: Final = 1000
"""Changes in one message; one is at most some hundred bytes."""


def health_messages(reports: Iterable[Report]) -> list[Message]:
    """Say which backends are healthy and which are not."""
    changes = [[it.upstream, it.backend, it.healthy, it.reason] for it in reports]
    return [
        Message(Kind.HEALTH, {"changes": changes[at : at + BATCH]})
        for at in range(0, len(changes), BATCH)
    ]


def backends_message(upstream: str, backends: Sequence[Backend]) -> Message:
    """Say which backends an upstream has now."""
    rows = []
    for backend in backends:
        target = backend.target
        rows.append(
            [
                target.host,
                target.port,
                target.path,
                backend.weight,
                backend.backup,
                backend.drain,
                backend.max_connections,
            ]
        )
    return Message(Kind.BACKENDS, {"upstream": upstream, "backends": rows})


def _reports(message: Message) -> list[Report]:
    changes = message.fields["changes"]
    assert isinstance(changes, list), "as it was written"
    return [Report(*change) for change in changes]


def _found(message: Message) -> tuple[str, tuple[Backend, ...]]:
    upstream, rows = message.fields["upstream"], message.fields["backends"]
    assert isinstance(upstream, str), "as it was written"
    assert isinstance(rows, list), "as it was written"
    return upstream, tuple(
        Backend(
            target=Target(host, port, path),
            weight=weight,
            backup=backup,
            drain=drain,
            max_connections=most,
        )
        for host, port, path, weight, backup, drain, most in rows
    )


class Bulletin:
    """All that is known."""

    __slots__ = ("_health", "backends")

    def __init__(self) -> None:
        self._health: dict[BackendKey, Report] = {}
        self.backends: dict[str, tuple[Backend, ...]] = {}
        """The backends of each upstream whose source has had something to say."""

    @property
    def health(self) -> dict[BackendKey, bool]:
        """Whether each backend is healthy, of those whose health has ever changed."""
        return {key: report.healthy for key, report in self._health.items()}

    def note(self, message: Message) -> None:
        """Take a message of the prober."""
        if message.kind is Kind.HEALTH:
            for report in _reports(message):
                self._health[report.upstream, report.backend] = report
        elif message.kind is Kind.BACKENDS:
            upstream, backends = _found(message)
            self.backends[upstream] = backends

    def keep(self, config: Config, others: Collection[str] = ()) -> None:
        """Forget what neither a configuration nor one of the others asks about."""
        for key in tuple(self._health):
            if key[0] not in others and not _is_checked(config, key[0]):
                del self._health[key]
        for name in tuple(self.backends):
            if name not in others and not _is_found(config, name):
                del self.backends[name]

    def upstreams(self, config: Config) -> dict[str, Upstream]:
        """Return the upstreams of a configuration, with what was found for them."""
        return {
            name: _with(upstream, self.backends.get(name))
            for name, upstream in config.upstreams.items()
        }

    def messages(self) -> list[Message]:
        """Say all of it."""
        found = [backends_message(*item) for item in self.backends.items()]
        return [*found, *health_messages(self._health.values())]


class Follower:
    """What one worker chooses with, kept up to date; used by one thread at a time."""

    __slots__ = ("_balancer", "_config", "_others", "_upstreams")

    def __init__(
        self,
        config: Config,
        balancer: Balancer,
        others: Mapping[str, LoadBalancer] | None = None,
    ) -> None:
        """Follow from `config`, which the balancer was made of.

        `others` are load balancers of the program, by names that no upstream has.
        """
        self._balancer = balancer
        self._others = others or {}
        self._config = config
        self._upstreams: Mapping[str, Upstream] = config.upstreams

    def take(self, message: Message, now: float) -> None:
        """Do as a message says; what is not of this configuration is left."""
        if message.kind is Kind.HEALTH:
            self._take_health(_reports(message), now)
        elif message.kind is Kind.BACKENDS:
            name, backends = _found(message)
            if name in self._others:
                self._others[name].update(backends)
            elif _is_found(self._config, name):
                changed = _with(self._upstreams[name], backends)
                self._upstreams = {**self._upstreams, name: changed}
                self._balancer.update(self._upstreams, now)

    def _take_health(self, reports: Sequence[Report], now: float) -> None:
        ids: dict[BackendKey, list[BackendId]] = {}
        for one in self._balancer.stats().backends:
            ids.setdefault((one.upstream, str(one.target)), []).append(one.id)
        for report in reports:
            if report.upstream in self._others:
                other = self._others[report.upstream]
                other.set_health(report.backend, report.healthy)
            elif _is_checked(self._config, report.upstream):
                for backend in ids.get((report.upstream, report.backend), ()):
                    healthy, reason = report.healthy, report.reason
                    self._balancer.set_health(backend, healthy, now, reason)


def _with(upstream: Upstream, backends: tuple[Backend, ...] | None) -> Upstream:
    if upstream.source is None or backends is None:
        return upstream
    return replace(upstream, backends=backends)


def _is_checked(config: Config, upstream: str) -> bool:
    found = config.upstreams.get(upstream)
    return found is not None and found.health_check is not None


def _is_found(config: Config, upstream: str) -> bool:
    found = config.upstreams.get(upstream)
    return found is not None and found.source is not None
