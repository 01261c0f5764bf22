"""Matching paths in time that grows with their length alone.

A backtracking matcher can take exponential time on a path that its sender chose. So
an expression becomes a deterministic automaton when it is loaded, and matching is
one look into a table for each byte. An expression whose automaton would be too large
is refused then, never at run time.

The automaton reads the path from its end. After it has read `path[i:]` its state is
the set of those `Char` instructions that may take byte `i` with the rest leading to
a match. So the path matches if the program can get from its beginning to one of the
last set; and where groups are asked for, a second walk, forward through the program,
takes at each place the first choice that the set of that place allows. That is the
choice a backtracking matcher would end up with, found without going back (Frisch and
Cardelli, "Greedy Regular Expression Matching", 2004).
"""

from __future__ import annotations

from typing import Final, TypeAlias

from lbproto.routing.pattern import (
    Char,
    Instruction,
    Jump,
    PatternError,
    Save,
    Split,
    program,
)

__all__ = ["PathPattern"]

MAX_STATES: Final = 1000

Row: TypeAlias = list["Row"]
"""What follows a state, for each class of bytes: another row."""
Way: TypeAlias = tuple[int, tuple[int, ...]]
"""A place in the program to get to, and the slots noted on the way."""


class PathPattern:
    """An expression, ready to match."""

    __slots__ = ("_accepting", "_classes", "_sets", "_start", "_ways", "groups")

    def __init__(self, text: str) -> None:
        """Read an expression.

        Raises:
            PatternError: it is outside of the language, or too large.
        """
        code, self.groups = program(text)
        self._ways = _ways(code)
        self._classes, members = _byte_classes(code)
        rows, sets = _automaton(code, self._ways, members)
        first = sum(1 << target for target, _ in self._ways[0])
        self._start = rows[0]
        # Rows are told apart by identity: they live as long as this does.
        self._sets = {id(row): held for row, held in zip(rows, sets, strict=True)}
        self._accepting = frozenset(
            row for row, held in self._sets.items() if held & first
        )

    def matches(self, path: bytes) -> bool:
        """Tell whether the expression is found in a path."""
        row = self._start
        for index in reversed(path.translate(self._classes)):
            row = row[index]
        return id(row) in self._accepting

    def match(self, path: bytes) -> list[bytes] | None:
        """Return what the groups hold, the first at index 0; None if it is no match.

        A group that took no part is empty.
        """
        row = self._start
        sets = [self._sets[id(row)]]
        for index in reversed(path.translate(self._classes)):
            row = row[index]
            sets.append(self._sets[id(row)])
        if id(row) not in self._accepting:
            return None
        slots = self._walk(sets)
        return [
            path[slots[2 * n] : slots[2 * n + 1]] for n in range(1, self.groups + 1)
        ]

    def _walk(self, sets: list[int]) -> list[int]:
        """Go through the program forward; `sets` are in the order of reading."""
        slots = [0] * (2 * self.groups + 2)
        place = 0
        for at, held in enumerate(reversed(sets)):
            ways = self._ways[place]
            target, noted = next(way for way in ways if held >> way[0] & 1)
            for slot in noted:
                slots[slot] = at
            place = target + 1
        return slots


def _ways(code: list[Instruction]) -> dict[int, list[Way]]:
    """Return the ways from the beginning, and from behind each byte taken."""
    places = [0, *(at + 1 for at, one in enumerate(code) if isinstance(one, Char))]
    return {place: _ways_from(code, place) for place in places}


def _ways_from(code: list[Instruction], place: int) -> list[Way]:
    """Return which bytes can be taken next, best first; the end is one too."""
    ways: list[Way] = []
    seen = 0
    stack: list[Way] = [(place, ())]
    while stack:
        at, noted = stack.pop()
        if seen >> at & 1:
            continue  # a better way leads there already
        seen |= 1 << at
        instruction = code[at] if at < len(code) else None
        match instruction:
            case Split():
                stack.append((instruction.second, noted))
                stack.append((instruction.first, noted))
            case Jump():
                stack.append((instruction.to, noted))
            case Save():
                stack.append((at + 1, (*noted, instruction.slot)))
            case _:
                ways.append((at, noted))
    return ways


def _byte_classes(code: list[Instruction]) -> tuple[bytes, list[int]]:
    """Put bytes together that no instruction tells apart.

    Returns the class of each byte, and for each class the instructions that take it.
    """
    numbers: dict[int, int] = {}
    table = bytearray(256)
    chars = [(at, one.mask) for at, one in enumerate(code) if isinstance(one, Char)]
    for byte in range(256):
        takers = sum(1 << at for at, mask in chars if mask >> byte & 1)
        table[byte] = numbers.setdefault(takers, len(numbers))
    return bytes(table), list(numbers)


def _automaton(
    code: list[Instruction], ways: dict[int, list[Way]], members: list[int]
) -> tuple[list[Row], list[int]]:
    """Build the rows, the first for the end of the path, and their sets."""
    follow = {
        at: sum(1 << target for target, _ in ways[at + 1])
        for at, one in enumerate(code)
        if isinstance(one, Char)
    }
    sets = [1 << len(code)]
    rows: list[Row] = [[]]
    known = {sets[0]: rows[0]}
    for held, row in zip(sets, rows, strict=False):  # both grow meanwhile
        before = sum(1 << at for at, reached in follow.items() if reached & held)
        for takers in members:
            wanted = before & takers
            target = known.get(wanted)
            if target is None:
                if len(sets) >= MAX_STATES:
                    raise PatternError("it is too complex, expected a simpler one")
                target = known[wanted] = []
                rows.append(target)
                sets.append(wanted)
            row.append(target)
    return rows, sets
