"""How the backends of one upstream stand: well or ill, and since which news.

Probes, and whoever else knows, say what is healthy; until somebody does, everything
is. Failures of real requests eject (`outliers`). A drain is the operator's wish. Each
change is one log line with its reason, kept in `news` until the machine that called
takes it along.
"""

from __future__ import annotations

from lbproto.machine.effects import Level, Log
from lbproto.selection.backend import DRAINING, EJECTED, UNHEALTHY, BackendState
from lbproto.selection.group import ILL, Group
from lbproto.selection.outliers import eject, may_eject

__all__ = ["Standing"]


class Standing:
    """Decides why the backends of a group are barred."""

    __slots__ = ("group", "news")

    def __init__(self, group: Group) -> None:
        self.group = group
        self.news: list[Log] = []

    def set_health(
        self, backend: BackendState, healthy: bool, now: float, reason: str
    ) -> None:
        """Believe a probe, or whoever else knows."""
        if healthy is not bool(backend.barred & UNHEALTHY):
            return
        if healthy:
            self.group.unbar(backend, UNHEALTHY)
            self.group.start_slowly(backend, now)
            self.say(Level.INFO, "backend becomes healthy", reason, backend)
        else:
            self.group.bar(backend, UNHEALTHY)
            self.say(Level.WARNING, "backend becomes unhealthy", reason, backend)
        self.judge()

    def set_draining(self, backend: BackendState, draining: bool, reason: str) -> None:
        """Give a backend nothing new, or something again."""
        if draining is bool(backend.barred & DRAINING):
            return
        if draining:
            self.group.bar(backend, DRAINING)
            self.say(Level.INFO, "backend drains", reason, backend)
        else:
            self.group.unbar(backend, DRAINING)
            self.say(Level.INFO, "backend drains no more", reason, backend)
        self.judge()

    def failed(self, backend: BackendState, now: float) -> None:
        """Note a failure; eject the backend if it is one too many."""
        backend.streak += 1
        rule = self.group.upstream.outlier_detection
        if rule is None or backend.streak < rule.consecutive_failures:
            return
        states = self.group.backends
        ejected = sum(bool(one.barred & EJECTED) for one in states)
        if backend.barred & EJECTED or not may_eject(rule, ejected, len(states)):
            return
        seconds = eject(backend, rule, now)
        self.group.bar_until(backend, EJECTED, backend.ejected_until)
        reason = f"{backend.streak} failures in a row"
        self.say(Level.WARNING, "backend ejected", reason, backend, seconds)
        self.judge()

    def recover(self, now: float) -> None:
        """Let those come back whose time has come."""
        returned = self.group.recover(now)
        for backend in returned:
            backend.streak = 0
            self.group.start_slowly(backend, now)
            self.say(Level.INFO, "backend returns", "its ejection is over", backend)
        if returned:
            self.judge()
        self.group.call()

    def judge(self) -> None:
        """See whether it is time to panic, or not any more."""
        group = self.group
        states = [one for one in group.backends if not one.barred & DRAINING]
        well = sum(not one.barred & ILL for one in states)
        panic = well * 100 < group.upstream.panic_percent * len(states)
        if panic is not group.panic:
            group.set_panic(panic)
            message = "panic: all backends are used" if panic else "panic is over"
            level = Level.WARNING if panic else Level.INFO
            self.say(level, message, f"{well} of {len(states)} backends are well")
        group.call()

    def say(
        self,
        level: Level,
        message: str,
        reason: str,
        backend: BackendState | None = None,
        seconds: float | None = None,
    ) -> None:
        """Add a log line."""
        fields: dict[str, object] = {"upstream": self.group.upstream.name}
        if backend is not None:
            fields["backend"] = str(backend.target)
        fields["reason"] = reason
        if seconds is not None:
            fields["seconds"] = seconds
        self.news.append(Log(level, message, fields))
