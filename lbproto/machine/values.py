"""Records: what events, effects and messages are made of.

A record is a slotted dataclass that the type checker takes as frozen. Truly
frozen dataclasses cost two and a half times as much to build, and one is built
for everything that happens; tuples are no choice, since two of different types
compare equal and a transcript would pass on the wrong effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType, TypeVar, dataclass_transform

__all__ = ["ConnId", "fleeting", "leaf", "value"]

T = TypeVar("T")

ConnId = NewType("ConnId", int)
"""One connection, client's or backend's; unique in the process, never reused."""


def leaf(cls: type[T]) -> type[T]:
    """Say that no object of a class is ever part of a cycle of references.

    It holds nothing that could know it, as a record does. Compiled, leaves are no work
    for the garbage collector (`hatch_build.py`).
    """
    return cls


def fleeting(cls: type[T]) -> type[T]:
    """Say that objects of a class come and go with each exchange or connection.

    Compiled, the memory of one that has gone is kept for the next, as that of a leaf is
    (`hatch_build.py`).
    """
    return cls


@dataclass_transform(frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """Make a record: slots, equality by type and fields.

    Assigning to a field is an error to the type checker, not at run time.
    """
    return dataclass(slots=True)(cls)
