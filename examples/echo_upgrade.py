"""The upgrade handshake in a server that is no load balancer: an echo server.

    python examples/echo_upgrade.py

starts an echo server, and then a second one that takes its port over, while clients
ask all the time. Only `lbproto` is used: the two machines say what to do, and these
lines do it on a plain asyncio loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from lbproto.handover import effects as do
from lbproto.handover.events import (
    AcceptingStopped,
    Bytes,
    IdleOffered,
    PeerClosed,
    PeerConnected,
    PeerRefused,
    Requested,
    Sent,
    Wake,
    WorkersReady,
)
from lbproto.handover.incumbent import Incumbent
from lbproto.handover.keys import FdToken, ListenerKey, listener_key
from lbproto.handover.successor import Successor
from lbproto.handover.times import Times


class Echo:
    """Echoes lines on a listening socket, with the name of the process before them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.clients = 0
        self.left = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def accept(self, listener: socket.socket) -> None:
        """Accept clients; of the socket a copy is used, since `hold` closes it."""
        self._server = await asyncio.start_server(self._serve, sock=listener.dup())

    def hold(self) -> None:
        """Accept nobody; those that are here go on."""
        if self._server is not None:
            self._server.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.clients += 1
        self.left.clear()
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(self.name.encode() + b": " + line)
                await writer.drain()
        writer.close()
        self.clients -= 1
        if not self.clients:
            self.left.set()


class Upgrade:
    """One machine of the handshake on the loop; what it orders is done by `perform`."""

    def __init__(self, machine: Any, perform: Callable[[do.Effect], None]) -> None:
        self.tokens: dict[FdToken, int] = {}
        self._machine = machine
        self._perform = perform
        self._numbers = map(FdToken, count(1))
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._channel: socket.socket | None = None

    def feed(self, event: Any) -> None:
        """Tell the machine what happened."""
        for effect in self._machine.handle(event, self._loop.time()):
            match effect:
                case do.Log(_, message):
                    print(message, file=sys.stderr)
                case do.Hangup():
                    self._hang_up()
                case do.DropFd(token):
                    os.close(self.tokens.pop(token))
                case _:
                    self._perform(effect)
        if self._timer is not None:
            self._timer.cancel()
        if self._machine.deadline < float("inf"):
            at = self._machine.deadline
            self._timer = self._loop.call_at(at, self.feed, Wake())

    def connected(self, channel: socket.socket) -> None:
        """Speak to the other process here."""
        channel.setblocking(False)
        self._channel = channel
        self._loop.add_reader(channel, self._read)
        self.feed(PeerConnected())

    def send(self, data: bytes, fds: list[int]) -> None:
        """Send bytes and descriptors; they are few, and find room at once."""
        assert self._channel is not None, "somebody is there"
        socket.send_fds(self._channel, [data], fds)
        self._loop.call_soon(self.feed, Sent())

    def _read(self) -> None:
        assert self._channel is not None, "it is read"
        data, fds, _, _ = socket.recv_fds(self._channel, 65536, 253)
        if data:
            found = dict(zip(self._numbers, fds, strict=False))
            self.tokens |= found
            self.feed(Bytes(data, tuple(found)))
        else:
            self._hang_up()
            self.feed(PeerClosed("EOF"))

    def _hang_up(self) -> None:
        if self._channel is not None:
            self._loop.remove_reader(self._channel)
            self._channel.close()
            self._channel = None


async def serve_and_hand_over(port: int, path: str) -> None:
    """Serve until a line on standard input asks to hand over; then do that."""
    listener = socket.create_server(("127.0.0.1", port))
    echo, over = Echo("old"), asyncio.Event()
    await echo.accept(listener)
    print(listener.getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    key = listener_key("tcp:127.0.0.1:0")

    def perform(effect: do.Effect) -> None:
        match effect:
            case do.Dial(where):
                channel = socket.socket(socket.AF_UNIX)
                try:
                    channel.connect(where)
                except OSError as error:
                    channel.close()
                    upgrade.feed(PeerRefused(str(error)))
                else:
                    upgrade.connected(channel)
            case do.SendBytes(data, names):
                upgrade.send(data, [listener.fileno() for _ in names])
            case do.Accepting(False):
                echo.hold()
                asyncio.get_running_loop().call_soon(upgrade.feed, AcceptingStopped())
            case do.Accepting(True):
                asyncio.get_running_loop().create_task(echo.accept(listener))
            case do.CollectIdle():
                idle = IdleOffered((), echo.clients)
                asyncio.get_running_loop().call_soon(upgrade.feed, idle)
            case do.CloseListeners():
                listener.close()
            case do.Exit():
                over.set()

    machine = Incumbent(path, [key], pid=os.getpid(), generation=1, times=Times(bake=0))
    upgrade = Upgrade(machine, perform)
    upgrade.feed(Requested())
    await over.wait()
    if echo.clients:
        await echo.left.wait()


async def take_over_and_serve(path: str) -> None:
    """Take the port over; serve until standard input ends."""
    echo = Echo("new")
    key = listener_key("tcp:127.0.0.1:0")
    listeners: dict[ListenerKey, socket.socket] = {}
    over = asyncio.Event()

    async def start() -> None:
        await echo.accept(listeners[key])
        upgrade.feed(WorkersReady())

    def perform(effect: do.Effect) -> None:
        match effect:
            case do.SendBytes(data):
                upgrade.send(data, [])
            case do.BindFd(token, name):
                listeners[name] = socket.socket(fileno=upgrade.tokens.pop(token))
            case do.StartWorkers():
                tasks.append(asyncio.get_running_loop().create_task(start()))
            case do.TakeService():
                print("ours", flush=True)
            case do.Exit():
                over.set()

    tasks: list[asyncio.Task[None]] = []
    upgrade = Upgrade(
        Successor([key], pid=os.getpid(), generation=0, times=Times()), perform
    )
    os.umask(0o077)  # nobody else may hand us anything
    with socket.socket(socket.AF_UNIX) as meeting:
        meeting.bind(path)
        meeting.listen()
        upgrade.feed(Requested())
        print("waiting", flush=True)
        channel, _ = await asyncio.to_thread(meeting.accept)
    upgrade.connected(channel)
    ending = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    failing = asyncio.ensure_future(over.wait())
    await asyncio.wait({ending, failing}, return_when=asyncio.FIRST_COMPLETED)


async def ask(port: int) -> str:
    """Have a line echoed on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello\n")
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return answer.decode().strip()


async def demonstrate() -> None:
    """Start one server, have another one take over, and ask all the time."""
    pipe = asyncio.subprocess.PIPE

    async def start(*role: str) -> asyncio.subprocess.Process:
        command = [sys.executable, __file__, *role]
        return await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "echo.sock"))
        old = await start("serve", "0", path)
        assert old.stdin is not None
        assert old.stdout is not None
        port = int(await old.stdout.readline())
        print(await ask(port))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"first\n")
        print((await reader.readline()).decode().strip())

        new = await start("take", path)
        assert new.stdin is not None
        assert new.stdout is not None
        await new.stdout.readline()
        old.stdin.write(b"hand over\n")
        owner = asyncio.ensure_future(new.stdout.readline())
        while not owner.done():
            await ask(port)  # nobody is refused meanwhile
        print(await ask(port))
        writer.write(b"last\n")
        print((await reader.readline()).decode().strip())  # still the old one
        writer.close()
        await old.wait()
        print(await ask(port))
        new.stdin.close()
        await new.wait()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", port, path]:
            asyncio.run(serve_and_hand_over(int(port), path))
        case ["take", path]:
            asyncio.run(take_over_and_serve(path))
        case _:
            asyncio.run(demonstrate())
