"""Flows: what an exchange does, in steps between which an application is asked.

A flow is a generator. It yields what has to be awaited and is sent what that has
returned; without anything to await it runs to its end at once. There is one at a time,
the others wait in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Generator
from typing import Protocol, TypeAlias, TypeVar

from lbproto.phases.errors import ProxyError

__all__ = ["Called", "Flow", "Flows", "PhaseError", "edited"]

T = TypeVar("T", covariant=True)

Flow: TypeAlias = Generator[Awaitable[object], object, None]
Called: TypeAlias = Generator[Awaitable[object], object, object]


class PhaseError(Exception):
    """A phase has raised, or returned what makes no sense: the application's bug."""

    def __init__(self, phase: str, error: Exception) -> None:
        super().__init__(f"{phase} raised {type(error).__name__}: {error}")
        self.phase = phase
        self.error = error


class Editable(Protocol[T]):
    """A head in the hands of an application."""

    def edited(self) -> T:
        """Return it as it is now; raises `ValueError` if it is none any more."""
        ...


def edited(phase: str, header: Editable[T]) -> T:
    """Return a head as a phase has left it.

    Raises:
        PhaseError: it is none any more.
    """
    try:
        return header.edited()
    except ValueError as error:
        raise PhaseError(phase, error) from error


class Flows:
    """The flows of one exchange."""

    __slots__ = ("_cancel", "_current", "_met", "_pause", "_queue", "_running", "now")

    def __init__(
        self,
        pause: Callable[[Awaitable[object]], None],
        cancel: Callable[[], None],
        met: Callable[[ProxyError | PhaseError], None],
    ) -> None:
        """`pause` and `cancel` begin and end a wait; `met` is told what was raised."""
        self._pause = pause
        self._cancel = cancel
        self._met = met
        self._queue: deque[Flow] = deque()
        self._current: Flow | None = None  # the one that runs, or waits
        self._running = False
        self.now = 0.0
        """The time of the event at hand."""

    def add(self, flow: Flow, now: float) -> None:
        """Begin a flow when those before it are over."""
        self.now = now
        self._queue.append(flow)
        self._go_on()

    def replace(self, flow: Flow, now: float) -> None:
        """Begin a flow in place of all others; the one that runs comes to its end."""
        self.now = now
        self._queue.clear()
        if self._current is not None and not self._running:
            self._cancel()
            self._current.close()
            self._current = None
        self._queue.append(flow)
        self._go_on()

    def answered(self, result: object, error: BaseException | None, now: float) -> None:
        """Go on with what was awaited."""
        self.now = now
        self._running = True
        try:
            self._step(result, error)
        finally:
            self._running = False
        self._go_on()

    def _go_on(self) -> None:
        if self._running:
            return
        self._running = True
        try:
            while self._queue and self._current is None:
                self._current = self._queue.popleft()
                self._step(None, None)
        finally:
            self._running = False

    def _step(self, result: object, error: BaseException | None) -> None:
        flow = self._current
        assert flow is not None, "there is a flow to go on with"
        try:
            awaitable = flow.send(result) if error is None else flow.throw(error)
        except StopIteration:
            self._current = None
        except (ProxyError, PhaseError) as met:
            self._current = None
            self._met(met)
        else:
            self._pause(awaitable)
