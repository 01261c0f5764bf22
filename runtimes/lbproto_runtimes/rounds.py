"""Asking all workers something, and knowing when the last one has answered.

A worker that ends has answered, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lbproto.processes.channel import Kind
    from lbproto.processes.facts import WorkerId

__all__ = ["Rounds"]


class Rounds:
    """At most one question of a kind at a time; a new one replaces the old."""

    def __init__(self) -> None:
        self._asked: dict[Kind, tuple[dict[WorkerId, None], Callable[[], None]]] = {}

    def ask(
        self, kind: Kind, workers: Iterable[WorkerId], done: Callable[[], None]
    ) -> None:
        """Call `done` when each of these has answered with a message of the kind."""
        self._asked[kind] = (dict.fromkeys(workers), done)
        self._look(kind)

    def answered(self, worker: WorkerId, kind: Kind) -> None:
        """A worker has said this."""
        if kind in self._asked:
            self._asked[kind][0].pop(worker, None)
            self._look(kind)

    def exited(self, worker: WorkerId) -> None:
        """A worker will say nothing any more."""
        for kind in list(self._asked):
            self.answered(worker, kind)

    def _look(self, kind: Kind) -> None:
        workers, done = self._asked[kind]
        if not workers:
            del self._asked[kind]
            done()
