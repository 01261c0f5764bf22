"""The core without any runtime: one request, blocking sockets, thirty lines.

    python examples/embed_sync.py

A `ProxyConnection` takes events and returns effects; what carries them out is up
to the program. Here it is a loop over a list, which is enough to see all of it.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

from lbproto.config import Backend, Config, Service, Upstream
from lbproto.machine.effects import Close, Connect, Park, Send, Target
from lbproto.machine.events import Connected, Data, Opened, PeerInfo
from lbproto.proxy.gateway import Gateway
from lbproto_runtimes.env import WallClockEnv

if TYPE_CHECKING:
    from lbproto.machine.events import Event
    from lbproto.machine.values import ConnId

REQUEST = b"GET /hello HTTP/1.1\r\nHost: example\r\nConnection: close\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n"


def proxy(gateway: Gateway, client: socket.socket) -> None:
    """Serve one client until its connection is closed."""
    conn = gateway.mint()
    machine = gateway.connection("web", conn)
    sockets: dict[ConnId, socket.socket] = {conn: client}
    events: list[Event] = [Opened(conn, PeerInfo("127.0.0.1", 0, "127.0.0.1:80"))]
    reading = conn
    while conn in sockets:
        if not events:
            events.append(Data(reading, sockets[reading].recv(65536)))
        for effect in machine.handle(events.pop(0), time.monotonic()):
            print(type(effect).__name__)
            match effect:
                case Connect(backend, target):
                    address = (target.host, target.port)
                    sockets[backend] = socket.create_connection(address)
                    reading = backend  # the response is what comes next
                    events.append(Connected(backend))
                case Send(to, data):
                    sockets[to].sendall(data)
                case Close(to) | Park(to):
                    sockets.pop(to).close()


def backend(listener: socket.socket) -> None:
    """Answer one request."""
    sock, _ = listener.accept()
    with sock:
        sock.recv(65536)
        sock.sendall(RESPONSE)


def main() -> None:
    """Send a request through a proxy that is nothing but the loop above."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=backend, args=(listener,)).start()
        target = Target(*listener.getsockname())
        upstream = Upstream(name="web", backends=(Backend(target=target),))
        service = Service(name="web", upstream="web")
        config = Config(services=(service,), upstreams={"web": upstream})
        client, ours = socket.socketpair()
        with client:
            client.sendall(REQUEST)
            proxy(Gateway(config, WallClockEnv()), ours)
            print(client.recv(65536).decode(), end="")


if __name__ == "__main__":
    main()
