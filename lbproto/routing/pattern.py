r"""Reading regular expressions for paths into programs.

The language is the part of the usual one that a finite automaton can match, so that
what `automaton` makes of it looks at each byte of a path once, whoever wrote the
path:

* literals, `.`, classes such as `[a-z0-9_]` and `[^/]`, `\d \w \s \D \W \S`, and
  `\` before a character that means something
* groups `(...)` and `(?:...)`, alternatives `a|b`
* `*`, `+`, `?`, `{2}`, `{2,}`, `{2,5}`; with `?` behind them the shortest wins
* `^` at the beginning and `$` at the end of the whole; without them the expression
  may match anywhere
* `(?i)` at the beginning: letters of either case

Back-references, assertions, possessive quantifiers and named groups are refused, and
so is what would make a large program.

A program is a list of instructions, as in Cox, "Regular Expression Matching: the
Virtual Machine Approach" (2009), with sets of bytes as bit masks of 256 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

__all__ = ["Char", "Instruction", "Jump", "PatternError", "Save", "Split", "program"]

MAX_PATTERN: Final = 512
MAX_PROGRAM: Final = 1000
MAX_REPETITIONS: Final = 10_000
"""Counted where they are written; those of nothing make no program."""
MAX_COUNT: Final = 100
"""The largest number between braces."""
MAX_DEPTH: Final = 32
MAX_GROUPS: Final = 9

_TOO_LARGE: Final = "it is too large, expected fewer or smaller repetitions"
_ALL: Final = (1 << 256) - 1
_SPECIAL: Final = frozenset("\\^$.|?*+()[]{}/-\"'#&~:;,=!@%<> ")


class PatternError(ValueError):
    """An expression is outside of the language, or too large."""


class Char:
    """Take one byte of a set."""

    __slots__ = ("mask",)

    def __init__(self, mask: int) -> None:
        self.mask = mask


class Split:
    """Go on at either place; the first is preferred."""

    __slots__ = ("first", "second")

    def __init__(self, first: int, second: int) -> None:
        self.first = first
        self.second = second


class Jump:
    """Go on elsewhere."""

    __slots__ = ("to",)

    def __init__(self, to: int) -> None:
        self.to = to


class Save:
    """Note the place: 2n where group n begins, 2n + 1 where it ends."""

    __slots__ = ("slot",)

    def __init__(self, slot: int) -> None:
        self.slot = slot


Instruction: TypeAlias = Char | Split | Jump | Save
Piece: TypeAlias = Callable[[], None]
"""Writes the program of a part of the expression."""


def program(text: str) -> tuple[list[Instruction], int]:
    """Return the program of an expression, and how many groups it has.

    The end of the program is the match. It matches whole paths: where the expression
    has no anchor, the program takes any bytes.

    Raises:
        PatternError: the message says what is wrong.
    """
    if not text or len(text) > MAX_PATTERN:
        raise PatternError(f"expected 1-{MAX_PATTERN} characters")
    return _Reader(text).read()


class _Reader:
    """Reads one expression; `at` is the next character."""

    def __init__(self, text: str) -> None:
        self.fold = text.startswith("(?i)")
        self.text = text[4:] if self.fold else text
        self.at = 0
        self.depth = 0
        self.groups = 0
        self.choices = 0
        self.repetitions = 0
        self.code: list[Instruction] = []

    def read(self) -> tuple[list[Instruction], int]:
        from_start = self._take("^")
        body = self._alternatives()
        to_end = self._take("$")
        if self.at < len(self.text):
            found = self.text[self.at]
            raise PatternError(f"{found!r} has no meaning at character {self.at + 1}")
        if self.choices > 1 and (from_start or to_end):
            # To others the anchor is a part of one alternative; few mean that.
            raise PatternError("an anchor beside a|b, expected ^(?:a|b)$")
        if not from_start:
            self._repeat(self._char(_ALL), 0, None, greedy=False)
        body()
        if not to_end:
            self._repeat(self._char(_ALL), 0, None, greedy=True)
        return self.code, self.groups

    # -- reading -------------------------------------------------------------

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _take(self, wanted: str) -> bool:
        found = self.text.startswith(wanted, self.at)
        self.at += len(wanted) * found
        return found

    def _next(self) -> str:
        char = self._peek()
        if not char:
            raise PatternError("it ends in the middle")
        self.at += 1
        return char

    def _alternatives(self) -> Piece:
        choices = [self._sequence()]
        while self._take("|"):
            choices.append(self._sequence())
        self.choices = len(choices)  # in the end those of the outermost
        return lambda: self._either(choices)

    def _sequence(self) -> Piece:
        parts: list[Piece] = []
        while (char := self._peek()) and char not in "|)":
            if char == "$" and self.at + 1 == len(self.text) and not self.depth:
                break
            parts.append(self._quantified(self._atom()))

        def write() -> None:
            for part in parts:
                part()

        return write

    def _atom(self) -> Piece:
        char = self._next()
        match char:
            case "(":
                return self._group()
            case "[":
                return self._char(self._class())
            case ".":
                return self._char(_ALL)
            case "\\":
                return self._char(self._folded(self._escape()))
            case "*" | "+" | "?" | "{":
                raise PatternError(f"nothing that {char!r} could repeat")
            case "^" | "$":
                raise PatternError(f"{char!r} has no meaning inside")
            case _:
                return self._literal(char)

    def _group(self) -> Piece:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise PatternError(f"more than {MAX_DEPTH} groups inside each other")
        number = 0
        if self._take("?"):
            if not self._take(":"):
                raise PatternError("of all (?...) only (?:...) is known")
        else:
            self.groups += 1
            number = self.groups
            if number > MAX_GROUPS:
                raise PatternError(f"more than {MAX_GROUPS} groups, use (?:...)")
        body = self._alternatives()
        if not self._take(")"):
            raise PatternError("a ( without its )")
        self.depth -= 1
        if not number:
            return body

        def write() -> None:
            self._emit(Save(2 * number))
            body()
            self._emit(Save(2 * number + 1))

        return write

    def _quantified(self, piece: Piece) -> Piece:
        least, most = self._count()
        if (least, most) == (1, 1):
            return piece
        greedy = not self._take("?")
        if self._peek() and self._peek() in "*+{":
            raise PatternError(f"nothing that {self._peek()!r} could repeat")
        return lambda: self._repeat(piece, least, most, greedy=greedy)

    def _count(self) -> tuple[int, int | None]:
        if self._take("*"):
            return 0, None
        if self._take("+"):
            return 1, None
        if self._take("?"):
            return 0, 1
        if not self._take("{"):
            return 1, 1
        least = self._number()
        most: int | None = least
        if self._take(","):
            most = None if self._peek() == "}" else self._number()
        if not self._take("}") or (most is not None and most < least):
            raise PatternError("expected {2}, {2,} or {2,5}")
        return least, most

    def _number(self) -> int:
        begin = self.at
        while self._peek() and self._peek() in "0123456789":
            self.at += 1
        digits = self.text[begin : self.at]
        if not digits or len(digits) > 3 or int(digits) > MAX_COUNT:
            raise PatternError(f"expected a number of 0-{MAX_COUNT} between {{}}")
        return int(digits)

    def _class(self) -> int:
        negative = self._take("^")
        mask = 0
        first = True
        while first or self._peek() != "]":
            first = False
            low = self._member()
            if self.text[self.at : self.at + 1] == "-" and (
                self.text[self.at + 1 : self.at + 2] not in ("]", "")
            ):
                self.at += 1
                mask |= self._range(low, self._member())
            else:
                mask |= low
        self.at += 1
        mask = self._folded(mask)
        return _ALL & ~mask if negative else mask

    def _member(self) -> int:
        char = self._next()
        if char == "\\":
            return self._escape()
        if ord(char) > 127:
            raise PatternError("only ASCII can stand in [...]")
        return 1 << ord(char)

    def _range(self, low: int, high: int) -> int:
        if low.bit_count() != 1 or high.bit_count() != 1 or low > high:
            raise PatternError("a range in [...] goes from a character to a later one")
        return (high << 1) - low

    def _escape(self) -> int:
        char = self._next()
        known = _CLASSES.get(char.lower())
        if known is not None:
            return known if char.islower() else _ALL & ~known
        if char not in _SPECIAL:
            raise PatternError(f"\\{char} is not known")
        return 1 << ord(char)

    def _folded(self, mask: int) -> int:
        if not self.fold:
            return mask
        upper, lower = mask & _UPPER, mask & _LOWER
        return mask | upper << 32 | lower >> 32

    def _literal(self, char: str) -> Piece:
        masks = [self._folded(1 << byte) for byte in char.encode()]

        def write() -> None:
            for mask in masks:
                self._emit(Char(mask))

        return write

    # -- writing -------------------------------------------------------------

    def _char(self, mask: int) -> Piece:
        return lambda: self._emit(Char(mask))

    def _emit(self, instruction: Instruction) -> None:
        if len(self.code) >= MAX_PROGRAM:
            raise PatternError(_TOO_LARGE)
        self.code.append(instruction)

    def _either(self, choices: list[Piece]) -> None:
        ends: list[Jump] = []
        for choice in choices[:-1]:
            split = Split(len(self.code) + 1, 0)
            self._emit(split)
            choice()
            end = Jump(0)
            self._emit(end)
            ends.append(end)
            split.second = len(self.code)
        choices[-1]()
        for end in ends:
            end.to = len(self.code)

    def _repeat(
        self, piece: Piece, least: int, most: int | None, *, greedy: bool
    ) -> None:
        self.repetitions += max(least, most or 0)
        if self.repetitions > MAX_REPETITIONS:
            raise PatternError(_TOO_LARGE)
        for _ in range(least):
            piece()
        if most is None:
            begin = len(self.code)
            split = self._optional(piece, greedy=greedy, back=begin)
            self._aim(split, len(self.code), greedy=greedy)
            return
        splits = [
            self._optional(piece, greedy=greedy, back=None) for _ in range(most - least)
        ]
        for split in splits:
            self._aim(split, len(self.code), greedy=greedy)

    def _optional(self, piece: Piece, *, greedy: bool, back: int | None) -> Split:
        inside = len(self.code) + 1
        split = Split(inside, inside)
        self._emit(split)
        piece()
        if back is not None:
            self._emit(Jump(back))
        return split

    def _aim(self, split: Split, end: int, *, greedy: bool) -> None:
        """Let a split lead past what it makes optional."""
        if greedy:
            split.second = end
        else:
            split.first = end


def _mask(characters: str) -> int:
    return sum(1 << ord(char) for char in characters)


_LOWER: Final = _mask("abcdefghijklmnopqrstuvwxyz")
_UPPER: Final = _mask("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_DIGIT: Final = _mask("0123456789")
_CLASSES: Final = {
    "d": _DIGIT,
    "w": _DIGIT | _LOWER | _UPPER | _mask("_"),
    "s": _mask("\t\n\v\f\r "),
}
