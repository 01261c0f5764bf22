"""TLS towards backends, over real sockets: what is verified, and who shares what."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from tests.certificates import Authority
from tests.runtimes.bulk import MIB
from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import Recorder, reply
from tests.runtimes.secured import (
    NAME,
    TlsOriginFactory,
    authority,
    entry,
    tls_origin,
)
from tests.runtimes.wire import Wire

__all__ = ["authority", "tls_origin"]


def upstream(*backends: Any, authority: Authority, **tls: Any) -> dict[str, Any]:
    settings = {"sni": NAME, "ca_file": authority.ca_file, **tls}
    return {"backends": [one.address for one in backends], "tls": settings}


def test_two_backends_that_require_a_name_and_a_host(
    lb: LbFactory, tls_origin: TlsOriginFactory, authority: Authority
) -> None:
    """The first example of Pingora's walk-through, with an authority of our own."""

    def script(number: int) -> Any:
        def play(wire: Wire) -> None:
            while True:
                request = wire.request()
                known = request.get("Host") == NAME.encode()
                status = "200 OK" if known else "403 Forbidden"
                wire.send(reply(b"%d" % number, status))

        return play

    certificate = authority.issue(NAME)
    backends = [tls_origin(certificate, script(number)) for number in (1, 2)]
    one = lb(
        upstream=upstream(*backends, authority=authority),
        request_headers={"set": {"Host": NAME}},
    )
    answers = [one.fetch() for _ in range(6)]
    assert [answer.status for answer in answers] == [200] * 6
    assert [answer.body for answer in answers] == [b"1", b"2"] * 3
    assert [backend.names for backend in backends] == [[NAME], [NAME]], "kept alive"


@pytest.mark.parametrize("which", ["wrong name", "expired", "self-signed"])
def test_what_cannot_be_verified_is_a_502_with_its_reason(
    lb: LbFactory, tls_origin: TlsOriginFactory, authority: Authority, which: str
) -> None:
    certificate, reason = {
        "wrong name": lambda: (authority.issue("other.example"), "name"),
        "expired": lambda: (authority.issue(NAME, expired=True), "expired"),
        "self-signed": lambda: (authority.self_signed(NAME), "self-signed"),
    }[which]()
    backend = tls_origin(certificate)
    one = lb(upstream=upstream(backend, authority=authority))
    answer = one.fetch()
    assert answer.status == 502
    assert b"tls" in (answer.get("Proxy-Status") or b"")
    assert reason in one.line("connect_tls", "exchange failed").replace(
        "self signed", "self-signed"
    )
    assert backend.received == b""


def test_without_verification_anybody_will_do(
    lb: LbFactory, tls_origin: TlsOriginFactory, authority: Authority
) -> None:
    backend = tls_origin(authority.self_signed("other.example"))
    settings = {"backends": [backend.address], "tls": {"sni": NAME, "verify": False}}
    assert lb(upstream=settings).fetch().body == b"OK"
    assert backend.names == [NAME]


def test_an_address_can_be_verified_and_is_no_name(
    lb: LbFactory, tls_origin: TlsOriginFactory, authority: Authority
) -> None:
    backend = tls_origin(authority.issue("127.0.0.1"))
    settings = {
        "backends": [backend.address],
        "tls": {"ca_file": authority.ca_file},
    }
    assert lb(upstream=settings).fetch().body == b"OK"
    assert backend.names == [None]


def test_a_backend_may_ask_who_we_are(
    lb: LbFactory, tls_origin: TlsOriginFactory, authority: Authority
) -> None:
    backend = tls_origin(authority.issue(NAME), client_ca=authority.ca_file)
    shows = authority.issue("lb.example", common_name="lb")
    settings = upstream(backend, authority=authority, certificate=entry(shows))
    assert lb(upstream=settings).fetch().body == b"OK"
    assert "'lb'" in str(backend.subjects[0])


def test_sessions_with_a_backend_are_resumed(
    lb: LbFactory, tls_origin: TlsOriginFactory, authority: Authority
) -> None:
    backend = tls_origin(authority.issue(NAME), reply(fields="Connection: close\r\n"))
    one = lb(upstream=upstream(backend, authority=authority))
    for _ in range(3):
        assert one.fetch().status == 200
    assert backend.sessions == [False, True, True]


def test_much_passes_both_ways(
    lb: LbFactory, tls_origin: TlsOriginFactory, authority: Authority
) -> None:
    much = bytes(range(256)) * (8 * MIB // 256)
    recorder = Recorder(reply(much))
    backend = tls_origin(authority.issue(NAME), recorder)
    with lb(upstream=upstream(backend, authority=authority)).connect() as client:
        head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(much)}\r\n\r\n"
        client.send(head.encode() + much)
        assert client.response().body == much
    assert recorder.requests[0].body == much


def test_content_until_close_has_to_end_with_close_notify(
    lb: LbFactory, tls_origin: TlsOriginFactory, authority: Authority
) -> None:
    def script(wire: Wire) -> None:
        target = wire.request().start.split(b" ")[1]
        wire.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        assert isinstance(wire.sock, ssl.SSLSocket)
        if target == b"/whole":
            wire.sock.unwrap()

    backend = tls_origin(authority.issue(NAME), script)
    one = lb(upstream=upstream(backend, authority=authority))
    assert one.fetch("/whole").body == b"all of it"
    with one.connect() as client:
        client.get("/cut")
        assert client.head().status == 200
        with pytest.raises((EOFError, ConnectionError)):
            client.chunks()
    one.line("response_incomplete", "cut off")


def test_a_backend_without_tls_is_a_502(
    lb: LbFactory, origin: OriginFactory, authority: Authority
) -> None:
    def script(wire: Wire) -> None:
        wire.more()
        wire.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    one = lb(upstream=upstream(origin(script), authority=authority))
    assert one.fetch().status == 502
    one.line("connect_tls")


def test_a_backend_that_stops_in_the_handshake_is_a_504(
    lb: LbFactory, origin: OriginFactory, authority: Authority
) -> None:
    backend = origin(lambda wire: wire.rest() and None)
    settings = upstream(backend, authority=authority)
    one = lb(upstream=settings, timeouts={"connect": "150ms"})
    assert one.fetch().status == 504


def test_the_next_backend_is_tried_when_one_cannot_be_verified(
    lb: LbFactory, tls_origin: TlsOriginFactory, authority: Authority
) -> None:
    wrong = tls_origin(authority.self_signed(NAME))
    right = tls_origin(authority.issue(NAME))
    one = lb(upstream=upstream(wrong, right, authority=authority))
    assert [one.fetch().status for _ in range(4)] == [200] * 4


def test_one_address_serves_two_identities_over_two_connections(
    start: LbFactory, tls_origin: TlsOriginFactory, authority: Authority
) -> None:
    backend = tls_origin(authority.issue(NAME, "two.example"))
    services = [
        {
            "name": name,
            "listen": ["127.0.0.1:0"],
            "upstream": upstream(backend, authority=authority, sni=name),
        }
        for name in (NAME, "two.example")
    ]
    one = start({"services": services})
    for _ in range(2):
        for name in (NAME, "two.example"):
            assert one.fetch(service=name).body == b"OK"
    assert backend.names == [NAME, "two.example"]


def test_a_proxy_header_goes_out_before_tls(
    lb: LbFactory, tls_origin: TlsOriginFactory, authority: Authority
) -> None:
    lines: list[bytes] = []

    def before(wire: Wire) -> None:
        # Byte by byte, since what follows is not ours to read.
        line = b""
        while not line.endswith(b"\r\n"):
            line += wire.sock.recv(1)
        lines.append(line)

    backend = tls_origin(authority.issue(NAME), before=before)
    settings = upstream(backend, authority=authority)
    one = lb(upstream={**settings, "proxy_protocol": "v1"})
    with one.connect() as client:
        port = client.sock.getsockname()[1]
        assert client.ask().body == b"OK"
        assert client.ask().body == b"OK"
    ours = one.address().rpartition(":")[2]
    assert lines == [f"PROXY TCP4 127.0.0.1 127.0.0.1 {port} {ours}\r\n".encode()]
