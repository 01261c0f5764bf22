"""Backends that break off: what is short never looks complete, little is repeated."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import OK, Script, answers, reply
from tests.runtimes.wire import PATIENCE, Wire

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"

SENDER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
sock, _ = listener.accept()
sock.recv(65536)
sock.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 1000000000\\r\\n\\r\\n")
while True:
    sock.sendall(bytes(65536))
"""


@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize("response", [COUNTED, CHUNKED], ids=["counted", "chunked"])
def test_a_response_cut_short_never_looks_complete(
    lb: LbFactory, origin: OriginFactory, response: bytes, ending: str
) -> None:
    go_on = threading.Event()

    def script(wire: Wire) -> None:
        wire.request()
        wire.send(response)
        assert go_on.wait(PATIENCE)  # else a reset could overtake the bytes
        if ending == "reset":
            wire.reset()

    one = lb(origin(script))
    with one.connect() as client:
        client.get()
        assert client.head().status == 200
        seen = client.until(b"hello")
        go_on.set()
        seen += client.rest()
    assert b"0\r\n\r\n" not in seen
    assert len(seen) < 100
    assert "response_incomplete" in one.line("exchange failed")


@pytest.mark.parametrize(
    "response",
    [CHUNKED, b"HTTP/1.1 200 OK\r\n\r\nhello"],
    ids=["chunked", "until close"],
)
def test_a_10_client_is_reset_when_its_response_is_cut_short(
    lb: LbFactory, origin: OriginFactory, response: bytes
) -> None:
    go_on = threading.Event()

    def script(wire: Wire) -> None:
        wire.request()
        wire.send(response)
        assert go_on.wait(PATIENCE)
        wire.reset()

    with lb(origin(script)).connect() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        client.until(b"hello")
        go_on.set()
        assert client.was_reset()


def test_a_backend_killed_while_it_sends_cuts_the_client(lb: LbFactory) -> None:
    command = [sys.executable, "-c", SENDER]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as backend:
        assert backend.stdout is not None
        port = int(backend.stdout.readline())
        one = lb(f"127.0.0.1:{port}")
        with one.connect() as client:
            client.get()
            assert client.head().get("Content-Length") == b"1000000000"
            client.exactly(1_000_000)
            os.kill(backend.pid, signal.SIGKILL)
            assert len(client.rest()) < 999_000_000
    assert "response_incomplete" in one.line("exchange failed", f":{port}")
    assert one.fetch().status == 502


def test_a_head_cut_short_is_a_502(lb: LbFactory, origin: OriginFactory) -> None:
    def script(wire: Wire) -> None:
        wire.request()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-")

    with lb(origin(script)).connect() as client:
        assert client.ask().status == 502
        assert client.ask().status == 502


def test_a_backend_that_says_nothing_and_closes_is_a_502(
    lb: LbFactory, origin: OriginFactory
) -> None:
    backend = origin(lambda wire: wire.request() and None)
    one = lb(backend)
    with one.connect() as client:
        response = client.ask()
        assert response.status == 502
        assert b"connection_terminated" in (response.get("Proxy-Status") or b"")
    assert backend.accepted == 1
    assert backend.address in one.line("exchange failed")


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nOK",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
    ],
)
def test_a_response_against_the_grammar_is_a_502(
    lb: LbFactory, origin: OriginFactory, response: bytes
) -> None:
    with lb(origin(answers(response))).connect() as client:
        got = client.ask()
        assert got.status == 502
        assert b"http_protocol_error" in (got.get("Proxy-Status") or b"")


def second_time(ending: str) -> Script:
    """On its first connection answer once; then read a request and break off."""

    def script(wire: Wire) -> None:
        wire.request()
        wire.send(OK)
        wire.request()
        if ending == "reset":
            wire.reset()

    return script


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_a_get_is_repeated_when_a_kept_connection_ends(
    lb: LbFactory, origin: OriginFactory, ending: str
) -> None:
    backend = origin(second_time(ending))
    with lb(backend).connect() as client:
        for _ in range(4):
            assert client.ask().body == b"OK"
    assert backend.accepted == 4


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_a_post_is_not_repeated_when_a_kept_connection_ends(
    lb: LbFactory, origin: OriginFactory, ending: str
) -> None:
    backend = origin(second_time(ending))
    with lb(backend).connect() as client:
        assert client.ask().body == b"OK"
        client.send(POST)
        assert client.response().status == 502
        assert backend.accepted == 1
        assert client.ask().body == b"OK"
    assert backend.received.count(b"POST") == 1


def test_an_idle_connection_that_the_backend_closed_costs_a_post_nothing(
    lb: LbFactory, origin: OriginFactory
) -> None:
    def script(wire: Wire) -> None:
        wire.send(reply(wire.request().body))

    backend = origin(script)
    with lb(backend).connect() as client:
        for _ in range(5):
            client.send(POST)
            # The script's end closes the connection right behind its response.
            assert client.response().body == b"hello"
            backend.wires[-1].sock.close()


def test_an_early_answer_is_passed_on_and_the_connection_given_up(
    lb: LbFactory, origin: OriginFactory
) -> None:
    def script(wire: Wire) -> None:
        wire.head()
        wire.send(reply(b"too large", "413 Content Too Large"))
        wire.rest()

    with lb(origin(script)).connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nsome")
        response = client.response()
        assert response.status == 413
        assert response.get("Connection") == b"close"
        client.send(b"x" * 1000)  # the client may go on until it has noticed
        assert client.ended()
