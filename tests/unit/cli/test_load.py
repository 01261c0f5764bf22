"""The configuration file: what it becomes, and what is said about a wrong one."""

from __future__ import annotations

import io
import sys
from ipaddress import ip_network
from types import SimpleNamespace
from typing import TYPE_CHECKING, get_args

import pytest

from lbproto.config import (
    Backend,
    Config,
    HashOn,
    HeaderRules,
    HealthCheck,
    Limits,
    Listen,
    OutlierDetection,
    PolicyName,
    Template,
    Timeouts,
    Upstream,
    Variable,
)
from lbproto.machine.effects import Target
from lbproto.machine.tls import Certificate, ClientTls, ServerTls
from lbproto_cli.load import Unreadable, load, parse
from lbproto_cli.problems import ConfigProblems

if TYPE_CHECKING:
    from pathlib import Path

RUNTIMES = ("asyncio", "uvloop")

SEED = """\
---
version: 1
threads: 2
pid_file: /tmp/load_balancer.pid
error_log: /tmp/load_balancer_err.log
upgrade_sock: /tmp/load_balancer.sock
"""


def config(text: str) -> Config:
    return parse(text.encode(), "conf.yaml", RUNTIMES).config


def service(*lines: str) -> str:
    """Write a file with one good service and these lines of it."""
    text = 'services:\n- listen: ["127.0.0.1:80"]\n  upstream: a\n'
    text += "".join(f"  {line}\n" for line in lines)
    return text + 'upstreams: {a: {backends: ["h:1"]}}\n'


def upstream(*lines: str) -> str:
    return "upstreams:\n  a:\n    backends: [h:1]\n" + "".join(
        f"    {line}\n" for line in lines
    )


def test_the_file_of_the_seed_is_valid_and_has_no_services() -> None:
    assert config(SEED) == Config(
        services=(),
        upstreams={},
        threads=2,
        pid_file="/tmp/load_balancer.pid",
        error_log="/tmp/load_balancer_err.log",
        upgrade_sock="/tmp/load_balancer.sock",
    )


def test_an_empty_file_means_defaults() -> None:
    assert config("") == config("---\n") == Config(services=(), upstreams={})


def test_a_byte_order_mark_and_standard_tags_are_taken() -> None:
    text = 'threads: 3\nuser: !!null ""\n'
    with pytest.raises(ConfigProblems):
        config(text)
    assert config("\ufeffthreads: 3\npid_file: !!str 7\n").threads == 3
    assert config("pid_file: !!str 7\nupstreams: !!map {}\n").pid_file == "7"


def test_a_service_gets_every_default_of_the_core() -> None:
    (got,) = config(service()).services
    assert got.name == "service1"
    assert got.listen == (Listen(target=Target("127.0.0.1", 80)),)
    assert got.limits == Limits()
    assert got.timeouts == Timeouts()
    assert got.request_headers == got.response_headers == HeaderRules()
    assert (got.via, got.underscores, got.upgrades) == (b"lb", "drop", (b"websocket",))
    assert got.proxy_status is True
    assert got.trusted_proxies == ()
    assert got.trust_unix is False


def test_every_key_arrives() -> None:
    got = config("""\
version: 1
runtime: asyncio
threads: 0
grace_period_seconds: 1m
graceful_shutdown_timeout_seconds: 0.5
upstream_keepalive_pool_size: 0
max_retries: 3
buffer_budget: 1GiB
services:
  - name: web
    listen: ["*:6188", {address: "[::1]:0"}, "unix:/run/lb.sock", "localhost:81"]
    trusted_proxies: [127.0.0.0/8, "::1", "unix:"]
    framing: h11
    via: null
    underscores: pass
    upgrades: [WebSocket, "*"]
    proxy_status: false
    trailers: pass
    forwarded: true
    limits: {header_size: 1MiB, body_size: 10KB, interim_responses: 0,
      connections_per_address: 5, requests_per_connection: null,
      request_body_rate: 0, lingering: 1MiB}
    timeouts:
      {connect: 250ms, tunnel: 1d, send: 1h, proxy_protocol: 1, tls_handshake: 2,
       request_body_grace: 0, keepalive: 0, connection_age: 1d}
    request_headers:
      set: {Host: one.one.one.one, X-Number: 1}
      add: {X-Via: [lb, "é"]}
      remove: [X-Secret]
    response_headers: {remove: [Server], add: {X-A: b}}
    upstream: web
upstreams:
  web:
    backends:
      - app.example:8080
      - {address: "unix:/run/app.sock", weight: 2}
    policy: round_robin
""")
    assert (got.runtime, got.threads, got.max_retries) == ("asyncio", 0, 3)
    assert got.grace_period_seconds == 60.0
    assert got.graceful_shutdown_timeout_seconds == 0.5
    assert got.upstream_keepalive_pool_size == 0
    assert got.buffer_budget == 1024**3
    (web,) = got.services
    assert web.listen == (
        Listen(target=Target("0.0.0.0", 6188)),
        Listen(target=Target("::1", 0)),
        Listen(target=Target("", 0, "/run/lb.sock")),
        Listen(target=Target("127.0.0.1", 81)),
    )
    assert web.trusted_proxies == (ip_network("127.0.0.0/8"), ip_network("::1"))
    assert web.trust_unix is True
    assert (web.framing, web.via, web.underscores) == ("h11", None, "pass")
    assert (web.upgrades, web.proxy_status) == ((b"websocket", b"*"), False)
    assert (web.trailers, web.forwarded) == ("pass", True)
    assert web.limits == Limits(
        header_size=1024**2,
        body_size=10_000,
        interim_responses=0,
        connections_per_address=5,
        requests_per_connection=None,
        request_body_rate=0,
        lingering=1024**2,
    )
    assert web.timeouts == Timeouts(
        connect=0.25,
        tunnel=86400.0,
        send=3600.0,
        proxy_protocol=1.0,
        tls_handshake=2.0,
        request_body_grace=0.0,
        keepalive=0.0,
        connection_age=86400.0,
    )
    assert web.request_headers == HeaderRules(
        set=((b"Host", b"one.one.one.one"), (b"X-Number", b"1")),
        add=((b"X-Via", b"lb"), (b"X-Via", "é".encode())),
        remove=(b"x-secret",),
    )
    assert web.response_headers == HeaderRules(
        remove=(b"server",), add=((b"X-A", b"b"),)
    )
    assert got.upstreams["web"].backends == (
        Backend(target=Target("app.example", 8080)),
        Backend(target=Target("", 0, "/run/app.sock"), weight=2),
    )


@pytest.mark.parametrize("none", ["null", "0"])
def test_no_limit_is_null_or_as_in_nginx_0(none: str) -> None:
    got = config(service(f"limits: {{connections: {none}, body_size: {none}}}"))
    limits = got.services[0].limits
    assert (limits.connections, limits.body_size) == (None, None)
    backend = f"{{address: 'h:1', max_connections: {none}}}"
    got = config(f"upstreams: {{a: {{backends: [{backend}]}}}}")
    assert got.upstreams["a"].backends[0].max_connections is None


def test_one_protocol_needs_no_list() -> None:
    for text, protocol in (('"*"', b"*"), ("WebSocket", b"websocket")):
        got = config(service(f"upgrades: {text}"))
        assert got.services[0].upgrades == (protocol,)


def test_an_inline_upstream_is_named_after_its_service() -> None:
    got = config("""\
services:
- {name: a, listen: ["127.0.0.1:1"], upstream: {backends: ["h:1"]}}
- {name: b, listen: ["127.0.0.1:2"], upstream: {backends: ["h:2"]}}
upstreams: {b: {backends: ["h:3"]}}
""")
    assert [it.upstream for it in got.services] == ["a", "b-inline"]
    assert got.upstreams["a"].backends == (Backend(target=Target("h", 1)),)
    assert got.upstreams["b-inline"].backends == (Backend(target=Target("h", 2)),)
    assert got.upstreams["b"].backends == (Backend(target=Target("h", 3)),)
    assert all(name == it.name for name, it in got.upstreams.items())


def test_default_names_of_services_give_way_to_chosen_ones() -> None:
    got = config("""\
services:
- {listen: ["127.0.0.1:1"], upstream: a}
- {listen: ["127.0.0.1:2"], upstream: a, name: service1}
- {listen: ["127.0.0.1:3"], upstream: a}
upstreams: {a: {backends: ["h:1"]}}
""")
    names = [it.name for it in got.services]
    assert names == ["service1-unnamed", "service1", "service3"]


def test_a_section_with_nothing_in_it_means_defaults() -> None:
    (got,) = config(
        service("limits:", "timeouts:", "request_headers: {set: }")
    ).services
    assert got.limits == Limits()


@pytest.mark.parametrize(
    "text",
    [
        "daemon: false",
        "user: null",
        "group: ~",
        "metrics:",
        "metrics: off",
        "metrics: false",
        "access_log: off",
        "access_log: false",
        "access_log: null",
        "access_log: {format: off}",
        "access_log: {path: /x, format: off}",
        service("routes: []"),
        upstream("sticky: null"),
        upstream("sticky: false"),
    ],
)
def test_a_key_that_works_later_may_say_that_it_is_off(text: str) -> None:
    config(text)


def test_how_a_backend_is_chosen() -> None:
    got = config("""
upstreams:
  web:
    backends:
      - {address: "h:1", backup: true, drain: true, max_connections: 7, weight: 3}
      - h:2
    policy: ketama
    hash_on: header:X-User
    balance_factor: 125
    panic_percent: 30
    slow_start: 1m
    outlier_detection:
      {consecutive_failures: 2, base_ejection: 5s, max_ejected_percent: 10}
  off: {backends: ["h:3"], hash_on: null, balance_factor: 0, outlier_detection: false}
  on: {backends: ["h:3"], hash_on: cookie:Sid, outlier_detection: true}
  path: {backends: ["h:3"], hash_on: path, outlier_detection: null}
""").upstreams
    assert got["web"] == Upstream(
        name="web",
        backends=(
            Backend(
                target=Target("h", 1),
                weight=3,
                backup=True,
                drain=True,
                max_connections=7,
            ),
            Backend(target=Target("h", 2)),
        ),
        policy="ketama",
        hash_on=HashOn(kind="header", name=b"x-user"),
        balance_factor=125,
        panic_percent=30,
        slow_start=60.0,
        outlier_detection=OutlierDetection(
            consecutive_failures=2, base_ejection=5.0, max_ejected_percent=10
        ),
    )
    assert got["off"] == Upstream(
        name="off", backends=(Backend(target=Target("h", 3)),)
    )
    assert got["on"].hash_on == HashOn(kind="cookie", name=b"Sid")
    assert got["on"].outlier_detection == OutlierDetection()
    assert got["path"].hash_on == HashOn(kind="path")


@pytest.mark.parametrize("policy", get_args(PolicyName))
def test_every_policy_can_be_chosen(policy: str) -> None:
    assert config(upstream(f"policy: {policy}")).upstreams["a"].policy == policy


TLS = """\
services:
- name: web
  listen:
  - address: "*:443"
    tls:
      certificates:
      - {cert: a.pem, key: keys/a.key}
      - {cert: /etc/b.pem, key: ../b.key}
      client_ca: ca.pem
      client_auth: optional
  - {address: "*:81", proxy_protocol: true}
  - {address: "*:82", tls: null, proxy_protocol: null}
  - {address: "*:83", tls: false, proxy_protocol: false}
  upstream: {backends: ["unix:/run/app"], tls: {verify: false}, proxy_protocol: v1}
upstreams:
  web:
    backends: [App.Example:443]
    tls: {sni: One.Example, ca_file: ca.pem, certificate: {cert: c.pem, key: c.key}}
    proxy_protocol: v2
  all: {backends: [h:1], tls: true}
  none: {backends: [h:1], tls: false, proxy_protocol: false}
  off: {backends: [h:1], tls: null, proxy_protocol: null}
"""


def test_tls_and_proxy_protocol_arrive() -> None:
    got = config(TLS)
    certificates = (
        Certificate(cert="a.pem", key="keys/a.key"),
        Certificate(cert="/etc/b.pem", key="../b.key"),
    )
    tls = ServerTls(
        certificates=certificates, client_ca="ca.pem", client_auth="optional"
    )
    assert got.services[0].listen == (
        Listen(target=Target("0.0.0.0", 443), tls=tls),
        Listen(target=Target("0.0.0.0", 81), proxy_protocol=True),
        Listen(target=Target("0.0.0.0", 82)),
        Listen(target=Target("0.0.0.0", 83)),
    )
    assert got.upstreams["web"] == Upstream(
        name="web",
        backends=(Backend(target=Target("app.example", 443)),),
        tls=ClientTls(
            sni="one.example",
            ca_file="ca.pem",
            certificate=Certificate(cert="c.pem", key="c.key"),
        ),
        proxy_protocol="v2",
    )
    inline = got.upstreams[got.services[0].upstream]
    assert (inline.tls, inline.proxy_protocol) == (ClientTls(verify=False), "v1")
    assert got.upstreams["all"].tls == ClientTls()
    for name in ("none", "off"):
        assert got.upstreams[name].tls is None
        assert got.upstreams[name].proxy_protocol is None


def test_paths_begin_at_the_folder_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "lb.yaml").write_text(TLS)
    monkeypatch.chdir(tmp_path)
    loaded = load("conf/lb.yaml", RUNTIMES)
    tls = loaded.config.services[0].listen[0].tls
    assert tls is not None
    assert [it.cert for it in tls.certificates] == [
        f"{tmp_path}/conf/a.pem",
        "/etc/b.pem",
    ]
    assert tls.certificates[0].key == f"{tmp_path}/conf/keys/a.key"
    assert tls.client_ca == f"{tmp_path}/conf/ca.pem"
    web = loaded.config.upstreams["web"].tls
    assert web is not None
    assert web.ca_file == f"{tmp_path}/conf/ca.pem"
    assert web.certificate == Certificate(
        cert=f"{tmp_path}/conf/c.pem", key=f"{tmp_path}/conf/c.key"
    )


def test_an_upstream_is_found_in_the_file_by_its_name() -> None:
    loaded = parse(TLS.encode(), "conf.yaml", RUNTIMES)
    assert loaded.upstream("web") == ("upstreams", "web")
    inline = loaded.config.services[0].upstream
    assert loaded.upstream(inline) == ("services", 0, "upstream")


def test_values_of_rules_may_hold_variables() -> None:
    (got,) = config(
        service(
            "request_headers:",
            "  set: {X-Subject: $ssl_client_s_dn, X-Price: 5$, X-Cost: $$host}",
            '  add: {X-Seen: ["a", "${scheme}://$host "]}',
            "response_headers: {set: {X-Client: $remote_addr}}",
        )
    ).services
    assert got.request_headers == HeaderRules(
        set=(
            (b"X-Subject", Template((Variable.CLIENT_SUBJECT,))),
            (b"X-Price", b"5$"),
            (b"X-Cost", b"$host"),
        ),
        add=(
            (b"X-Seen", b"a"),
            (b"X-Seen", Template((Variable.SCHEME, b"://", Variable.HOST))),
        ),
    )
    assert got.response_headers == HeaderRules(
        set=((b"X-Client", Template((Variable.CLIENT_ADDRESS,))),)
    )


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = SimpleNamespace(buffer=io.BytesIO(b"threads: x"))
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(ConfigProblems, match=r"^<stdin>:1:10: threads: "):
        load("-", RUNTIMES)


def test_an_unreadable_file_is_named(tmp_path) -> None:
    with pytest.raises(Unreadable) as caught:
        load(str(tmp_path / "none.yaml"), RUNTIMES)
    assert str(caught.value) == (
        f"cannot read {tmp_path}/none.yaml: No such file or directory"
    )
    with pytest.raises(Unreadable, match="Is a directory"):
        load(str(tmp_path), RUNTIMES)
    with pytest.raises(Unreadable, match="null byte"):
        load("a\0b", RUNTIMES)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", None),
        ("health_check:", None),
        ("health_check: false", None),
        ("health_check: true", HealthCheck()),
        ("health_check: {}", HealthCheck()),
        (
            "health_check: {type: tcp, interval: 1s, timeout: 1s, healthy_after: 1, "
            "unhealthy_after: 1, path: /healthz, host: null, expect_status: [200]}",
            HealthCheck(path=b"/healthz"),
        ),
        (
            "health_check: {type: http, interval: 250ms, timeout: 2, method: OPTIONS, "
            "healthy_after: 2, unhealthy_after: 3, path: '/a?b=%20', port: 81, "
            "host: 'a.example:80', expect_status: [200, 204], expect_body: grün, "
            "reuse: true}",
            HealthCheck(
                type="http",
                interval=0.25,
                timeout=2.0,
                healthy_after=2,
                unhealthy_after=3,
                port=81,
                method=b"OPTIONS",
                path=b"/a?b=%20",
                host=b"a.example:80",
                expect_status=(200, 204),
                expect_body="grün".encode(),
                reuse=True,
            ),
        ),
    ],
)
def test_health_checks_of_an_upstream(text: str, wanted: HealthCheck | None) -> None:
    assert config(upstream(text)).upstreams["a"].health_check == wanted
