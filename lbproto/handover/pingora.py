"""Pingora's message: its whole handover is one `sendmsg`.

The bytes are the addresses of the listeners as its configuration spells them, joined
by single spaces; as many descriptors come along, in the same order. Nobody answers,
and the sender closes. A receiver there has room for 32 descriptors and 2,048 bytes and
does not notice when something is cut off, so a set that does not fit is not sent.
What is received may be larger: there are senders with more listeners.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from lbproto.handover.keys import FdToken, ListenerKey, is_key
from lbproto.machine.values import value

__all__ = [
    "MAX_FDS",
    "MAX_MESSAGE",
    "Table",
    "TableReader",
    "Unfit",
    "address",
    "encode",
    "key",
]

MAX_FDS: Final = 32
MAX_MESSAGE: Final = 2048
_MOST_FDS: Final = 253
"""The kernel's limit for one message (SCM_MAX_FD)."""
_MOST_BYTES: Final = 64 * 1024

_HOST_PORT: Final = re.compile(r"(?:[^/:]*+:)++[0-9]{1,5}+")


@value
class Unfit:
    """Why something is not a message of Pingora's."""

    reason: str


@value
class Table:
    """The listeners of a Pingora process, each with its descriptor."""

    fds: tuple[tuple[ListenerKey, FdToken], ...]


def address(listener: ListenerKey) -> str:
    """Spell a listener as Pingora does: a path has no prefix there."""
    return listener.partition(":")[2]


def key(spelled: str) -> ListenerKey | None:
    """Return the listener that Pingora spells like this; None: it cannot be one."""
    kind = "tcp" if _HOST_PORT.fullmatch(spelled) else "unix"
    found = f"{kind}:{spelled}"
    return ListenerKey(found) if is_key(found) else None


def encode(listeners: Sequence[ListenerKey]) -> bytes | Unfit:
    """Write the bytes that go with the descriptors of these listeners."""
    addresses = [address(one) for one in listeners]
    data = " ".join(addresses).encode("utf-8")
    if not listeners:
        return Unfit("there is no listener to hand over")
    if len(listeners) > MAX_FDS:
        return Unfit(f"{len(listeners)} listeners, Pingora takes {MAX_FDS}")
    if len(data) > MAX_MESSAGE:
        return Unfit(f"{len(data)} bytes of addresses, Pingora takes {MAX_MESSAGE}")
    if [one for one in addresses if " " in one]:
        return Unfit("Pingora cannot take a path with a space in it")
    return data


class TableReader:
    """Collects a message however it is cut; it ends where the sender closes."""

    __slots__ = ("_data", "_fds")

    def __init__(self) -> None:
        self._data = bytearray()
        self._fds: list[FdToken] = []

    def receive(self, data: bytes, fds: tuple[FdToken, ...]) -> Unfit | None:
        """Take bytes and tokens; return why it is none, if that is clear already."""
        self._data += data
        self._fds += fds
        if len(self._data) > _MOST_BYTES or len(self._fds) > _MOST_FDS:
            self._data.clear()
            return Unfit("more than a message of Pingora's can have")
        return None

    def unclaimed(self) -> tuple[FdToken, ...]:
        """Give up the tokens that are in no table."""
        fds = tuple(self._fds)
        self._fds.clear()
        return fds

    def finish(self) -> Table | Unfit:
        """Read what has come as the whole message."""
        try:
            addresses = self._data.decode("utf-8").split(" ")
        except UnicodeDecodeError:
            return Unfit("addresses that are not UTF-8")
        keys = [found for one in addresses if (found := key(one)) is not None]
        if len(keys) != len(addresses) or len(set(keys)) != len(keys):
            return Unfit("no list of addresses")
        if len(keys) != len(self._fds):
            return Unfit(f"{len(self._fds)} descriptors for {len(keys)} addresses")
        return Table(tuple(zip(keys, self.unclaimed(), strict=True)))
