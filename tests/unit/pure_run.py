"""A day of traffic in a process whose doors to the system are shut.

Run by `test_purity.py`. Everything is imported first; then an audit hook refuses
files, sockets, processes and what `os` does, and clocks and random numbers raise. If
the core touched any of them, this would end with `Impure`. It prints every effect,
so that two runs can be compared. With the name of a door as its argument it walks
through that door instead: the proof that the watch is awake.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from typing import NoReturn

import lbproto
from lbproto import ConnectError
from lbproto.testing.sim import Endpoint, Sim
from tests.scenario.world import (
    GET,
    OK,
    ONE,
    POST,
    SWITCHED,
    TWO,
    WEBSOCKET,
    answers,
    config,
    status,
)

REFUSED = ("open", "socket.", "subprocess.", "os.", "time.sleep", "shutil.", "ctypes.")


class Impure(BaseException):
    """The core touched the system; not an `Exception`, so nobody swallows it."""


class Watch:
    """Refuses while it is on; a hook cannot be removed again."""

    def __init__(self) -> None:
        self.on = False

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.on and event.startswith(REFUSED):
            raise Impure(event)


def shut(*_: object) -> NoReturn:
    raise Impure("a clock or random numbers")


def shut_doors() -> Watch:
    watch = Watch()
    sys.addaudithook(watch)
    time.time = time.monotonic = time.perf_counter = shut
    time.time_ns = time.monotonic_ns = time.perf_counter_ns = shut
    random.random = os.urandom = shut
    watch.on = True
    return watch


DOORS = {
    "open": lambda: open(__file__),  # noqa: SIM115
    "socket": socket.socket,
    "subprocess": lambda: subprocess.Popen([sys.executable, "-V"]),
    "listdir": os.listdir,
    "clock": lambda: time.monotonic(),
    "random": lambda: random.random(),
    "urandom": lambda: os.urandom(1),
}


def requests() -> Sim:
    """Kept connections, pipelining, a chunked upload, a large response, errors."""
    sim = Sim(config((ONE, TWO), limits={"header_size": 2000}))
    backends = [sim.backend(str(ONE), answers), sim.backend(str(TWO), answers)]
    client = sim.client()
    client.send(GET * 3)
    client.send(POST)
    for backend in backends:
        for end in backend.connections:
            end.on_data = None
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    pieces = [b"5\r\nhe", b"llo\r\n0", b"\r\nX-Sum: 1\r\n", b"\r\n"]
    client.send(b"".join(pieces), pieces)
    (uploading,) = [
        end
        for backend in backends
        for end in backend.connections
        if b"chunked" in end.received
    ]
    uploading.send(OK)
    for number, broken in enumerate(
        [
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"x" * 3000),
        ]
    ):
        end = sim.client()
        end.send(broken)
        assert status(end) == (400, 431)[number]
    slow = sim.client()
    slow.send(GET[:-2])
    sim.advance(20.0)
    assert status(slow) == 408
    assert client.received.count(b"HTTP/1.1 200") == 5
    return sim


def large() -> Sim:
    """A response larger than any buffer, for a client that reads slowly."""
    sim = Sim(config())
    backend = sim.backend(str(ONE))
    client = sim.client()
    client.send(GET)
    client.pause()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    backend.connections[0].send(head + b"80000\r\n%b\r\n0\r\n\r\n" % (b"x" * 0x80000))
    while client.waiting:
        client.resume(limit=100_000)
    client.resume()
    assert client.received.count(b"x") > 0x80000 - 100
    assert client.received.endswith(b"0\r\n\r\n")
    return sim


def failures() -> Sim:
    """A refused dial and a stale connection are tried again; a cut is a 502."""
    sim = Sim(config((ONE, TWO)))
    first, second = sim.backend(str(ONE), answers), sim.backend(str(TWO), answers)
    first.mode = ConnectError.REFUSED
    client = sim.client()
    client.send(GET * 2)
    assert client.received.count(b"HTTP/1.1 200") == 2
    stale = second.connections[0]
    stale.gone = True
    client.send(GET * 2)
    assert client.received.count(b"HTTP/1.1 200") == 4
    second.mode = ConnectError.TIMEOUT
    for end in second.connections:
        end.abort()
    client.send(GET)
    sim.advance(30.0)
    second.mode = None
    second.answer = cut_short
    last = sim.client()
    last.send(GET)
    assert status(last) == 502
    return sim


def cut_short(end: Endpoint, data: bytes) -> None:
    end.send(OK[:10])
    end.close()


def tunnel() -> Sim:
    """Two peers that speak something else, one after the other."""
    sim = Sim(config())
    backend = sim.backend(str(ONE))
    client = sim.client()
    client.send(WEBSOCKET + b"early")
    end = backend.connections[0]
    end.send(SWITCHED + b"welcome")
    client.send(b"\x81\x05hello")
    end.send(b"\x81\x02ok")
    client.half_close()
    end.close()
    assert client.received.endswith(b"welcome\x81\x02ok")
    assert end.received.endswith(b"early\x81\x05hello")
    return sim


def draining() -> Sim:
    """An idle client leaves at once, a busy one when it is done or time is up."""
    sim = Sim(config())
    backend = sim.backend(str(ONE), answers)
    idle, busy, stuck = sim.client(), sim.client(), sim.client()
    idle.send(GET)
    backend.answer = None
    backend.connections[0].on_data = None
    busy.send(GET)
    stuck.send(GET)
    sim.drain(0.0, 30.0)
    backend.connections[0].send(OK)
    assert idle.closed
    assert busy.received.endswith(b"OK")
    sim.advance(60.0)
    assert stuck.closed
    return sim


SCENARIOS = (requests, large, failures, tunnel, draining)


def main(arguments: list[str]) -> None:
    assert lbproto.__name__ == "lbproto"
    watch = shut_doors()
    try:
        if arguments:
            DOORS[arguments[0]]()
        sims = [scenario() for scenario in SCENARIOS]
        for sim in sims:
            sim.advance(100_000.0)
        lines = [f"{at} {effect}" for sim in sims for at, effect in sim.log]
        lines += [str(record) for sim in sims for record in sim.access]
    finally:
        watch.on = False
    sys.stdout.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main(sys.argv[1:])
