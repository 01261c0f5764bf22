"""A peer of an upgrade that says anything, with descriptors and pauses anywhere.

The first byte chooses a side and how far it has come; then follow pieces, each with
a byte that says how many descriptors come along and whether the machine's deadline
comes first, a byte for its length, and the bytes. At the end the peer is gone.

Neither side raises, however odd the peer; each token is bound, adopted or dropped
once; each comes to an end, and at the end an incumbent serves or has left on purpose,
and a successor serves or has said why not. Without descriptors, what is read does not
depend on how the bytes are cut.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

# Run as a script, this knows only its own folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from lbproto.handover import effects as do
from lbproto.handover import events as ev
from lbproto.handover.dialect import Inbox, Parcel
from lbproto.handover.incumbent import Incumbent
from lbproto.handover.keys import FdToken, ListenerKey
from lbproto.handover.messages import (
    Abort,
    Commit,
    Done,
    Fds,
    Hello,
    Idle,
    IdlePeer,
    Offer,
    Ready,
    Take,
)
from lbproto.handover.successor import Successor
from lbproto.handover.times import Times
from lbproto.handover.wire import (
    GREETING,
    HEADER,
    MAX_BODY,
    FrameReader,
    Item,
    encode,
)
from lbproto.machine.events import PeerInfo
from lbproto.machine.values import ConnId
from lbproto.testing import cuts

__all__ = ["KEYS", "STARTS", "WORDS", "one_input", "script"]

KEYS: Final = (ListenerKey("tcp:[::]:80"), ListenerKey("unix:/a"))
IDLE: Final = IdlePeer(KEYS[0], PeerInfo("192.0.2.1", 1, ""), proxied=False)

Piece = tuple[bytes, int, bool]
"""Bytes, how many descriptors come along, and whether the deadline comes first."""

HELLO: Final = GREETING + encode(Hello(1, 2, 0))
STARTS: Final[Sequence[tuple[type, Sequence[Piece]]]] = (
    (Incumbent, ()),
    (Incumbent, [(HELLO, 0, False)]),
    (Incumbent, [(HELLO + encode(Take(KEYS, connections=True)), 0, False)]),
    (
        Incumbent,
        [
            (HELLO + encode(Take(KEYS[:1], connections=True)), 0, False),
            (encode(Ready(KEYS)), 0, False),
        ],
    ),
    (Successor, ()),
    (Successor, [(encode(Offer(1, 4, KEYS, 1)), 0, False)]),
    (
        Successor,
        [(encode(Offer(1, 4, KEYS, 1)), 0, False), (encode(Fds(KEYS)), 2, False)],
    ),
    (
        Successor,
        [
            (encode(Offer(1, 4, KEYS, 1)), 0, False),
            (encode(Fds(KEYS)), 2, False),
            (encode(Commit()), 0, False),
        ],
    ),
)
"""Which side, and what its peer has said already."""

WORDS: Final[Sequence[tuple[bytes, int]]] = (
    (GREETING, 0),
    (encode(Hello(1, 2, 3)), 0),
    (encode(Offer(1, 4, KEYS, 1)), 0),
    (encode(Take(KEYS[1:], connections=False)), 0),
    (encode(Fds(KEYS)), 2),
    (encode(Fds(KEYS[:1])), 1),
    (encode(Ready(KEYS)), 0),
    (encode(Commit()), 0),
    (encode(Idle((IDLE,))), 1),
    (encode(Done(0)), 0),
    (encode(Abort("busy")), 0),
    (b"[::]:80 /a", 2),
)
"""What a good peer says, each at its time."""

MANY_FDS: Final = 0x07
WAKES: Final = 0x08


def script(start: int, *pieces: Piece) -> bytes:
    """Write an input."""
    body = b"".join(
        bytes([fds | (WAKES if wakes else 0), len(data)]) + data
        for data, fds, wakes in pieces
    )
    return bytes([start]) + body


def pieces_of(data: bytes) -> list[Piece]:
    found: list[Piece] = []
    place = 1
    while place + 2 < len(data):
        head, length = data[place], max(data[place + 1], 1)
        place += 2
        found.append((data[place : place + length], head & MANY_FDS, head & WAKES > 0))
        place += length
    return found


class Side:
    """One machine, and a runtime that does all it is told."""

    def __init__(self, kind: type) -> None:
        self.now = 0.0
        self.machine: Incumbent | Successor
        times = Times(timeout=3.0, bake=1.0)
        if kind is Incumbent:
            self.machine = Incumbent("/s", KEYS, pid=1, generation=4, times=times)
        else:
            self.machine = Successor(KEYS, pid=2, generation=0, times=times)
        self.given = 0
        self.settled: list[int] = []
        self.collected: list[int] = []
        self.returned: list[int] = []
        self.accepting = list(KEYS) if kind is Incumbent else []
        self.ended = False
        self.connected = True
        self.story: list[do.Effect] = []
        self.feed(ev.Requested())
        self.feed(ev.PeerConnected(0))

    def feed(self, event: ev.IncumbentEvent | ev.SuccessorEvent) -> None:
        events = [event]
        while events:
            effects = self.machine.handle(events.pop(0), self.now)  # type: ignore[arg-type]
            self.story += effects
            for effect in effects:
                answer = self.perform(effect)
                if answer is not None:
                    events.append(answer)

    def perform(
        self, effect: do.Effect
    ) -> ev.IncumbentEvent | ev.SuccessorEvent | None:
        match effect:
            case do.SendBytes():
                return ev.Sent() if self.connected else None
            case do.Hangup():
                self.connected = False
            case do.BindFd(token) | do.AdoptConn(token) | do.DropFd(token):
                self.settled.append(token)
            case do.StartWorkers(keys):
                self.accepting = list(keys)
                return ev.WorkersReady()
            case do.Accepting(on, keys):
                kept = [key for key in self.accepting if key not in keys]
                self.accepting = [*kept, *keys] if on else kept
                return None if on else ev.AcceptingStopped()
            case do.CollectIdle():
                self.collected = [1, 2, 3]
                here = IdlePeer(KEYS[1], IDLE.peer, proxied=False)
                peers = ((ConnId(1), IDLE), (ConnId(2), here), (ConnId(3), IDLE))
                return ev.IdleOffered(peers, 0)
            case do.LetGo(conns) | do.Resume(conns) | do.Reclaim(conns):
                self.returned += conns
            case do.Exit():
                self.ended = True
            case _:
                pass
        return None

    def wake(self) -> None:
        if self.machine.deadline < math.inf:
            self.now = max(self.now, self.machine.deadline)
            self.feed(ev.Wake())

    def hear(self, pieces: Sequence[Piece]) -> None:
        for data, count, wakes in pieces:
            if wakes:
                self.wake()
            if not self.connected:
                return
            tokens = range(self.given, self.given + count)
            self.given += count
            self.feed(ev.Bytes(data, tuple(map(FdToken, tokens))))

    def finish(self) -> None:
        if self.connected:
            self.connected = False
            self.feed(ev.PeerClosed("EOF"))
        for _ in range(20):
            self.wake()
        assert self.machine.deadline == math.inf, "it never ends"
        assert sorted(self.settled) == list(range(self.given)), "a token is lost"
        assert sorted(self.returned) == self.collected, "a connection is lost"
        if isinstance(self.machine, Incumbent):
            serves = sorted(self.accepting) == sorted(KEYS)
            assert self.ended != self.machine.over, "neither serving nor leaving"
            assert serves or self.ended, "nobody accepts"
        else:
            assert self.machine.over, "it waits for ever"
            taken = [one for one in self.story if isinstance(one, do.TakeService)]
            assert len(taken) == (0 if self.ended else 1), "whose is the service?"


def one_input(data: bytes) -> None:
    """Check one peer, in its own pieces and octet by octet."""
    kind, before = STARTS[data[0] % len(STARTS)] if data else STARTS[0]
    pieces = pieces_of(data)
    check(kind, [*before, *pieces])
    if not any(count for _, count, _ in pieces):
        words = [piece for piece, _, _ in pieces]
        octets = cuts.bytewise(b"".join(words))
        assert heard(kind, octets) == heard(kind, words), "cuts matter"
        check(kind, [*before, *((octet, 0, False) for octet in octets)])


def check(kind: type, pieces: Sequence[Piece]) -> None:
    """Run one machine from its beginning to its end."""
    side = Side(kind)
    side.hear(pieces)
    side.finish()


def heard(kind: type, words: Sequence[bytes]) -> list[Parcel | Item]:
    """Read what a peer says without descriptors."""
    inbox = FrameReader(greeting=True) if kind is Incumbent else Inbox()
    found: list[Parcel | Item] = []
    for word in words:
        found += inbox.receive(word, ())
        assert inbox.buffered < HEADER + MAX_BODY, "the reader keeps too much"
    return found


if __name__ == "__main__":
    from fuzz import engine

    engine.run("fuzz_handover")
