"""Holding what an `Env` guards shared state with, at little cost.

Compiled code finds the methods of this class at their place, and those of a lock are
found once. A lock is let go by `release`, which takes no arguments and so a third of
what leaving its context does. Where nothing runs beside us there is nothing to hold.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

__all__ = ["Guard"]


class Guard:
    """A context that is that of an `Env`."""

    __slots__ = ("_enter", "_leave", "_release")

    def __init__(self, guard: AbstractContextManager[object]) -> None:
        alone = isinstance(guard, nullcontext)
        self._enter = None if alone else guard.__enter__
        self._leave = None if alone else guard.__exit__
        self._release: Callable[[], object] | None = getattr(guard, "release", None)
        """What leaving does, if it is no more than that."""

    def __enter__(self) -> None:
        if self._enter is not None:
            self._enter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._release is not None:
            self._release()
        elif self._leave is not None:
            self._leave(kind, error, traceback)
