"""YAML as a tree of plain values, each with its place in the file.

The tree is built from the parser's events, so nothing is constructed that the
file did not spell out: no aliases (a few lines of them stand for gigabytes), no
tags (they name types), no key twice (YAML lets the last win in silence), no
depth on which code that walks the tree could choke.

Scalars are resolved by rules narrower than YAML 1.1, in which `22:22` is 1342,
`017` is 15 and `no` is false. Here a plain scalar is null, `true` or `false`, a
decimal number, or else the text that was written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import yaml

from lbproto.config.shown import shown
from lbproto_cli.problems import ConfigProblems, Path, Place, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_BYTES", "MAX_DEPTH", "Document", "Value", "read_document"]

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 32

# Without libyaml the same parser in Python does; it is only slower.
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUES: Final = frozenset({"true", "True", "TRUE"})
_FALSES: Final = frozenset({"false", "False", "FALSE"})
# Eighteen digits fit in 64 bits; a longer number stays text and is refused where
# a number is expected.
_INTEGER: Final = re.compile(r"-?+(?:0|[1-9][0-9]{0,17}+)")
_FRACTION: Final = re.compile(r"-?+(?:0|[1-9][0-9]{0,17}+)\.[0-9]{1,18}+")

_STANDARD_TAG: Final = "tag:yaml.org,2002:"


@dataclass(slots=True)
class Document:
    """A file that is YAML: its values, their places, what was wrong so far."""

    source: str
    root: Value = None
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unusable: set[Path] = field(default_factory=set)
    """Paths whose values were refused already and stand as null."""

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Find a value, or its key; what is not there is where its parent is."""
        if key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Place(1, 1))

    def refuse(self, path: Path, message: str, *, key: bool = False) -> None:
        """Note a problem unless the value was refused already."""
        if any(path[:length] in self.unusable for length in range(len(path) + 1)):
            return
        where = self.place(path, key=key)
        self.problems.append(Problem(self.source, where, path, message))


def read_document(data: bytes, source: str) -> Document:
    """Parse one YAML document.

    Raises:
        ConfigProblems: it is no YAML, too large or too deep.
    """
    document = Document(source)
    if len(data) > MAX_BYTES:
        message = "the file is larger than 1 MiB, expected at most 1 MiB"
        raise ConfigProblems([Problem(source, Place(1, 1), (), message)])
    text = _decoded(data, source)
    try:
        _Builder(document, yaml.parse(text, Loader=_LOADER)).build()
    except yaml.YAMLError as error:
        problem = _syntax(error, text, source)
        raise ConfigProblems([*document.problems, problem]) from None
    return document


def _decoded(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _place_at(data[: error.start].decode("utf-8", "replace"))
        message = f"not YAML: byte 0x{data[error.start]:02x} is not UTF-8"
        raise ConfigProblems([Problem(source, place, (), message)]) from None


def _place_at(before: str) -> Place:
    line = before.count("\n") + 1
    return Place(line, len(before) - (before.rfind("\n") + 1) + 1)


def _syntax(error: yaml.YAMLError, text: str, source: str) -> Problem:
    place = Place(1, 1)
    if isinstance(error, yaml.reader.ReaderError):
        before = text.encode()[: error.position].decode("utf-8", "replace")
        place = _place_at(before)
        what = str(error.reason)
    elif isinstance(error, yaml.MarkedYAMLError):
        what = ", ".join(filter(None, (error.context, error.problem)))
        mark = error.problem_mark or error.context_mark
        if mark is not None:
            place = Place(mark.line + 1, mark.column + 1)
            what = _blamed(text[mark.index : mark.index + 1], what)
    else:
        what = "it cannot be parsed"
    printable = what.encode("ascii", "backslashreplace").decode()
    message = "not YAML: " + re.sub(r"[\x00-\x1f\x7f]", " ", printable)
    return Problem(source, place, (), message)


def _blamed(character: str, what: str) -> str:
    """Say it better than the parser where one character is to blame."""
    if character == "\t":
        return "a tab, expected spaces"
    if "that cannot start any token" in what:
        return f"text cannot begin with {character}, expected quotes around it"
    return what


class _Builder:
    """Turns the parser's events into the tree, one method for each shape."""

    def __init__(self, document: Document, events: Iterator[yaml.Event]) -> None:
        self.document = document
        self.events = events
        self.aside_depth = 0  # levels that add nothing to the path

    def build(self) -> None:
        next(self.events)  # the start of the stream
        if isinstance(next(self.events), yaml.StreamEndEvent):
            return
        self.document.root = self.node(next(self.events), ())
        next(self.events)  # the end of the document
        extra = next(self.events)
        if not isinstance(extra, yaml.StreamEndEvent):
            message = "a second document starts here, expected one document"
            problem = Problem(self.document.source, _place(extra), (), message)
            self.document.problems.append(problem)

    def node(self, event: yaml.Event, path: Path) -> Value:
        self.document.values[path] = _place(event)
        if isinstance(event, yaml.AliasEvent):
            self.refuse_value(path, "an alias, expected the value itself")
            return None
        if not isinstance(event, yaml.NodeEvent):
            raise yaml.YAMLError
        if event.anchor is not None:
            message = "an anchor, expected a value without one (write it out)"
            self.document.refuse(path, message)
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event, path)
        if len(path) + self.aside_depth >= MAX_DEPTH:
            message = f"nested too deeply, expected at most {MAX_DEPTH} levels"
            problem = Problem(self.document.source, _place(event), path, message)
            raise ConfigProblems([*self.document.problems, problem])
        if isinstance(event, yaml.MappingStartEvent):
            return self.tagged(event, "map", path, self.mapping(path))
        if isinstance(event, yaml.SequenceStartEvent):
            return self.tagged(event, "seq", path, self.sequence(path))
        raise yaml.YAMLError

    def refuse_value(self, path: Path, message: str) -> None:
        self.document.refuse(path, message)
        self.document.unusable.add(path)

    def tagged(
        self, event: yaml.NodeEvent, kind: str, path: Path, value: Value
    ) -> Value:
        tag = getattr(event, "tag", None)
        if tag is None or tag in ("!", _STANDARD_TAG + kind):
            return value
        name = str(tag).replace(_STANDARD_TAG, "!!")
        self.refuse_value(path, f"the tag {shown(name)}, expected no tag")
        return None

    def scalar(self, event: yaml.ScalarEvent, path: Path) -> Value:
        text: str = event.value
        plain = event.tag is None and event.implicit[0]
        return self.tagged(event, "str", path, _resolved(text) if plain else text)

    def sequence(self, path: Path) -> list[Value]:
        values: list[Value] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            values.append(self.node(event, (*path, len(values))))
        return values

    def mapping(self, path: Path) -> dict[str, Value]:
        values: dict[str, Value] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self.skip_pair(event, path)
                continue
            inner = (*path, event.value)
            if event.anchor is not None or event.tag is not None:
                message = "an anchor or a tag, expected a plain key"
                self.problem(_place(event), inner, message)
            if event.value in values:
                first = self.document.keys[inner].line
                message = f"duplicate key, first seen on line {first}"
                self.problem(_place(event), inner, message)
                self.aside(next(self.events), inner)
                continue
            self.document.keys[inner] = _place(event)
            values[event.value] = self.node(next(self.events), inner)
        return values

    def problem(self, place: Place, path: Path, message: str) -> None:
        self.document.problems.append(
            Problem(self.document.source, place, path, message)
        )

    def skip_pair(self, event: yaml.Event, path: Path) -> None:
        """Read past a key that is no scalar, and its value."""
        self.problem(_place(event), path, "a key that is no text, expected a name")
        self.aside(event, path)
        self.aside(next(self.events), path)

    def aside(self, event: yaml.Event, path: Path) -> None:
        """Check a node that the tree has no room for, without its places."""
        document = Document(self.document.source)
        kept, self.document = self.document, document
        self.aside_depth += 1
        try:
            self.node(event, path)
        finally:
            self.aside_depth -= 1
            self.document = kept
        kept.problems += document.problems


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    return Place(1, 1) if mark is None else Place(mark.line + 1, mark.column + 1)


def _resolved(text: str) -> Value:
    if text in _NULLS:
        return None
    if text in _TRUES:
        return True
    if text in _FALSES:
        return False
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FRACTION.fullmatch(text):
        return float(text)
    return text
