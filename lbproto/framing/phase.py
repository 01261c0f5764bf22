"""How far the message that a codec reads has come."""

from __future__ import annotations

from enum import Enum, auto

__all__ = ["Phase"]


class Phase(Enum):
    """How far the message that we read has come."""

    HEAD = auto()
    BODY = auto()
    DONE = auto()
    """Complete; what follows belongs to another message, or to a tunnel."""
    FAILED = auto()
