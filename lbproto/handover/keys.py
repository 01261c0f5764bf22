"""Names for what cannot be named on a wire: descriptors.

A key is a listener as the configuration spells it, `tcp:0.0.0.0:6188`,
`tcp:[::]:6188` or `unix:/run/lb.sock`. Keys are compared as text, so two spellings of
one address are two listeners: whether they mean the same socket is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, NewType

from lbproto.machine.errors import LocalProtocolError

__all__ = ["MAX_PATH", "FdToken", "ListenerKey", "check_keys", "is_key", "listener_key"]

ListenerKey = NewType("ListenerKey", str)
"""A listening socket: `tcp:host:port`, `tcp:[v6]:port` or `unix:path`."""

FdToken = NewType("FdToken", int)
"""A descriptor that was received; the runtime numbers them, each number once."""

MAX_PATH: Final = 108
"""Bytes of a path in a Unix-domain address (unix(7))."""

_TCP: Final = re.compile(
    r"tcp:(?:\[[0-9A-Za-z:.%_-]{1,100}+\]|[0-9A-Za-z.*_-]{0,255}+):([0-9]{1,5}+)"
)
_UNIX: Final = re.compile(r"unix:([^\x00-\x1f\x7f]{1,108}+)")


def is_key(text: str) -> bool:
    """Tell whether a text has the form of a key."""
    if found := _TCP.fullmatch(text):
        return int(found[1]) <= 0xFFFF
    if found := _UNIX.fullmatch(text):
        # A lone surrogate is no character, and UTF-8 has no bytes for it.
        return len(found[1].encode("utf-8", "surrogatepass")) <= MAX_PATH and not any(
            "\ud800" <= letter <= "\udfff" for letter in text
        )
    return False


def listener_key(text: str) -> ListenerKey:
    """Make a key of a text that should be one.

    Raises:
        LocalProtocolError: it is none.
    """
    if not is_key(text):
        raise LocalProtocolError(f"{text!r} is no key of a listener")
    return ListenerKey(text)


def check_keys(keys: Collection[ListenerKey]) -> tuple[ListenerKey, ...]:
    """Return keys of our own, after a look at each.

    Raises:
        LocalProtocolError: one is no key, or is there twice.
    """
    if len(set(keys)) != len(keys):
        raise LocalProtocolError("two listeners have one key")
    return tuple(listener_key(key) for key in keys)
