"""The power of two choices: two by lot, the less loaded of them.

Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (1996): the
fullest of n backends gets about log log n instead of log n / log log n. It needs no
knowledge of all loads and no order among them, so several workers that each know
only their own exchanges do not all run to the same backend. As nginx's `random two
least_conn`. The lots are by weight and the first of equals is taken, so weights are
honoured while there is little to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from lbproto.selection.backend import BackendState
from lbproto.selection.chooser import Chooser
from lbproto.selection.draw import Lots
from lbproto.selection.load import load

__all__ = ["P2C"]


class P2C(Chooser):
    """Draws two of the backends of one upstream and compares their loads."""

    __slots__ = ("_lots", "_random")

    def __init__(
        self, backends: Iterable[BackendState], random: Callable[[], float]
    ) -> None:
        """Begin with these, all in; `random` gives numbers in [0, 1)."""
        self._lots = Lots(backends)
        self._random = random

    def pick(self, key: bytes, now: float) -> BackendState | None:
        """Draw two and take the less loaded; the key is ignored."""
        lots = self._lots
        if len(lots) < 2:
            return lots.one(0.0) if len(lots) else None
        one, other = lots.two(self._random(), self._random())
        return one if load(one) <= load(other) else other

    def walk(self, key: bytes, now: float) -> Iterator[BackendState]:
        """Yield one choice after the other."""
        while (backend := self.pick(key, now)) is not None:
            yield backend

    def enter(self, backend: BackendState) -> None:
        """Draw it from now on."""
        self._lots.add(backend)

    def leave(self, backend: BackendState) -> None:
        """Draw it no more."""
        self._lots.remove(backend)
