"""Calling the phases of an application, and waiting for those that are awaited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from lbproto.machine.effects import Await, Cancel
from lbproto.phases.errors import ProxyError
from lbproto.proxy.flows import Called, Flows, PhaseError

if TYPE_CHECKING:
    from lbproto.machine.events import Settled
    from lbproto.machine.values import ConnId
    from lbproto.proxy.exchange import Exchange
    from lbproto.proxy.recess import Recess

__all__ = ["Caller"]


class Caller:
    """The way from one exchange to its application."""

    __slots__ = (
        "_application",
        "_detached",
        "_exchange",
        "_held",
        "_recess",
        "_since",
        "_ticket",
        "flows",
    )

    def __init__(
        self,
        exchange: Exchange,
        recess: Recess,
        met: Callable[[ProxyError | PhaseError], None],
    ) -> None:
        self._application = exchange.site.application
        self._exchange = exchange
        self._recess = recess
        self._ticket = 0  # of what is awaited now
        self._since = 0.0
        self._held: dict[int, float] = {}
        self._detached = False
        self.flows = Flows(self._pause, self._cancel, met)
        """What calls phases."""

    def call(self, phase: str, *arguments: object) -> Called:
        """Call a phase; what it returns, or what awaiting that returns, is the result.

        Raises:
            ProxyError: the phase did.
            PhaseError: it has raised anything else.
        """
        try:
            result: object = getattr(self._application, phase)(*arguments)
            if isinstance(result, Awaitable):
                result = yield result
        except ProxyError:
            raise
        except Exception as error:
            raise PhaseError(phase, error) from error
        return result

    def settled(self, event: Settled, now: float) -> None:
        """What was awaited has returned, or raised."""
        self._ticket = 0
        self._resume(now)
        self.flows.answered(event.result, event.error, now)

    def gone(self, conn: ConnId) -> None:
        """A backend's connection has ended; what that means is for later."""
        attempt = self._exchange.delivery.attempt
        if attempt is not None and attempt.conn == conn:
            attempt.lost()

    def detach(self) -> None:
        """The exchange is over: nothing of its connection waits for phases any more."""
        if self._recess.held_by is self:
            self._recess.held_by = None  # and its deadlines are over
        self._detached = True

    def _pause(self, awaitable: Awaitable[object]) -> None:
        exchange, recess = self._exchange, self._recess
        self._ticket = recess.ticket(self)
        exchange.out.append(Await(exchange.client.conn, self._ticket, awaitable))
        if not self._detached:
            recess.held_by = self
            self._since = self.flows.now
            self._held = exchange.timers.suspend()
            exchange.upload.rest(self.flows.now)

    def _resume(self, now: float) -> None:
        if self._recess.held_by is self:
            self._recess.held_by = None
            self._exchange.timers.resume(self._held, now - self._since)

    def _cancel(self) -> None:
        ticket, self._ticket = self._ticket, 0
        self._recess.called(ticket)
        self._exchange.out.append(Cancel(self._exchange.client.conn, ticket))
        self._resume(self.flows.now)
