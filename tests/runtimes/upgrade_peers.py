"""The other side of an upgrade, played by a test with bytes of its own."""

from __future__ import annotations

import array
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.runtimes.wire import PATIENCE

GREETING = b"LBUP 1\n"


def frame(kind: bytes, **body: Any) -> bytes:
    """Write a frame, as the contract of the wire says."""
    data = json.dumps(body).encode()
    return b"LB" + kind + b"\0" + len(data).to_bytes(4, "big") + data


def hello(version: int = 1) -> bytes:
    return GREETING + frame(b"H", version=version, pid=4711, generation=0)


class Peer:
    """One end of the channel."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self.fds: list[int] = []
        self._ahead = b""

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()
        while self.fds:
            socket.close(self.fds.pop())

    def send(self, data: bytes, sockets: Sequence[socket.socket] = ()) -> None:
        fds = array.array("i", [one.fileno() for one in sockets])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)] if sockets else []
        self.sock.sendmsg([data], rights)

    def read(self) -> bytes:
        """Read what comes next; nothing is the end."""
        data, messages, _, _ = self.sock.recvmsg(65536, socket.CMSG_SPACE(4 * 253))
        for _, _, content in messages:
            found = array.array("i")
            found.frombytes(content)
            self.fds += found
        return data

    def exactly(self, data: bytes) -> None:
        """Expect these bytes."""
        while len(self._ahead) < len(data):
            more = self.read()
            assert more, f"ended after {self._ahead!r}"
            self._ahead += more
        found, self._ahead = self._ahead[: len(data)], self._ahead[len(data) :]
        assert found == data

    def frame(self) -> tuple[bytes, dict[str, Any]]:
        """Read a frame."""
        head = self._take(8)
        assert head[:2] == b"LB"
        assert head[3:4] == b"\0"
        return head[2:3], json.loads(self._take(int.from_bytes(head[4:], "big")))

    def expect(self, kind: bytes) -> dict[str, Any]:
        """Expect a frame of this type; return its body."""
        found, body = self.frame()
        assert found == kind, body
        return body

    def sockets(self) -> list[socket.socket]:
        """Take the descriptors that have come."""
        found, self.fds = self.fds, []
        return [socket.socket(fileno=fd) for fd in found]

    def ended(self) -> bool:
        return not self._ahead and self.read() == b""

    def _take(self, count: int) -> bytes:
        while len(self._ahead) < count:
            more = self.read()
            assert more, f"ended after {self._ahead!r}"
            self._ahead += more
        found, self._ahead = self._ahead[:count], self._ahead[count:]
        return found


class Meeting:
    """Where a successor waits."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(str(path))
        self.sock.listen(8)
        self.sock.settimeout(PATIENCE)

    def __enter__(self) -> Meeting:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def accept(self) -> Peer:
        return Peer(self.sock.accept()[0])


def incumbent(path: Path) -> Peer:
    """Connect to a successor that waits."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    return Peer(sock)
