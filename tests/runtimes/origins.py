"""Backends that do as a test says: a listening socket and a script.

A script is a function of one accepted connection and runs in a thread of its own.
What goes wrong in it is kept and fails the test, unless the balancer broke the
connection, which many tests want.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from tests.runtimes.wire import PATIENCE, Message, Wire

Script = Callable[["Wire"], None]
"""Plays a backend on one connection."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"


def reply(body: bytes = b"OK", status: str = "200 OK", fields: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{fields}\r\n"
    return head.encode() + body


def answers(*responses: bytes) -> Script:
    """Answer each request with the next response, the last one for ever."""

    def script(wire: Wire) -> None:
        left = list(responses)
        while True:
            wire.request()
            wire.send(left.pop(0) if len(left) > 1 else left[0])

    return script


def echoes_target(wire: Wire) -> None:
    """Answer with the request's target."""
    while True:
        target = wire.request().start.split(b" ")[1]
        wire.send(reply(target))


class Origin:
    """A backend on loopback."""

    def __init__(
        self, script: Script, *, host: str = "127.0.0.1", path: Path | None = None
    ) -> None:
        if path is not None:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.bind(str(path))
            self.address = f"unix:{path}"
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self.sock = socket.socket(family)
            self.sock.bind((host, 0))
            port = self.sock.getsockname()[1]
            self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.sock.listen(256)
        self.script = script
        self.wires: list[Wire] = []
        """Every connection that was accepted."""
        self.errors: list[BaseException] = []
        self._changed = threading.Condition()
        self._closing = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def accepted(self) -> int:
        return len(self.wires)

    @property
    def received(self) -> bytes:
        return b"".join(wire.received for wire in self.wires)

    def forget(self) -> None:
        """Forget what was received, and the connections that have ended."""
        with self._changed:
            self.wires[:] = [wire for wire in self.wires if wire.sock.fileno() >= 0]
            for wire in self.wires:
                wire.received = b""

    def wait_accepted(self, count: int) -> Wire:
        """Wait for the n-th connection."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.accepted >= count, PATIENCE)
        return self.wires[count - 1]

    def close(self) -> None:
        self._closing = True
        # Closing alone does not wake a thread that waits in accept.
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        for wire in list(self.wires):
            with contextlib.suppress(OSError):
                wire.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        self.sock.close()
        for wire in self.wires:
            wire.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            wire = Wire(sock)
            with self._changed:
                self.wires.append(wire)
                self._changed.notify_all()
            thread = threading.Thread(target=self._play, args=(wire,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _play(self, wire: Wire) -> None:
        try:
            self.script(wire)
        except (EOFError, ConnectionError):
            pass  # the balancer is done with the connection
        except OSError as error:
            if not self._closing and wire.sock.fileno() >= 0:
                self.errors.append(error)
        except BaseException as error:
            self.errors.append(error)
        finally:
            wire.close()


class Recorder:
    """A script that answers and keeps each request."""

    def __init__(self, *responses: bytes) -> None:
        self.requests: list[Message] = []
        self._responses = responses or (OK,)

    def __call__(self, wire: Wire) -> None:
        left = list(self._responses)
        while True:
            self.requests.append(wire.request())
            wire.send(left.pop(0) if len(left) > 1 else left[0])
