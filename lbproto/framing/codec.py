"""The seam between bytes and messages.

A codec turns the bytes of one connection into HTTP events and back; it knows the
wire, and nothing of backends, rules or time. Two HTTP/1 codecs and HTTP/2 fit
behind it:

* `receive` gives events of the messages in progress. After a request is
  complete an HTTP/1 server codec keeps what follows (a pipelined request, or what
  a tunnel will carry) until `resume` or `switch` is called, and `want_read` says
  no while it keeps any: that is all the back-pressure pipelining needs.
* a wire error is not raised: it is a `Reset`, and no event follows it.
* `send` takes a message in order, head first, and raises `LocalProtocolError`
  when that order is broken. What is to be written collects until `take_output`,
  so that a head and its content leave in one piece.

Both are base classes and no protocols: a compiled caller finds a method of a class at
its place in a table, and one of a protocol by its name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from lbproto.framing.messages import Body, End, HttpEvent, RequestHead, ResponseHead

__all__ = ["ClientCodec", "CodecLimits", "ServerCodec"]


@dataclass(frozen=True, slots=True)
class CodecLimits:
    """What a codec accepts of one message; sizes in bytes."""

    request_line: int = 16 * 1024
    header_size: int = 32 * 1024
    header_count: int = 100
    body_size: int | None = None
    chunk_extensions: int = 4 * 1024
    small_chunks: int | None = 1000
    """How many chunks of a request may be small: each costs as much as a large one."""
    odd_chunks: int = 1000
    """How many may have extensions or leading zeros, in requests and responses."""
    trailer_size: int = 8 * 1024
    keep_trailers: bool = False
    """They are part of `End`; else they are checked and dropped."""
    response_header_size: int = 64 * 1024


class ServerCodec(ABC):
    """Our side of a client's connection."""

    __slots__ = ()

    @abstractmethod
    def receive(self, data: bytes) -> list[HttpEvent]:
        """Take bytes from the client."""
        ...

    @abstractmethod
    def receive_eof(self) -> list[HttpEvent]:
        """Take the client's end of stream; a request cut short is a `Reset`."""
        ...

    @abstractmethod
    def resume(self) -> list[HttpEvent]:
        """Go on to the next request; the last one and its response are complete."""
        ...

    @abstractmethod
    def send(self, event: ResponseHead | Body | End) -> None:
        """Write a piece of a response.

        Raises:
            LocalProtocolError: the piece does not fit what was sent before.
        """
        ...

    @property
    @abstractmethod
    def in_chunks(self) -> bool:
        """The content of the response goes out in chunks, and some may follow."""
        ...

    @abstractmethod
    def take_output(self) -> bytes:
        """Return what is to be written now, and forget it."""
        ...

    @abstractmethod
    def go_away(self) -> None:
        """Make the current response the last, and say so in its head."""
        ...

    @abstractmethod
    def switch(self) -> bytes:
        """After a 101: return what has come for the tunnel, and leave the line."""
        ...

    @abstractmethod
    def want_read(self) -> bool:
        """Tell whether more bytes can be used."""
        ...

    @property
    @abstractmethod
    def closing(self) -> bool:
        """The connection ends after the current response."""
        ...

    @property
    @abstractmethod
    def idle(self) -> bool:
        """No byte of a request is there."""
        ...

    @property
    @abstractmethod
    def buffered(self) -> int:
        """How many received bytes are kept."""
        ...


class ClientCodec(ABC):
    """Our side of a backend's connection; made anew for each exchange."""

    __slots__ = ()

    @abstractmethod
    def send(self, event: RequestHead | Body | End) -> None:
        """Write a piece of a request.

        Raises:
            LocalProtocolError: the piece does not fit what was sent before.
        """
        ...

    @abstractmethod
    def take_output(self) -> bytes:
        """Return what is to be written now, and forget it."""
        ...

    @abstractmethod
    def receive(self, data: bytes) -> list[HttpEvent]:
        """Take bytes from the backend."""
        ...

    @abstractmethod
    def straight(self, data: bytes) -> int:
        """Take a read, if it is one whole chunk in the form in which we would write it.

        Returns the bytes of content in it; 0: it is not, and nothing was taken.
        """
        ...

    @abstractmethod
    def receive_eof(self) -> list[HttpEvent]:
        """Take the backend's end of stream: an `End`, or a `Reset` if cut short."""
        ...

    @abstractmethod
    def switch(self) -> bytes:
        """After a 101: return what has come for the tunnel, and leave the line."""
        ...

    @property
    @abstractmethod
    def reusable(self) -> bool:
        """Both messages are complete, nobody said close, and no byte is left over."""
        ...

    @property
    @abstractmethod
    def buffered(self) -> int:
        """How many received bytes are kept."""
        ...
