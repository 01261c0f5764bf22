"""A socket as a test holds it: bytes out, whole messages in.

Both ends of a test speak through a `Wire`: the client that talks to the balancer
and the backend that the balancer talks to. Timeouts are bounds for a failure, not
for success; no test waits for one to pass.
"""

from __future__ import annotations

import select
import socket
import struct
from dataclasses import dataclass

PATIENCE = 20.0
"""Seconds after which a test that waits for bytes has failed."""

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: on, for no time; closing sends RST."""

NO_CONTENT = (b"204", b"304")


@dataclass(frozen=True)
class Message:
    """A request or a response, as it came."""

    start: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    head: bytes
    """The raw head, with its empty line."""

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])

    def all(self, name: str) -> list[bytes]:
        """The values of a field, in order."""
        wanted = name.encode().lower()
        return [value for key, value in self.fields if key.lower() == wanted]

    def get(self, name: str) -> bytes | None:
        values = self.all(name)
        return b", ".join(values) if values else None


class Wire:
    """A connected socket and what was read ahead from it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self.ahead = b""
        self.received = b""
        """Everything that was read in small messages."""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- out -----------------------------------------------------------------

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def drip(self, data: bytes) -> None:
        """Send each byte in a segment of its own, as far as the peer listens."""
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for i in range(len(data)):
                self.sock.sendall(data[i : i + 1])
        except OSError:
            pass  # refused half-way

    def get(self, target: str = "/", fields: str = "") -> None:
        self.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode())

    def ask(self, target: str = "/", fields: str = "") -> Message:
        """Send a GET and read its response."""
        self.get(target, fields)
        return self.response()

    def end(self) -> None:
        """Send FIN, go on reading."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.sock.close()

    # -- in ------------------------------------------------------------------

    def more(self) -> bool:
        """Read once; false at the end of the stream."""
        data = self.sock.recv(256 * 1024)
        self.ahead += data
        self.received += data
        return bool(data)

    def until(self, mark: bytes) -> bytes:
        """Read up to and including a mark.

        Raises:
            EOFError: the stream ends before.
        """
        while mark not in self.ahead:
            if not self.more():
                raise EOFError(self.ahead)
        found, _, self.ahead = self.ahead.partition(mark)
        return found + mark

    def exactly(self, count: int) -> bytes:
        while len(self.ahead) < count:
            if not self.more():
                raise EOFError(self.ahead)
        found, self.ahead = self.ahead[:count], self.ahead[count:]
        return found

    def rest(self) -> bytes:
        """Read to the end of the stream; a reset counts as one."""
        try:
            while self.more():
                pass
        except ConnectionResetError:
            pass
        found, self.ahead = self.ahead, b""
        return found

    def ended(self) -> bool:
        """Wait for the end of the stream; false if bytes come instead."""
        return self.rest() == b""

    def was_reset(self) -> bool:
        """Read on until the connection ends; tell whether a RST ended it."""
        try:
            while self.more():
                pass
        except ConnectionResetError:
            return True
        return False

    def wait_broken(self) -> None:
        """Wait for a reset without reading."""
        poll = select.poll()
        poll.register(self.sock.fileno(), 0)  # errors are always reported
        assert poll.poll(PATIENCE * 1000)

    def silent(self) -> bool:
        """Nothing is there to read at this moment."""
        return not self.ahead and not select.select([self.sock], [], [], 0)[0]

    # -- messages ------------------------------------------------------------

    def head(self) -> Message:
        head = self.until(b"\r\n\r\n")
        start, *lines = head[:-4].split(b"\r\n")
        fields = []
        for line in lines:
            name, colon, value = line.partition(b":")
            assert colon, line
            fields.append((name, value.strip(b" \t")))
        return Message(start, tuple(fields), b"", head)

    def request(self) -> Message:
        """Read a request with its content."""
        return self.content(self.head())

    def content(self, head: Message) -> Message:
        """Read the content of a request whose head was read."""
        return self._with_body(head, until_close=False)

    def response(self, method: str = "GET") -> Message:
        """Read a final or interim response with its content."""
        head = self.head()
        code = head.start.split(b" ")[1]
        if method == "HEAD" or code in NO_CONTENT or code.startswith(b"1"):
            return head
        return self._with_body(head, until_close=True)

    def chunks(self) -> list[bytes]:
        """Read chunked content to its end, trailers included."""
        found = []
        while True:
            size = int(self.until(b"\r\n")[:-2].partition(b";")[0], 16)
            if size == 0:
                while self.until(b"\r\n") != b"\r\n":
                    pass
                return found
            found.append(self.exactly(size))
            assert self.exactly(2) == b"\r\n"

    def _with_body(self, head: Message, *, until_close: bool) -> Message:
        if head.get("Transfer-Encoding") == b"chunked":
            body = b"".join(self.chunks())
        elif head.get("Content-Length") is not None:
            body = self.exactly(int(head.get("Content-Length") or b""))
        else:
            body = self.rest() if until_close else b""
        return Message(head.start, head.fields, body, head.head)


def dial(address: str) -> Wire:
    """Connect to `host:port`, `[v6]:port` or `unix:path`."""
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE)
        sock.connect(address.removeprefix("unix:"))
        return Wire(sock)
    host, _, port = address.rpartition(":")
    return Wire(socket.create_connection((host.strip("[]"), int(port)), PATIENCE))
