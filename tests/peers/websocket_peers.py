"""WebSocket servers and clients of other people, around one balancer."""

from __future__ import annotations

import http
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

from websockets.exceptions import ConnectionClosed
from websockets.frames import Close
from websockets.http11 import Request, Response
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from tests.runtimes.origins import Origin
from tests.runtimes.process import Lb
from tests.runtimes.wire import PATIENCE

__all__ = ["Handler", "Room", "WebSocketServer", "echo"]

Handler = Callable[[ServerConnection], None]

Endings: TypeAlias = "queue.SimpleQueue[Close | None]"
"""The close frames that handlers got; None where the peer just went."""


def echo(peer: ServerConnection) -> None:
    """Send every message back."""
    while True:
        peer.send(peer.recv())


class WebSocketServer:
    """A server on loopback that handles connections as the test says."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self._handler: Handler = echo
        self._endings: Endings = queue.SimpleQueue()
        self._server = serve(
            self._handle,
            "127.0.0.1",
            0,
            max_size=None,
            open_timeout=PATIENCE,
            select_subprotocol=self._select,
            process_request=self._decide,
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.socket.getsockname()[1]}"

    def plays(self, handler: Handler) -> Endings:
        """Handle connections like this from now on; return how they end."""
        self._handler, self._endings = handler, queue.SimpleQueue()
        return self._endings

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(PATIENCE)

    def _handle(self, peer: ServerConnection) -> None:
        handler, endings = self._handler, self._endings
        try:
            handler(peer)
        except ConnectionClosed as closed:
            endings.put(closed.rcvd)
        except BaseException as error:
            self.errors.append(error)

    @staticmethod
    def _select(peer: ServerConnection, offered: Any) -> Any:
        return "chat" if "chat" in offered else None

    @staticmethod
    def _decide(peer: ServerConnection, request: Request) -> Response | None:
        """Answer two paths with plain HTTP."""
        if request.path == "/forbidden":
            return peer.respond(http.HTTPStatus.FORBIDDEN, "not you\n")
        if request.path == "/plain":
            return peer.respond(http.HTTPStatus.OK, "plain\n")
        return None


class Room:
    """A balancer, the server behind it, and a backend that plays a script."""

    def __init__(self, lb: Lb, server: WebSocketServer, origin: Origin) -> None:
        self.lb = lb
        self.server = server
        self.origin = origin

    def dial(self, service: str = "web", path: str = "/", **keys: Any) -> Any:
        """Shake hands through the balancer.

        Raises:
            websockets.exceptions.InvalidStatus: the answer was no 101.
        """
        host, _, port = self.lb.address(service=service).rpartition(":")
        # A socket of our own, so that no proxy of the machine's comes in between.
        sock = socket.create_connection((host, int(port)), PATIENCE)
        settings: dict[str, Any] = {
            "max_size": None,
            "open_timeout": PATIENCE,
            "close_timeout": PATIENCE,
            **keys,
        }
        scheme = "wss" if "ssl" in keys else "ws"
        client: ClientConnection = connect(
            f"{scheme}://localhost:{port}{path}", sock=sock, **settings
        )
        return client

    def check(self) -> None:
        """Fail if something went wrong behind the balancer."""
        errors = [*self.server.errors, *self.origin.errors]
        self.server.errors, self.origin.errors = [], []
        assert not errors, errors
