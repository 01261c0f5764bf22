"""Descriptors that came from another process, under the names that machines use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbproto.handover.keys import FdToken
from lbproto_runtimes import fdpass

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Tokens"]


class Tokens:
    """Holds them until somebody wants them, or nobody does."""

    def __init__(self) -> None:
        self._held: dict[FdToken, int] = {}
        self._last = 0

    @property
    def descriptors(self) -> list[int]:
        """What is held."""
        return list(self._held.values())

    def keep(self, fds: Iterable[int]) -> tuple[FdToken, ...]:
        """Hold these, and return a name for each; no name comes twice."""
        tokens = []
        for fd in fds:
            self._last += 1
            tokens.append(FdToken(self._last))
            self._held[tokens[-1]] = fd
        return tuple(tokens)

    def claim(self, token: FdToken) -> int:
        """Hand a descriptor over to the caller."""
        return self._held.pop(token)

    def drop(self, token: FdToken) -> None:
        """Close a descriptor."""
        fdpass.close_all([self._held.pop(token)])

    def close(self) -> None:
        """Close all."""
        fdpass.close_all(self._held.values())
        self._held.clear()
