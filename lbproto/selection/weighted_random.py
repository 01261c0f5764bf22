"""A backend by lot, each as likely as its weight.

As Pingora's `Random` over its weighted list, and nginx's `random`. Nothing is
remembered, so any number of workers and processes draw well together, which turns
in order do not. Over n picks a share strays from its weight by about
sqrt(n * p * (1 - p)), p being the share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from lbproto.selection.backend import BackendState
from lbproto.selection.chooser import Chooser
from lbproto.selection.draw import Lots

__all__ = ["Random"]


class Random(Chooser):
    """Draws among the backends of one upstream."""

    __slots__ = ("_lots", "_random")

    def __init__(
        self, backends: Iterable[BackendState], random: Callable[[], float]
    ) -> None:
        """Begin with these, all in; `random` gives numbers in [0, 1)."""
        self._lots = Lots(backends)
        self._random = random

    def pick(self, key: bytes, now: float) -> BackendState | None:
        """Draw one; the key is ignored."""
        lots = self._lots
        return lots.one(self._random()) if len(lots) else None

    def walk(self, key: bytes, now: float) -> Iterator[BackendState]:
        """Yield one draw after the other."""
        while (backend := self.pick(key, now)) is not None:
            yield backend

    def enter(self, backend: BackendState) -> None:
        """Draw it from now on."""
        self._lots.add(backend)

    def leave(self, backend: BackendState) -> None:
        """Draw it no more."""
        self._lots.remove(backend)
