"""Whatever happens, in whatever order: the input is a script of events.

Each step is one byte that says what happens, at times with one more byte that says
to whom, how long, or which words: clients come and send words of HTTP, whole, cut
or broken; backends answer too early, too much or not at all, end or reset; readers
stop and go on; dials fail; time jumps; the operator drains. The simulator checks
the order of the effects; here it is checked that nothing raises, that nothing is left
afterwards, and that clients get the same whichever codec reads and writes.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

# Run as a script, this knows only its own folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.arena import ADDRESSES, GET, Codec, settle, silent, world
from lbproto.machine.events import ConnectError
from lbproto.testing.sim import Endpoint

__all__ = ["CLIENT_WORDS", "SERVER_WORDS", "STEPS", "one_input"]

MAX_SCRIPT = 400
MAX_CLIENTS = 4
CLIENT_WORDS = (
    GET,
    GET + GET,
    GET[:20],
    GET[20:],
    b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"hello",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"0\r\nX-Sum: 1\r\n",
    b"x" * 70_000,
    b"\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x80\x00\n",
)
SERVER_WORDS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nOK",
    b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 O",
    b"hello",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"x" * 70_000,
    b"zz\r\n",
    b"\r\n",
    b"\x80\x00\n",
)
PAUSES = (0.0, 0.001, 1.0, 5.0, 10.0, 61.0, 76.0, 3700.0)
MODES = (None, *ConnectError)


class Script:
    """One run: the world, and the bytes that say what happens next."""

    def __init__(self, data: bytes, framing: Codec) -> None:
        self._data = data
        self._at = 0
        # Who passes the bytes of a tunnel on makes no difference either.
        relays = framing == "h11"
        self.sim = world(backends=2, framing=framing, relays=relays)
        self.backends = [self.sim.backend(address, silent) for address in ADDRESSES]
        self.clients: list[Endpoint] = []
        self._ended: list[Endpoint] = []  # they sent FIN
        self._drained = False

    @property
    def more(self) -> bool:
        """There is another step."""
        return self._at < min(len(self._data), MAX_SCRIPT)

    def number(self, limit: int) -> int:
        """Take a number below `limit`; 0 when the script is over."""
        if self._at >= len(self._data):
            return 0
        self._at += 1
        return self._data[self._at - 1] % limit

    def chosen(self, ends: list[Endpoint], speaking: bool) -> Endpoint | None:
        """Choose an end that is still there, and that may still speak."""
        there = [end for end in ends if not (end.gone or end.closed)]
        if speaking:
            there = [end for end in there if end not in self._ended]
        return there[self.number(len(there))] if there else None

    def origins(self) -> list[Endpoint]:
        """The backends' ends; a dial that was not answered has no reader."""
        ends = [end for backend in self.backends for end in backend.connections]
        return [end for end in ends if end.on_data is not None]

    def end(self, *, speaking: bool = False) -> Endpoint | None:
        """Choose an end of any connection."""
        return self.chosen(self.clients if self.number(2) else self.origins(), speaking)

    # -- what may happen -----------------------------------------------------

    def come(self) -> None:
        """A client connects; after a drain nobody would accept it."""
        if len(self.clients) < MAX_CLIENTS and not self._drained:
            self.clients.append(self.sim.client())

    def ask(self) -> None:
        """A client sends words of a request."""
        word = CLIENT_WORDS[self.number(len(CLIENT_WORDS))]
        client = self.chosen(self.clients, speaking=True)
        if client is not None:
            client.send(word)

    def answer(self) -> None:
        """A backend sends words of a response, asked or not."""
        word = SERVER_WORDS[self.number(len(SERVER_WORDS))]
        origin = self.chosen(self.origins(), speaking=True)
        if origin is not None:
            origin.send(word)

    def spell(self) -> None:
        """An end sends the next bytes of the script as they are."""
        end = self.end(speaking=True)
        size = 1 + self.number(16)
        word = self._data[self._at : self._at + size]
        self._at += len(word)
        if end is not None:
            end.send(word)

    def finish(self) -> None:
        """An end sends FIN and goes on reading."""
        end = self.end(speaking=True)
        if end is not None:
            self._ended.append(end)
            end.half_close()

    def leave(self) -> None:
        """An end sends FIN and reads no more."""
        end = self.end(speaking=True)
        if end is not None:
            end.close()

    def reset(self) -> None:
        """An end resets its connection."""
        end = self.end()
        if end is not None:
            end.abort()

    def pause(self) -> None:
        """An end stops reading."""
        end = self.end()
        if end is not None:
            end.pause()

    def resume(self) -> None:
        """An end reads a little, or all."""
        limit = (math.inf, 1000, 100_000)[self.number(3)]
        end = self.end()
        if end is not None:
            end.resume(limit)

    def wait(self) -> None:
        """Time passes."""
        self.sim.advance(PAUSES[self.number(len(PAUSES))])

    def refuse(self) -> None:
        """A backend changes how it takes dials."""
        mode = MODES[self.number(len(MODES))]
        self.backends[self.number(len(self.backends))].mode = mode

    def drain(self) -> None:
        """The operator asks for a stop, perhaps not for the first time."""
        self._drained = True
        grace, timeout = self.number(len(PAUSES)), self.number(len(PAUSES))
        self.sim.drain(PAUSES[grace], PAUSES[timeout])


STEPS = (
    Script.ask,
    Script.answer,
    Script.come,
    Script.spell,
    Script.finish,
    Script.leave,
    Script.reset,
    Script.pause,
    Script.resume,
    Script.wait,
    Script.refuse,
    Script.drain,
)
"""What a byte of the script means."""


def play(data: bytes, framing: Codec) -> list[tuple[bytes, bool]]:
    """Play one script to its end; return what each client got."""
    script = Script(data, framing)
    script.come()
    while script.more:
        STEPS[script.number(len(STEPS))](script)
    settle(script.sim)
    return [(client.received, client.eof) for client in script.clients]


def one_input(data: bytes) -> None:
    """Play one script with each codec."""
    assert play(data, "native") == play(data, "h11"), "the codecs differ"


if __name__ == "__main__":
    from fuzz import engine

    engine.run("fuzz_events")
