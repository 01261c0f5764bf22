"""Listeners that take a PROXY header, and backends that get one."""

from __future__ import annotations

from typing import Any

import pytest

from lbproto.framing.proxy_protocol import Endpoint, encode_v1, encode_v2
from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import OK, Recorder
from tests.runtimes.wire import Wire

SOURCE, DESTINATION = Endpoint("203.0.113.7", 51000), Endpoint("203.0.113.1", 443)
V1, V2 = encode_v1(SOURCE, DESTINATION), encode_v2(SOURCE, DESTINATION)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
TAKES: Any = {
    "listen": [{"address": "127.0.0.1:0", "proxy_protocol": True}],
    "trusted_proxies": ["127.0.0.0/8"],
}


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_the_client_is_whom_the_header_names(
    lb: LbFactory, origin: OriginFactory, header: bytes
) -> None:
    recorder = Recorder()
    one = lb(origin(recorder), **TAKES)
    with one.connect() as client:
        client.send(header + GET)
        assert client.response().status == 200
        assert client.ask().status == 200
    with one.connect() as client:
        client.drip(header + GET)
        assert client.response().status == 200
    said = [request.all("X-Forwarded-For") for request in recorder.requests]
    assert said == [[b"203.0.113.7"]] * 3


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ffff:f ffff:f 65535 65535\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
        V2[:14] + b"\0\x13" + V2[16:] + b"\xee\0\x04many",
    ],
    ids=["UNKNOWN", "UNKNOWN with more", "LOCAL", "a strange TLV"],
)
def test_what_a_proxy_may_say_besides(
    lb: LbFactory, origin: OriginFactory, header: bytes
) -> None:
    with lb(origin(), **TAKES).connect() as client:
        client.send(header + GET)
        assert client.response().status == 200


WRONG = {
    "no header": GET,
    "a TLS handshake": b"\x16\x03\x01\x02\x00\x01\x00",
    "two lines": b"PROXY TCP4 1.2.3.4 1.2.3.4\r\n 1 2\r\n",
    "too long": b"PROXY UNKNOWN " + b"x" * 200,
    "no address": b"PROXY TCP4 a b 1 2\r\n",
    "a large length": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    "short addresses": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04abcd",
    "version 3": b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c",
    "garbage": b"\0" * 64,
}


def test_wrong_headers_close_the_connection_in_one_line(
    lb: LbFactory, origin: OriginFactory
) -> None:
    backend = origin()
    one = lb(backend, **TAKES)
    for count, wrong in enumerate(WRONG.values(), 1):
        with one.connect() as client:
            client.send(wrong)
            assert client.rest() == b""
        one.wait_until(lambda n=count: one.log.count("PROXY header refused") >= n)
    assert one.log.count("PROXY header refused") == len(WRONG)
    assert backend.accepted == 0


def test_a_truncated_header_is_waited_for_so_long(
    lb: LbFactory, origin: OriginFactory
) -> None:
    one = lb(origin(), **TAKES, timeouts={"proxy_protocol": "100ms"})
    with one.connect() as client:
        client.send(V2[:20])
        assert client.ended()
    one.line("PROXY header failed", "not complete in time")
    with one.connect() as client:
        client.send(V1[:20])
        client.end()
        assert client.ended()


def test_a_stranger_may_not_send_a_header(lb: LbFactory, origin: OriginFactory) -> None:
    listen = TAKES["listen"]
    one = lb(origin(), listen=listen, trusted_proxies=["192.0.2.0/24"])
    with one.connect() as client:
        assert client.ended()
    one.line("PROXY header refused", "client=127.0.0.1")


def test_a_header_on_a_plain_listener_is_a_bad_request(
    lb: LbFactory, origin: OriginFactory
) -> None:
    with lb(origin()).connect() as client:
        client.send(V1 + GET)
        assert client.response().status == 400


def test_each_client_has_its_own_connection_to_a_backend(
    lb: LbFactory, origin: OriginFactory
) -> None:
    seen: list[bytes] = []

    def script(wire: Wire) -> None:
        seen.append(wire.until(b"\r\n"))
        while True:
            wire.request()
            wire.send(OK)

    backend = origin(script)
    upstream = {"backends": [backend.address], "proxy_protocol": "v1"}
    one = lb(upstream=upstream)
    wires = [one.connect() for _ in range(3)]
    for _ in range(2):
        for wire in wires:
            assert wire.ask().body == b"OK"
    ports = [wire.sock.getsockname()[1] for wire in wires]
    port = one.address().rpartition(":")[2]
    assert sorted(seen) == sorted(
        f"PROXY TCP4 127.0.0.1 127.0.0.1 {one} {port}\r\n".encode() for one in ports
    )
