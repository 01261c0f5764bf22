"""What comes before HTTP: the PROXY header, the TLS handshake, their deadlines."""

from __future__ import annotations

import dataclasses
import math
from ipaddress import ip_network
from typing import Any

import pytest

from lbproto.config import Backend, Config, Listen, Service, Timeouts, Upstream
from lbproto.framing.proxy_protocol import Endpoint, encode_v1, encode_v2
from lbproto.machine.effects import (
    Close,
    Connect,
    Level,
    Park,
    Send,
    StartTls,
    Target,
)
from lbproto.machine.errors import LocalProtocolError
from lbproto.machine.events import (
    Connected,
    Data,
    Drain,
    Eof,
    Lost,
    Opened,
    PeerInfo,
    Secured,
    TlsInfo,
    Wake,
)
from lbproto.machine.tls import Certificate, ClientTls, ServerTls
from lbproto.machine.values import ConnId
from lbproto.proxy.gateway import Gateway
from lbproto.testing.playbook import Playbook, a
from lbproto.testing.sim import FixedEnv, Sim
from tests.scenario.world import GET, OK, ONE, answers, bare, config, logged, status

pytestmark = pytest.mark.usefixtures("every_framing")


CLIENT, UP = ConnId(1), ConnId(2)
HERE = Target("127.0.0.1", 6188)
PROXY = PeerInfo("192.0.2.1", 40000, "127.0.0.1:6188")
TLS = ServerTls(certificates=(Certificate(cert="c.pem", key="k.pem"),))
INFO = TlsInfo("http/1.1", "a.example", "TLSv1.3", "")
TRUSTED = {"trusted_proxies": (ip_network("192.0.2.0/24"),)}
SOURCE, DESTINATION = Endpoint("203.0.113.7", 51000), Endpoint("203.0.113.1", 443)
LINE = encode_v1(SOURCE, DESTINATION)


def begin(
    *, tls: ServerTls | None = None, proxy: bool = False, **service: Any
) -> Playbook:
    gateway = Gateway(bare(**{**TRUSTED, **service}), FixedEnv())
    listen = Listen(target=HERE, tls=tls, proxy_protocol=proxy)
    machine = gateway.connection("web", gateway.mint(), listen)
    return Playbook(machine) >> Opened(CLIENT, PROXY)


def upstream(play: Playbook) -> bytes:
    """Answer the dial; return the request that goes out."""
    found: list[bytes] = []
    play << Connect(UP, ONE)
    play >> Connected(UP)
    play << a(Send, conn=UP, data=lambda data: found.append(data) or True)
    assert play
    return found[0]


# -- TLS ---------------------------------------------------------------------


def test_tls_comes_first_and_http_after_it() -> None:
    play = begin(tls=TLS)
    play << StartTls(CLIENT, TLS)
    play >> Secured(CLIENT, INFO) >> Data(CLIENT, GET)
    assert b"X-Forwarded-Proto: https\r\n" in upstream(play)


def test_a_client_that_stops_in_the_handshake_is_closed() -> None:
    play = begin(tls=TLS, timeouts={"tls_handshake": 3.0})
    play << StartTls(CLIENT, TLS)
    assert play.machine.deadline == 3.0
    play.at(3.0)
    play >> Wake()
    play << Close(CLIENT)
    assert play
    assert play.machine.deadline == math.inf


def test_a_backend_hears_that_the_client_spoke_tls() -> None:
    sim = Sim(bare())
    backend = sim.backend("10.0.0.1:80", answers)
    client = sim.client(listen=Listen(target=HERE, tls=TLS), tls=INFO)
    client.send(GET)
    assert status(client) == 200
    assert b"X-Forwarded-Proto: https\r\n" in backend.received


def test_the_time_for_the_head_begins_after_the_handshake() -> None:
    play = begin(tls=TLS)
    play << StartTls(CLIENT, TLS)
    play.at(4.0)
    play >> Secured(CLIENT, INFO)
    assert play
    assert play.machine.deadline == 4.0 + Timeouts().request_header


def test_a_handshake_that_fails_is_one_log_line() -> None:
    sim = Sim(bare())
    listen = Listen(target=HERE, tls=TLS)
    client = sim.client(listen=listen)
    sim.tell(Lost(client.conn, "wrong version number"))
    sim.run()
    (line,) = logged(sim)
    assert (line.level, line.message) == (Level.INFO, "TLS handshake failed")
    assert line.fields["detail"] == "wrong version number"
    assert line.fields["client"] == "127.0.0.1"
    assert sim.deadline == math.inf


def test_whoever_only_looks_at_the_port_is_not_worth_more_than_debug() -> None:
    sim = Sim(bare())
    client = sim.client(listen=Listen(target=HERE, tls=TLS))
    client.half_close()
    assert client.closed
    assert [line.level for line in logged(sim)] == [Level.DEBUG]


def test_bytes_of_a_handshake_are_the_runtimes() -> None:
    play = begin(tls=TLS)
    play << StartTls(CLIENT, TLS)
    assert play
    with pytest.raises(LocalProtocolError, match="handshake"):
        play.machine.handle(Data(CLIENT, b"\x16\x03\x01"), 0.0)


def test_a_result_that_comes_too_late_is_ignored() -> None:
    play = begin(tls=TLS)
    play << StartTls(CLIENT, TLS)
    play.at(10.0)
    play >> Wake()
    play << Close(CLIENT)
    play >> Secured(CLIENT, INFO)
    assert play


def test_a_drain_closes_a_connection_in_its_handshake() -> None:
    play = begin(tls=TLS)
    play << StartTls(CLIENT, TLS)
    play >> Drain(0.0, 10.0)
    play << Close(CLIENT)
    assert play


# -- PROXY -------------------------------------------------------------------


@pytest.mark.parametrize("encode", [encode_v1, encode_v2])
def test_the_client_is_whom_a_trusted_proxy_names(encode: Any) -> None:
    play = begin(proxy=True)
    play >> Data(CLIENT, encode(SOURCE, DESTINATION) + GET)
    assert b"X-Forwarded-For: 203.0.113.7\r\n" in upstream(play)
    assert play.machine.peer == PeerInfo("203.0.113.7", 51000, "203.0.113.1:443")


def test_the_header_may_come_in_any_pieces() -> None:
    play = begin(proxy=True)
    for i in range(len(LINE)):
        play >> Data(CLIENT, LINE[i : i + 1])
    play >> Data(CLIENT, GET)
    assert b"203.0.113.7" in upstream(play)


def test_the_server_name_of_ipv6_is_in_brackets() -> None:
    play = begin(proxy=True)
    ends = Endpoint("2001:db8::7", 51000), Endpoint("2001:db8::1", 443)
    play >> Data(CLIENT, encode_v2(*ends) + GET)
    assert b"2001:db8::7" in upstream(play)
    assert play.machine.peer.local == "[2001:db8::1]:443"


@pytest.mark.parametrize(
    "header",
    [b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"],
    ids=["UNKNOWN", "LOCAL"],
)
def test_a_proxy_may_speak_for_itself(header: bytes) -> None:
    play = begin(proxy=True)
    play >> Data(CLIENT, header + GET)
    assert b"192.0.2.1" in upstream(play)
    assert play.machine.peer == PROXY


def test_what_the_client_behind_a_proxy_claims_is_not_believed() -> None:
    play = begin(proxy=True)
    claim = GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 10.1.1.1\r\n\r\n")
    play >> Data(CLIENT, LINE + claim)
    assert b"10.1.1.1" not in upstream(play)


@pytest.mark.parametrize("trusted", [(), (ip_network("10.0.0.0/8"),)])
def test_only_a_trusted_proxy_may_send_the_header(trusted: Any) -> None:
    sim = Sim(bare(trusted_proxies=trusted))
    client = sim.client(peer=PROXY, listen=Listen(target=HERE, proxy_protocol=True))
    assert client.closed
    (line,) = logged(sim)
    assert (line.level, line.message) == (Level.WARNING, "PROXY header refused")
    assert line.fields["client"] == "192.0.2.1"


@pytest.mark.parametrize("wrong", [GET, b"\x16\x03\x01", b"PROXY TCP4 1 2 3 4\r\n"])
def test_anything_else_in_its_place_is_refused(wrong: bytes) -> None:
    sim = Sim(bare(**TRUSTED))
    client = sim.client(peer=PROXY, listen=Listen(target=HERE, proxy_protocol=True))
    client.send(wrong)
    assert client.closed
    assert client.received == b""
    assert [line.message for line in logged(sim)] == ["PROXY header refused"]


def test_a_header_that_does_not_come_is_waited_for_so_long() -> None:
    sim = Sim(bare(**TRUSTED, timeouts={"proxy_protocol": 2.0}))
    client = sim.client(peer=PROXY, listen=Listen(target=HERE, proxy_protocol=True))
    client.send(LINE[:20])
    assert sim.machines[1].buffered == 20  # type: ignore[attr-defined]
    sim.advance(1.9)
    client.send(LINE[20:30])
    assert not client.closed, "bytes do not buy time"
    sim.advance(0.2)
    assert client.closed
    assert [line.message for line in logged(sim)] == ["PROXY header failed"]


def test_a_proxy_that_leaves_in_the_midst_is_gone() -> None:
    play = begin(proxy=True)
    play >> Data(CLIENT, LINE[:9]) >> Eof(CLIENT)
    play << Close(CLIENT)
    assert play
    play = begin(proxy=True)
    play >> Lost(CLIENT, "reset")
    assert play


def test_tls_comes_after_the_header_and_gets_what_came_with_it() -> None:
    play = begin(proxy=True, tls=TLS)
    play >> Data(CLIENT, LINE + b"\x16\x03\x01")
    play << StartTls(CLIENT, TLS, b"\x16\x03\x01")
    play >> Secured(CLIENT, INFO) >> Data(CLIENT, GET)
    request = upstream(play)
    assert b"X-Forwarded-For: 203.0.113.7\r\n" in request
    assert b"X-Forwarded-Proto: https\r\n" in request


# -- towards backends --------------------------------------------------------


def with_upstream(**changes: Any) -> Config:
    settings = config(via=None)
    web = dataclasses.replace(settings.upstreams["web"], **changes)
    return dataclasses.replace(settings, upstreams={"web": web})


def test_a_backend_is_dialled_with_its_tls() -> None:
    tls = ClientTls(sni="one.one.one.one")
    sim = Sim(with_upstream(tls=tls))
    sim.backend("10.0.0.1:80", answers)
    client = sim.client()
    client.send(GET)
    assert status(client) == 200
    (dial,) = [effect for _, effect in sim.log if isinstance(effect, Connect)]
    assert dial.target == Target("10.0.0.1", 80, tls=tls)


def test_two_identities_never_share_a_connection() -> None:
    """Two upstreams with one address, and one with another name on it."""
    settings = config(via=None)
    upstreams = {
        name: Upstream(name=name, backends=(Backend(target=ONE),), tls=tls)
        for name, tls in (
            ("plain", None),
            ("checked", ClientTls(sni="a.example")),
            ("unchecked", ClientTls(sni="a.example", verify=False)),
            ("other", ClientTls(sni="b.example")),
        )
    }
    services = tuple(Service(name=name, upstream=name, via=None) for name in upstreams)
    sim = Sim(dataclasses.replace(settings, services=services, upstreams=upstreams))
    backend = sim.backend("10.0.0.1:80", answers)
    for _ in range(2):
        for name in upstreams:
            client = sim.client(name)
            client.send(GET)
            assert status(client) == 200
    assert len(backend.connections) == len(upstreams)
    dials = [effect.target.tls for _, effect in sim.log if isinstance(effect, Connect)]
    assert dials == [upstream.tls for upstream in upstreams.values()]


@pytest.mark.parametrize(("version", "encode"), [("v1", encode_v1), ("v2", encode_v2)])
def test_a_backend_is_told_for_whom_we_speak(version: str, encode: Any) -> None:
    sim = Sim(with_upstream(proxy_protocol=version))
    backend = sim.backend("10.0.0.1:80", answers)
    sim.client(peer=PeerInfo("203.0.113.7", 51000, "203.0.113.1:443")).send(GET)
    assert backend.connections[0].preface == encode(SOURCE, DESTINATION)


def test_a_connection_serves_the_client_that_it_names() -> None:
    sim = Sim(with_upstream(proxy_protocol="v2"))
    backend = sim.backend("10.0.0.1:80", answers)
    ones = [PeerInfo("203.0.113.7", port, "203.0.113.1:443") for port in (1, 2)]
    clients = [sim.client(peer=one) for one in ones]
    for _ in range(3):
        for client in clients:
            client.send(GET)
    assert [client.received.count(b"200 OK") for client in clients] == [3, 3]
    assert len(backend.connections) == 2


@pytest.mark.parametrize(
    ("address", "local", "header"),
    [
        ("unix:", "unix:/run/lb.sock", encode_v1(None, None)),
        ("fe80::1%eth0", "[fe80::2%eth0]:80", b"PROXY TCP6 fe80::1 fe80::2 9 80\r\n"),
        ("::1", "[::1]:80", b"PROXY TCP6 ::1 ::1 9 80\r\n"),
    ],
)
def test_clients_of_every_family_are_named(
    address: str, local: str, header: bytes
) -> None:
    sim = Sim(with_upstream(proxy_protocol="v1"))
    backend = sim.backend("10.0.0.1:80", answers)
    sim.client(peer=PeerInfo(address, 9, local)).send(GET)
    assert backend.connections[0].preface == header


def test_a_proxied_client_is_named_to_the_backend() -> None:
    settings = with_upstream(proxy_protocol="v1")
    service = dataclasses.replace(settings.services[0], **TRUSTED)
    sim = Sim(dataclasses.replace(settings, services=(service,)))
    backend = sim.backend("10.0.0.1:80", answers)
    client = sim.client(peer=PROXY, listen=Listen(target=HERE, proxy_protocol=True))
    client.send(encode_v2(SOURCE, DESTINATION) + GET)
    assert backend.connections[0].preface == LINE
    assert client.received.startswith(OK[:12])


# -- a client that was idle in another process ---------------------------------


@pytest.mark.parametrize("entrance", ["plain", "proxy", "tls"])
def test_who_was_moved_here_speaks_http_at_once(entrance: str) -> None:
    gateway = Gateway(bare(**TRUSTED), FixedEnv())
    tls = TLS if entrance == "tls" else None
    listen = Listen(target=HERE, tls=tls, proxy_protocol=entrance == "proxy")
    machine = gateway.connection("web", gateway.mint(), listen)
    client = PeerInfo("203.0.113.7", 51000, "203.0.113.1:443")
    play = Playbook(machine) >> Opened(CLIENT, client, moved=True)
    assert play
    assert machine.idle
    assert machine.deadline == Timeouts().keepalive
    play >> Data(CLIENT, GET)
    assert b"X-Forwarded-For: 203.0.113.7\r\n" in upstream(play)


def test_who_was_moved_here_and_says_nothing_is_closed_in_the_end() -> None:
    gateway = Gateway(bare(), FixedEnv())
    machine = gateway.connection("web", gateway.mint(), Listen(target=HERE))
    play = Playbook(machine) >> Opened(CLIENT, PROXY, moved=True)
    play.at(Timeouts().keepalive) >> Wake() << a(Close, conn=CLIENT, abort=False)
    assert play
    assert not machine.idle


def test_only_between_requests_a_client_is_idle() -> None:
    gateway = Gateway(bare(), FixedEnv())
    machine = gateway.connection("web", gateway.mint())
    assert not machine.idle  # it is not even open
    play = Playbook(machine) >> Opened(CLIENT, PROXY)
    assert play
    assert machine.idle
    play >> Data(CLIENT, GET[:5])
    assert play
    assert not machine.idle
    play >> Data(CLIENT, GET[5:])
    upstream(play)
    assert not machine.idle
    play >> Data(UP, OK) << a(Send, conn=CLIENT)
    play << Park(UP)
    assert play
    assert machine.idle
    play >> Eof(CLIENT) << a(Close, conn=CLIENT)
    assert play
    assert not machine.idle
