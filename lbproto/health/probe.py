"""One probe of one backend: dial, perhaps ask, and say what was found.

A probe ends by its timeout, whatever the backend does. Its connection is closed then,
unless it is kept for the next probe. An idle connection that ends under a request
says nothing about the backend (RFC 9112 9.3.1), so a fresh one is dialled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from lbproto.config import HealthCheck
from lbproto.health.finding import Finding
from lbproto.health.question import Question
from lbproto.machine.effects import Close, Connect, Effect, Send, Target
from lbproto.machine.events import (
    Connected,
    ConnectError,
    ConnectFailed,
    Data,
    Eof,
    Event,
    Lost,
    Wake,
)
from lbproto.machine.values import ConnId

__all__ = ["Probe"]

TELLING: Final = (ConnectError.UNREACHABLE, ConnectError.DNS, ConnectError.TLS)
"""Where the detail says more."""


class Probe:
    """A machine that lives for one probe; feed it the events of `conn`."""

    __slots__ = (
        "_check",
        "_mint",
        "_preface",
        "_question",
        "_reused",
        "_target",
        "conn",
        "deadline",
        "finding",
        "kept",
        "over",
    )

    def __init__(
        self,
        target: Target,
        check: HealthCheck,
        preface: bytes,
        mint: Callable[[], ConnId],
        idle: ConnId | None = None,
    ) -> None:
        """`idle` is a connection that an earlier probe has left open."""
        self._target = target
        self._check = check
        self._preface = preface
        self._mint = mint
        self._question: Question | None = None
        self._reused = idle is not None
        self.conn = mint() if idle is None else idle
        """The connection at work."""
        self.deadline = math.inf
        """When the probe's time is up."""
        self.over = False
        self.finding: Finding | None = None
        """Set when it is over, unless it was our own shortage that ended it."""
        self.kept: ConnId | None = None
        """When it is over: the connection that is left open."""

    def begin(self, now: float) -> list[Effect]:
        """Start; time begins to run."""
        self.deadline = now + self._check.timeout
        if self._reused:
            return self._ask()
        return [Connect(self.conn, self._target, self._preface)]

    def handle(self, event: Event, now: float, /) -> list[Effect]:
        """Advance by one fact."""
        match event:
            case Connected():
                return self._connected()
            case ConnectFailed(_, why, detail):
                told = why in TELLING and detail.lower() != why.value.lower()
                reason = f"{why.value}: {detail}" if told else why.value
                ours = why is ConnectError.LOCAL
                return self._end(None if ours else Finding(False, reason))
            case Data(_, data) if self._question is not None:
                finding = self._question.hear(data)
                return self._settle(finding) if finding is not None else []
            case Eof() if self._question is not None:
                if self._is_stale():
                    return [Close(self.conn), *self._redial()]
                finding = self._question.hear_end()
                assert finding is not None, "an end settles everything"
                return self._settle(finding)
            case Lost(_, detail):
                if self._is_stale():
                    return self._redial()
                return self._end(Finding(False, f"connection lost: {detail}"))
            case Wake() if self.deadline <= now:
                return self.abandon(Finding(False, self._too_late()))
            case _:
                return []

    def abandon(self, finding: Finding | None = None) -> list[Effect]:
        """Give up, with what was found if anything was."""
        return [Close(self.conn, abort=True), *self._end(finding)]

    def _connected(self) -> list[Effect]:
        if self._check.type == "tcp":
            return self._settle(Finding(True, ""))
        return self._ask()

    def _ask(self) -> list[Effect]:
        self._question = Question(self._check)
        return [Send(self.conn, self._question.ask(self._target))]

    def _is_stale(self) -> bool:
        """Tell whether the connection may have ended before it was used again."""
        return self._reused and self._question is not None and not self._question.heard

    def _redial(self) -> list[Effect]:
        self._reused = False
        self._question = None
        self.conn = self._mint()
        return [Connect(self.conn, self._target, self._preface)]

    def _settle(self, finding: Finding) -> list[Effect]:
        """End with a connection that is still open."""
        question = self._question
        if (
            self._check.reuse
            and finding.healthy
            and question is not None
            and question.reusable
        ):
            self.kept = self.conn
            return self._end(finding)
        close = Close(self.conn, patience=self._check.timeout)
        return [close, *self._end(finding)]

    def _end(self, finding: Finding | None) -> list[Effect]:
        self.over = True
        self.finding = finding
        self.deadline = math.inf
        return []

    def _too_late(self) -> str:
        seconds = f"{self._check.timeout:g}s"
        if self._question is None:
            return f"no connection within {seconds}"
        if self._question.heard:
            return f"no complete response within {seconds}"
        return f"no response within {seconds}"
