"""What a reload changed, key by key, for the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from lbproto.config import Secret
from lbproto.machine.effects import Target

if TYPE_CHECKING:
    from lbproto.config import Config

__all__ = ["changes", "fixed"]

FIXED: Final = ("pid_file", "error_log", "user", "group", "daemon")
"""Keys of which a reload takes no notice."""


def fixed(old: Config, new: Config) -> tuple[Config, tuple[str, ...]]:
    """Leave what a reload cannot change as it is; return the keys that differed."""
    differ = tuple(key for key in FIXED if getattr(old, key) != getattr(new, key))
    kept: dict[str, Any] = {key: getattr(old, key) for key in differ}
    return replace(new, **kept), differ


def changes(old: Config, new: Config) -> Iterator[tuple[str, str, str]]:
    """Yield each key whose value differs, with both values as text."""
    yield from _between("", old, new)


def _between(key: str, old: object, new: object) -> Iterator[tuple[str, str, str]]:
    if old == new:
        return
    if isinstance(old, Secret) and isinstance(new, Secret):
        yield key, "(secret)", "(another secret)"
        return
    if type(old) is type(new) and is_dataclass(old) and not _is_leaf(old):
        for one in fields(old):
            before, after = getattr(old, one.name), getattr(new, one.name)
            yield from _between(_join(key, one.name), before, after)
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        yield from _by_name(key, old, new)
    elif _named(old) and _named(new):
        assert isinstance(old, tuple), "checked by _named"
        assert isinstance(new, tuple), "checked by _named"
        before = {one.name: one for one in old}
        yield from _by_name(key, before, {one.name: one for one in new})
    else:
        yield key, _text(old), _text(new)


def _by_name(
    key: str, old: Mapping[str, object], new: Mapping[str, object]
) -> Iterator[tuple[str, str, str]]:
    for name in {**old, **new}:
        yield from _between(_join(key, name), old.get(name), new.get(name))


def _named(value: object) -> bool:
    """Tell whether this is a list of things that have names."""
    return isinstance(value, tuple) and all(hasattr(one, "name") for one in value)


def _is_leaf(value: object) -> bool:
    """What is one word in the file is one word here."""
    return not is_dataclass(value) or isinstance(value, Target)


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ", ".join(map(_text, value)) or "none"
    target = getattr(value, "target", None)
    if target is not None:
        return str(target)
    name = getattr(value, "name", None)
    return str(name) if isinstance(name, str) else str(value)
