"""Asking all who attend to clients for those that are idle.

Each client is its attendant's alone, so each has to answer; the last one who does, or
leaves, completes the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import collections.abc
    from collections.abc import Callable, Sequence

    from lbproto_runtimes.moved import Moved
    from lbproto_runtimes.polls import Lock

__all__ = ["Collection"]


class Collection:
    """A search for idle clients; over when everybody has answered."""

    def __init__(
        self,
        keys: collections.abc.Collection[str],
        most: int,
        found: Callable[[Sequence[Moved], int], object],
        asked: dict[object, None],
        lock: Lock,
    ) -> None:
        """`asked` are those who have to answer."""
        self.keys = keys
        self._most = most
        self._found = found
        self._asked = asked
        self._left = 0
        self._moved: list[Moved] = []
        self._lock = lock

    def ask(self, who: object, give_up: Callable[[], Moved | None]) -> None:
        """Answer with what is given up, if one more is welcome."""
        with self._lock:
            welcome = self._most > 0
            self._most -= welcome
        moved = give_up() if welcome else None
        if welcome and moved is None:
            with self._lock:
                self._most += 1
        self.answer(who, moved, left=moved is None)

    def answer(self, who: object, moved: Moved | None, *, left: bool) -> None:
        """Give up a client, or tell that there is none to give up; `left`: it stays."""
        with self._lock:
            if who not in self._asked:
                return
            del self._asked[who]
            self._left += left
            if moved is not None:
                self._moved.append(moved)
        self.finish()

    def finish(self) -> None:
        """Tell the result, if that was the last answer."""
        with self._lock:
            if self._asked:
                return
            found, self._found = self._found, lambda moved, left: None
        found(self._moved, self._left)
