"""The configuration file: what it becomes, and what is said about a wrong one."""

from __future__ import annotations

import io
import sys
from ipaddress import ip_network
from types import SimpleNamespace

import pytest

from lbproto.config import Backend, Config, HeaderRules, Limits, Timeouts
from lbproto.machine.effects import Target
from lbproto_cli.load import Unreadable, load, parse
from lbproto_cli.problems import ConfigProblems

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
    assert got.listen == (Target("127.0.0.1", 80),)
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
services:
  - name: web
    listen: ["*:6188", {address: "[::1]:0"}, "unix:/run/lb.sock", "localhost:81"]
    trusted_proxies: [127.0.0.0/8, "::1", "unix:"]
    framing: h11
    via: null
    underscores: pass
    upgrades: [WebSocket, "*"]
    proxy_status: false
    limits: {header_size: 1MiB, body_size: 10KB, interim_responses: 0}
    timeouts: {connect: 250ms, tunnel: 1d, send: 1h}
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
    (web,) = got.services
    assert web.listen == (
        Target("0.0.0.0", 6188),
        Target("::1", 0),
        Target("", 0, "/run/lb.sock"),
        Target("127.0.0.1", 81),
    )
    assert web.trusted_proxies == (ip_network("127.0.0.0/8"), ip_network("::1"))
    assert web.trust_unix is True
    assert (web.via, web.underscores) == (None, "pass")
    assert (web.upgrades, web.proxy_status) == ((b"websocket", b"*"), False)
    assert web.limits == Limits(
        header_size=1024**2, body_size=10_000, interim_responses=0
    )
    assert web.timeouts == Timeouts(connect=0.25, tunnel=86400.0, send=3600.0)
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
        "access_log: off",
        "access_log: null",
        "access_log: {format: off}",
        "access_log: {path: /x, format: off}",
        service("routes: []"),
        'services: [{listen: [{address: "*:1", tls: null, proxy_protocol: false}], '
        "upstream: {backends: [h:1]}}]",
        upstream("sticky: null", "tls: null", "proxy_protocol: null", "slow_start: 0s"),
        upstream("slow_start: 0", "proxy_protocol: false", "health_check:"),
        'upstreams: {a: {backends: [{address: "h:1", backup: false, '
        "max_connections: null}]}}",
    ],
)
def test_a_key_that_works_later_may_say_that_it_is_off(text: str) -> None:
    config(text)


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
