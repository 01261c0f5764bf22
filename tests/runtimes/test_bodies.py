"""Large content: whole, in order, and never much of it in our memory."""

from __future__ import annotations

import threading

import pytest

from tests.runtimes.bulk import BLOCK, MIB, Sink, digest, pour
from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import OK, reply
from tests.runtimes.wire import PATIENCE, Wire

LARGE = 128 * MIB
SLOW = 256 * MIB
MEMORY = 100 * MIB

POST = "POST / HTTP/1.1\r\nHost: a\r\n"
FRAMINGS = pytest.mark.parametrize("chunked", [False, True], ids=["counted", "chunked"])


def framing(size: int, *, chunked: bool) -> str:
    if chunked:
        return "Transfer-Encoding: chunked\r\n\r\n"
    return f"Content-Length: {size}\r\n\r\n"


def drain(wire: Wire, size: int, *, chunked: bool) -> str:
    return Sink().chunked(wire) if chunked else Sink().counted(wire, size)


@FRAMINGS
def test_a_large_upload_arrives_whole(
    lb: LbFactory, origin: OriginFactory, chunked: bool
) -> None:
    def script(wire: Wire) -> None:
        assert (wire.head().get("Content-Length") is None) is chunked
        wire.send(reply(drain(wire, LARGE, chunked=chunked).encode()))

    one = lb(origin(script))
    with one.connect() as client:
        client.send((POST + framing(LARGE, chunked=chunked)).encode())
        pour(client, LARGE, chunked=chunked)
        assert client.response().body.decode() == digest(LARGE)
    assert one.peak_memory() < MEMORY


@FRAMINGS
def test_a_large_download_arrives_whole(
    lb: LbFactory, origin: OriginFactory, chunked: bool
) -> None:
    def script(wire: Wire) -> None:
        wire.request()
        wire.send(("HTTP/1.1 200 OK\r\n" + framing(LARGE, chunked=chunked)).encode())
        pour(wire, LARGE, chunked=chunked)

    one = lb(origin(script))
    with one.connect() as client:
        client.get()
        assert (client.head().get("Content-Length") is None) is chunked
        assert drain(client, LARGE, chunked=chunked) == digest(LARGE)
    assert one.peak_memory() < MEMORY


def stall(wire: Wire, size: int) -> int:
    """Send until the other side takes no more; return how much it took."""
    sent = 0
    wire.sock.settimeout(0.5)
    try:
        while sent < size:
            sent += wire.sock.send(BLOCK[sent % len(BLOCK) :][: size - sent])
    except TimeoutError:
        pass
    wire.sock.settimeout(PATIENCE)
    return sent


def finish(wire: Wire, sent: int, size: int) -> None:
    while sent < size:
        sent += wire.sock.send(BLOCK[sent % len(BLOCK) :][: size - sent])


def test_a_backend_that_does_not_read_stops_the_client(
    lb: LbFactory, origin: OriginFactory
) -> None:
    read_on = threading.Event()

    def script(wire: Wire) -> None:
        wire.head()
        assert read_on.wait(3 * PATIENCE)
        wire.send(reply(drain(wire, SLOW, chunked=False).encode()))

    one = lb(origin(script))
    with one.connect() as client:
        client.send((POST + framing(SLOW, chunked=False)).encode())
        sent = stall(client, SLOW)
        assert sent < 64 * MIB  # what the kernel and we hold is bounded
        read_on.set()
        finish(client, sent, SLOW)
        assert client.response().body.decode() == digest(SLOW)
    assert one.peak_memory() < MEMORY


def test_a_client_that_does_not_read_stops_the_backend(
    lb: LbFactory, origin: OriginFactory
) -> None:
    stalled = threading.Event()
    sent = []

    def script(wire: Wire) -> None:
        wire.request()
        wire.send(("HTTP/1.1 200 OK\r\n" + framing(SLOW, chunked=False)).encode())
        sent.append(stall(wire, SLOW))
        stalled.set()
        finish(wire, sent[0], SLOW)

    one = lb(origin(script))
    with one.connect() as client:
        client.get()
        assert stalled.wait(3 * PATIENCE)
        assert sent[0] < 64 * MIB
        assert client.head().status == 200
        assert drain(client, SLOW, chunked=False) == digest(SLOW)
    assert one.peak_memory() < MEMORY


def test_a_blocked_client_holds_up_no_other(
    lb: LbFactory, origin: OriginFactory
) -> None:
    stalled = threading.Event()

    def script(wire: Wire) -> None:
        if wire.request().start.startswith(b"GET /large"):
            wire.send(("HTTP/1.1 200 OK\r\n" + framing(SLOW, chunked=False)).encode())
            stall(wire, SLOW)
            stalled.set()
            wire.rest()
        wire.send(OK)

    one = lb(origin(script))
    with one.connect() as client:
        client.get("/large")
        assert stalled.wait(3 * PATIENCE)
        for _ in range(5):
            assert one.fetch().body == b"OK"


@pytest.mark.parametrize("upload", [True, False], ids=["upload", "download"])
def test_a_gibibyte_needs_no_more_memory(
    lb: LbFactory, origin: OriginFactory, upload: bool
) -> None:
    size = 1024 * MIB

    def script(wire: Wire) -> None:
        wire.head()
        if upload:
            wire.send(reply(b"%d" % discard(wire, size)))
        else:
            wire.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
            pour(wire, size, chunked=False)

    one = lb(origin(script))
    with one.connect() as client:
        if upload:
            client.send((POST + framing(size, chunked=False)).encode())
            pour(client, size, chunked=False)
            assert client.response().body == b"%d" % size
        else:
            client.get()
            assert client.head().status == 200
            assert discard(client, size) == size
    assert one.peak_memory() < MEMORY


def discard(wire: Wire, size: int) -> int:
    """Read `size` bytes and keep none."""
    got = len(wire.ahead)
    wire.ahead = b""
    buffer = bytearray(4 * MIB)
    while got < size:
        count = wire.sock.recv_into(buffer)
        if not count:
            raise EOFError(got)
        got += count
    return got
