"""The other ends of a runtime's connections: blocking sockets and threads.

A `Peer` is a connected socket as a check holds it, client or backend. A `Backend`
listens on loopback and plays a script on each connection. Timeouts are bounds for a
failure; nothing waits for one to pass.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from lbproto.machine.effects import Target
from lbproto_runtimes.contract.probe import PATIENCE

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Backend", "Peer", "Script", "Stream", "dial", "hears"]

READ_SIZE: Final = 256 * 1024

RECEIVE_BUFFER: Final = 256 * 1024

RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: on, for no time; closing sends RST."""


class Stream(Protocol):
    """What a peer needs of a socket: one of TCP, or TLS on top of it."""

    def recv(self, size: int, /) -> bytes:
        """Read what is there; empty at the end."""
        ...

    def sendall(self, data: bytes, /) -> None:
        """Write all of it."""
        ...

    def shutdown(self, how: int, /) -> None:
        """End a direction."""
        ...

    def close(self) -> None:
        """Close."""
        ...


class Peer:
    """A connected socket and what was read ahead from it."""

    def __init__(self, sock: socket.socket, stream: Stream | None = None) -> None:
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self.ahead = b""
        self.received = 0
        """Bytes that were read."""
        self._stream: Stream = sock if stream is None else stream
        name = sock.getsockname()
        self.port: int = name[1] if isinstance(name, tuple) else 0
        """Our own; 0 on a Unix-domain socket."""

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- out -----------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Write all of it."""
        self._stream.sendall(data)

    def end(self) -> None:
        """Say that no more comes; go on reading."""
        self._stream.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """Send FIN, whatever is spoken over it; go on reading."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def reset(self) -> None:
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.sock.close()

    # -- in ------------------------------------------------------------------

    def more(self) -> bool:
        """Read once; false at the end of the stream."""
        data = self._stream.recv(READ_SIZE)
        self.ahead += data
        self.received += len(data)
        return bool(data)

    def exactly(self, count: int) -> bytes:
        """Read so many bytes.

        Raises:
            EOFError: the stream ends before.
        """
        pieces, have = [self.ahead], len(self.ahead)
        self.ahead = b""
        while have < count:
            data = self._stream.recv(READ_SIZE)
            if not data:
                raise EOFError(f"{have} bytes of {count}")
            pieces.append(data)
            have += len(data)
            self.received += len(data)
        found = b"".join(pieces)
        self.ahead = found[count:]
        return found[:count]

    def rest(self) -> bytes:
        """Read to the end of the stream; a reset is no end."""
        pieces = [self.ahead]
        self.ahead = b""
        while data := self._stream.recv(READ_SIZE):
            pieces.append(data)
            self.received += len(data)
        return b"".join(pieces)

    def was_reset(self) -> bool:
        """Read on until the connection ends; tell whether a RST ended it."""
        try:
            while data := self._stream.recv(READ_SIZE):
                self.received += len(data)
        except ConnectionResetError:
            return True
        return False

    def wait_broken(self) -> None:
        """Wait for a reset without reading.

        Raises:
            AssertionError: none came.
        """
        poll = select.poll()
        poll.register(self.sock.fileno(), 0)  # errors are always reported
        assert poll.poll(PATIENCE * 1000), "not reset"


def dial(target: Target) -> Peer:
    """Connect over TCP."""
    sock = socket.socket()
    try:
        # Small, so that the other end's buffers fill whatever the system allows.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.settimeout(PATIENCE)
        sock.connect((target.host, target.port))
    except BaseException:
        sock.close()
        raise
    return Peer(sock)


Script = Callable[[Peer], None]
"""Plays a backend on one connection, in a thread of its own."""


def hears(peer: Peer) -> None:
    """Read to the end, say nothing."""
    peer.rest()


class Backend:
    """A server on loopback that plays a script on each connection."""

    def __init__(self, script: Script, path: str = "") -> None:
        self.script = script
        self.errors: list[BaseException] = []
        """What went wrong in a script, unless the runtime broke the connection."""
        self._closing = False
        self._socket = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self._socket.bind(path or ("127.0.0.1", 0))
        self._socket.listen(256)
        self.target = (
            Target("", 0, path)
            if path
            else Target("127.0.0.1", self._socket.getsockname()[1])
        )
        self._peers: list[Peer] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Stop listening and end all connections."""
        self._closing = True
        # Closing alone does not wake a thread that waits in accept or recv.
        for sock in [self._socket, *(peer.sock for peer in self._peers)]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        self._socket.close()
        for peer in self._peers:
            peer.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            peer = Peer(sock)
            self._peers.append(peer)
            thread = threading.Thread(target=self._play, args=(peer,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _play(self, peer: Peer) -> None:
        try:
            self.script(peer)
        except (EOFError, ConnectionError):
            pass  # the runtime is done with the connection
        except BaseException as error:
            if not self._closing:
                self.errors.append(error)
        finally:
            peer.close()
