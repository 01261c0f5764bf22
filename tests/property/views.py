"""What the two ends of a balancer see: read with h11 as it comes, checked at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import h11

__all__ = ["Asked", "BackendView", "ClientView", "Head", "Told"]

TAG = re.compile(rb"/c(\d+-\d+)")
HOPS = {
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"upgrade",
    b"x-gone",
}
NUMBER = re.compile(rb"0|[1-9][0-9]*")


@dataclass
class Asked:
    """A request that a client has sent whole, while all it had sent was right."""

    tag: bytes
    method: bytes
    field: bytes
    """The value of X-Mine."""
    content: bytes


@dataclass
class Told:
    """A whole response of a backend to a request."""

    field: bytes
    """The value of X-Theirs."""
    content: bytes


@dataclass
class Head:
    """A request head at a backend."""

    tag: bytes
    method: bytes
    content: bytes = b""
    complete: bool = False


@dataclass
class BackendView:
    """One connection as a backend reads it."""

    heads: list[Head] = field(default_factory=list)
    answered: int = 0
    """Whole responses."""
    last: int | None = None
    """How many heads there were when no other might come any more."""
    cut: bool = False
    """A response was begun and will not be finished."""
    opaque: bool = False
    """It may have become a tunnel: what comes is no HTTP."""
    fed: int = 0
    """How much of what has come was read."""
    _parser: h11.Connection = field(default_factory=lambda: h11.Connection(h11.SERVER))

    def no_more(self) -> None:
        """From now on the connection is in no state for another request (P11)."""
        if self.last is None:
            self.last = len(self.heads)

    @property
    def owed(self) -> Head | None:
        """The request that has no answer yet."""
        return self.heads[-1] if len(self.heads) > self.answered else None

    def read(self, wire: bytes, asked: Mapping[bytes, Asked]) -> None:
        """Read what has come; `wire` is all of it."""
        if self.opaque or len(wire) == self.fed:
            return
        self._parser.receive_data(wire[self.fed :])
        self.fed = len(wire)
        while True:
            event = self._parser.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                break
            if isinstance(event, h11.Request):
                self._head(event, asked)
            elif isinstance(event, h11.Data):
                self.heads[-1].content += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.heads[-1].complete = True
                left = self._parser.trailing_data[0]
                assert left == b"", f"bytes behind a request: {left[:80]!r}"
                self._parser = h11.Connection(h11.SERVER)
        for head in self.heads:
            known = asked.get(head.tag)
            if known is not None:
                # P6: nothing is lost, doubled, or in another order.
                if head.complete:
                    assert head.content == known.content
                assert known.content.startswith(head.content)

    def _head(self, head: h11.Request, asked: Mapping[bytes, Asked]) -> None:
        # P11: only where the last exchange is over, and nothing is in doubt.
        assert self.last is None or len(self.heads) < self.last, "a request too many"
        assert len(self.heads) == self.answered, "the last one is not answered"
        assert not self.heads or self.heads[-1].complete, "the last one is not whole"
        # P5: one framing, one Host, nothing of the client's hop.
        names = [bytes(name) for name, _ in head.headers]
        lengths = [value for name, value in head.headers if name == b"content-length"]
        assert names.count(b"host") == 1, names
        assert len(lengths) + names.count(b"transfer-encoding") <= 1, names
        assert all(NUMBER.fullmatch(value) for value in lengths)
        if b"upgrade" not in names:
            assert not HOPS.intersection(names), names
        found = TAG.match(bytes(head.target))
        tag = found[1] if found is not None else b""
        self.heads.append(Head(tag, bytes(head.method)))
        known = asked.get(tag)
        if known is not None:
            # P3, P9: just what the client has said.
            assert head.method == known.method
            assert head.target == b"/c" + tag
            fields = dict(head.headers)
            assert fields[b"x-mine"] == known.field


@dataclass
class ClientView:
    """The responses of one client, as long as its requests were right."""

    finals: int = 0
    over: bool = False
    """The last response said so, or was cut short."""
    _fed: int = 0
    _parser: h11.Connection | None = None
    _tag: bytes | None = None
    _field: bytes = b""
    _content: bytes = b""

    def read(
        self,
        wire: bytes,
        eof: bool,
        asked: Sequence[Asked],
        told: Mapping[bytes, Sequence[Told]],
    ) -> None:
        """Read what has come; `asked` are the client's requests, in order."""
        new, self._fed = wire[self._fed :], len(wire)
        # P2: there is no output after a response that says it is the last.
        assert not (self.over and new), f"after the end: {new[:80]!r}"
        while not self.over and (new or (eof and self._parser is not None)):
            if self._parser is None:
                assert self.finals < len(asked), f"nobody asked for {new[:80]!r}"
                self._parser = expecting(asked[self.finals].method)
            if new:
                self._parser.receive_data(new)
            elif eof:
                self._parser.receive_data(b"")
            new = self._events(asked, told)
            if not new and not eof:
                break

    def _events(
        self, asked: Sequence[Asked], told: Mapping[bytes, Sequence[Told]]
    ) -> bytes:
        """Take what is complete; return what is behind the response."""
        parser = self._parser
        assert parser is not None
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError as error:
                # The latter is about an end behind an interim response.
                if not {"peer", "ConnectionClosed"} & {*str(error).split()}:
                    raise
                self.over = True  # P8: it was cut, and the client can see that
                return b""
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return b""
            if isinstance(event, h11.ConnectionClosed):
                self.over = True
                return b""
            if isinstance(event, h11.Response):
                self._head(event, asked)
            elif isinstance(event, h11.Data):
                self._content += event.data
            elif isinstance(event, h11.EndOfMessage):
                left = parser.trailing_data[0]
                self._end(told)
                self.over = parser.their_state is not h11.DONE
                assert not (self.over and left), f"after the end: {left[:80]!r}"
                self._parser = None
                return left

    def _head(self, head: h11.Response, asked: Sequence[Asked]) -> None:
        fields = dict(head.headers)
        # P5: ours alone, which is Connection.
        assert not (HOPS - {b"connection"}).intersection(fields), fields
        self._tag = fields.get(b"x-tag")
        self._field = fields.get(b"x-theirs", b"")
        self._content = b""
        # P10, P11: it is the answer to the oldest request that has none.
        assert self._tag in (None, asked[self.finals].tag), self._tag

    def _end(self, told: Mapping[bytes, Sequence[Told]]) -> None:
        self.finals += 1
        if self._tag is not None:
            # P6, P8, P9: as a backend has said it, and whole.
            found = told.get(self._tag, ())
            content = [one.content for one in found if one.field == self._field]
            assert self._content in content, "not what any backend has said"


def expecting(method: bytes) -> h11.Connection:
    """Return a parser for the response to a method."""
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    parser.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    parser.send(h11.EndOfMessage())
    return parser
