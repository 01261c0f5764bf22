"""Two small backends, so that there is something to balance.

They answer any method with a line that names the backend and a line that repeats
the request line. They are threads of the standard library's server on ports that
the kernel chooses, on the loopback interface alone; in a process of their own, since
the balancer's master may have no threads.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

from lbproto.machine.effects import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["demo_backends"]

_HOST: Final = "127.0.0.1"
_PIECE: Final = 64 * 1024


class _Handler(BaseHTTPRequestHandler):
    """Answers every method in the same way."""

    protocol_version = "HTTP/1.1"
    timeout = 300.0

    def __getattr__(self, name: str) -> Callable[[], None]:
        # The standard library looks for one method for each verb.
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def answer(self) -> None:
        whole = self.read_content()
        greeting = getattr(self.server, "greeting", "hello")
        text = f"{greeting}\n{self.requestline}\n"
        content = text.encode("latin-1")
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=iso-8859-1")
        self.send_header("Content-Length", str(len(content)))
        if not whole:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def read_content(self) -> bool:
        """Read past the request's content; false if the connection is of no use."""
        if self.headers.get("Transfer-Encoding") is not None:
            return self.read_chunks()
        length = self.headers.get("Content-Length", "0")
        return length.isascii() and length.isdigit() and self.skip(int(length))

    def read_chunks(self) -> bool:
        while True:
            digits = self.rfile.readline(1024).partition(b";")[0].strip()
            try:
                length = int(digits, 16)
            except ValueError:
                return False
            if length == 0:
                break
            if not self.skip(length) or self.rfile.readline(3) != b"\r\n":
                return False
        while (line := self.rfile.readline(_PIECE)) != b"\r\n":
            if not line.endswith(b"\n"):
                return False
        return True

    def skip(self, length: int) -> bool:
        while length > 0:
            piece = self.rfile.read(min(length, _PIECE))
            if not piece:
                return False
            length -= len(piece)
        return True

    def log_message(self, format: str, *args: object) -> None:
        """The balancer has the log."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, number: int) -> None:
        super().__init__((_HOST, 0), _Handler)
        self.target = Target(_HOST, self.socket.getsockname()[1])
        self.greeting = f"hello from backend {number} ({self.target})"

    def server_bind(self) -> None:
        # HTTPServer would ask the resolver for the name of 127.0.0.1.
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that ended early is nothing to report."""


@contextlib.contextmanager
def demo_backends(count: int) -> Iterator[list[Target]]:
    """Run backends while the context lasts, and name their addresses."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(_Server(n)) for n in range(1, count + 1)]
        targets = [server.target for server in servers]
        lives, ends = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(ends)
            _run(servers, lives)
        os.close(lives)
        stack.close()  # the listening sockets are the child's
        try:
            yield targets
        finally:
            os.close(ends)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _run(servers: list[_Server], lives: int) -> None:
    """Serve until the other end of the pipe is gone; this never returns."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the balancer decides
        for server in servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        os.read(lives, 1)
    finally:
        os._exit(0)
