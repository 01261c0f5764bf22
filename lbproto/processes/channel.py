"""What a master and a worker say to each other, as bytes.

A message is a frame: one byte for its kind, four for the length of what follows
(big-endian), then that much JSON. Both ends are the same program, started by the
same fork, so anything unexpected is a bug and not an attack; still a length is
bounded, so that a bug does not eat the memory.

Descriptors ride along: a message says how many are its own (`fds`), and the kernel
delivers them in order, none later than the first byte of its message.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum
from typing import Final

from lbproto.machine.errors import LocalProtocolError
from lbproto.machine.values import value

__all__ = ["MAX_FRAME", "Kind", "Message", "MessageReader", "encode"]

MAX_FRAME: Final = 1024 * 1024
"""Bytes of one frame's JSON."""

HEADER: Final = 5

FDS: Final = "fds"
"""The name under which a message counts its descriptors."""


class Kind(Enum):
    """What is said; the value is its byte."""

    READY = b"R"
    """A worker accepts clients."""
    DRAIN = b"D"
    """A worker is to stop accepting and to end: `grace` and `timeout` in seconds."""
    STOP = b"S"
    """A worker is to end at once."""
    REOPEN = b"O"
    """A worker is to open its logs anew."""
    HOLD = b"H"
    """A worker is to accept nobody on the listeners `keys` until `ACCEPT`."""
    HELD = b"h"
    """The answer: each client that it accepted there has its machine."""
    ACCEPT = b"A"
    """A worker may accept on the listeners `keys` again."""
    COLLECT = b"C"
    """A worker is to give up idle connections of the listeners `keys`, and at most
    `most` of them."""
    IDLE = b"I"
    """Some of them: `peers`, and as many descriptors; from a worker, or for one."""
    COLLECTED = b"c"
    """The end of the answer: how many clients a worker has `left`."""
    HEALTH = b"P"
    """Backends have become healthy, or ceased to be: `changes`, a list of lists of
    upstream, backend, whether it is healthy, and the reason if not. From the prober, or
    for a worker."""
    BACKENDS = b"B"
    """An `upstream` has these `backends` now: a list of lists of host, port, path,
    weight, and the keys that a backend may have. From the prober, or for a worker."""


@value
class Message:
    """One frame."""

    kind: Kind
    fields: dict[str, object]
    fds: tuple[int, ...] = ()
    """Descriptors that ride on it."""


def encode(message: Message) -> bytes:
    """Write a frame.

    Raises:
        LocalProtocolError: it is too long.
    """
    fields = message.fields
    if message.fds:
        fields = {**fields, FDS: len(message.fds)}
    body = json.dumps(fields, separators=(",", ":")).encode("ascii")
    if len(body) > MAX_FRAME:
        raise LocalProtocolError(f"a message of {len(body)} bytes")
    return message.kind.value + len(body).to_bytes(4, "big") + body


class MessageReader:
    """Frames out of a stream, however it is cut."""

    __slots__ = ("_fds", "_kept")

    def __init__(self) -> None:
        self._kept = b""
        self._fds: list[int] = []

    def unclaimed(self) -> list[int]:
        """Give up the descriptors that no message has named so far."""
        fds, self._fds = self._fds, []
        return fds

    def receive(self, data: bytes, fds: Sequence[int] = ()) -> list[Message]:
        """Take one read; return the messages that are complete.

        Raises:
            LocalProtocolError: this is no message.
        """
        kept = self._kept + data
        self._fds += fds
        found: list[Message] = []
        while len(kept) >= HEADER:
            length = int.from_bytes(kept[1:HEADER], "big")
            if length > MAX_FRAME:
                raise LocalProtocolError(f"a message of {length} bytes")
            if len(kept) < HEADER + length:
                break
            body, kind = kept[HEADER : HEADER + length], kept[:1]
            kept = kept[HEADER + length :]
            try:
                fields = json.loads(body)
                if not isinstance(fields, dict):
                    raise ValueError("not a mapping")
                own = self._claim(fields.pop(FDS, 0))
                found.append(Message(Kind(kind), fields, own))
            except ValueError as error:
                raise LocalProtocolError(f"no message: {error}") from None
        self._kept = kept
        return found

    def _claim(self, count: object) -> tuple[int, ...]:
        if type(count) is not int or not 0 <= count <= len(self._fds):
            raise ValueError(f"{len(self._fds)} descriptors came, not {count!r}")
        own, self._fds = tuple(self._fds[:count]), self._fds[count:]
        return own
