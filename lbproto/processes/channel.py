"""What a master and a worker say to each other, as bytes.

A message is a frame: one byte for its kind, four for the length of what follows
(big-endian), then that much JSON. Both ends are the same program, started by the
same fork, so anything unexpected is a bug and not an attack; still a length is
bounded, so that a bug does not eat the memory.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import Final

from lbproto.machine.errors import LocalProtocolError
from lbproto.machine.values import value

__all__ = ["MAX_FRAME", "Kind", "Message", "MessageReader", "encode"]

MAX_FRAME: Final = 1024 * 1024
"""Bytes of one frame's JSON."""

HEADER: Final = 5


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
    HEALTH = b"P"
    """Backends have become healthy, or ceased to be: `changes`, a list of lists of
    upstream, backend, whether it is healthy, and the reason if not. From the prober, or
    for a worker."""
    BACKENDS = b"B"
    """An `upstream` has these `backends` now: a list of lists of host, port, path and
    weight. From the prober, or for a worker."""


@value
class Message:
    """One frame."""

    kind: Kind
    fields: dict[str, object]


def encode(message: Message) -> bytes:
    """Write a frame.

    Raises:
        LocalProtocolError: it is too long.
    """
    body = json.dumps(message.fields, separators=(",", ":")).encode("ascii")
    if len(body) > MAX_FRAME:
        raise LocalProtocolError(f"a message of {len(body)} bytes")
    return message.kind.value + len(body).to_bytes(4, "big") + body


class MessageReader:
    """Frames out of a stream, however it is cut."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept = b""

    def receive(self, data: bytes) -> list[Message]:
        """Take one read; return the messages that are complete.

        Raises:
            LocalProtocolError: this is no message.
        """
        kept = self._kept + data
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
                found.append(Message(Kind(kind), fields))
            except ValueError as error:
                raise LocalProtocolError(f"no message: {error}") from None
        self._kept = kept
        return found
