"""What the policies of this library have in common.

They are policies like those that a program brings along (`policy`), and one class
beside, so that a choice, which happens for every request, finds its way without looking
anything up.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

from lbproto.selection.backend import BackendState

__all__ = ["Chooser"]


class Chooser:
    """A `Policy` of ours."""

    __slots__ = ()

    @abstractmethod
    def pick(self, key: bytes, now: float) -> BackendState | None:
        """Choose for a request with this key; None if nobody is in."""
        ...

    @abstractmethod
    def walk(self, key: bytes, now: float) -> Iterator[BackendState]:
        """Yield backends in order of preference; may repeat, may be endless."""
        ...

    @abstractmethod
    def enter(self, backend: BackendState) -> None:
        """Count with a backend that is out."""
        ...

    @abstractmethod
    def leave(self, backend: BackendState) -> None:
        """Do without a backend that is in."""
        ...

    def leased(self, backend: BackendState) -> None:
        """Take note that it has one lease more."""
        return

    def released(self, backend: BackendState) -> None:
        """Take note that it has one lease less."""
        return

    def ramped(self, backend: BackendState) -> None:
        """Take note that another part of its weight counts now."""
        return

    def observe(
        self, backend: BackendState, seconds: float, now: float, *, failed: bool
    ) -> None:
        """Take note of how long a response took to begin, or a failure to show."""
        return
