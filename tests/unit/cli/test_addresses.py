"""Addresses of listeners and backends."""

from __future__ import annotations

import pytest

from lbproto_cli.load import parse
from lbproto_cli.problems import ConfigProblems

RUNTIMES = ("asyncio", "uvloop")


def problems(text: str | bytes) -> list[str]:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ConfigProblems) as caught:
        parse(data, "conf.yaml", RUNTIMES)
    return str(caught.value).split("\n")


ADDRESSES = [
    ("127.0.0.1", "expected host:port, [ipv6]:port or unix:/path"),
    (":80", "expected host:port, [ipv6]:port or unix:/path"),
    ("h:080", "expected a port of 1-65535"),
    ("h:65536", "expected a port of 1-65535"),
    ("h:8 0", "expected a port of 1-65535"),
    ("h:\u0665", "expected a port of 1-65535"),
    ("127.1:80", "expected an IPv4 address of four numbers"),
    ("0x7f.0.0.1:80", "expected an IPv4 address of four numbers"),
    ("0177.0.0.01:80", "expected an IPv4 address of four numbers"),
    ("1.2.3.0x4:80", "expected an IPv4 address of four numbers"),
    ("[::g]:80", "expected an IPv6 address in the brackets"),
    ("[::1:80", "expected an IPv6 address in the brackets"),
    ("::1:80", "expected brackets around an IPv6 address"),
    ("a b:80", "expected a host name or an IP address"),
    ("-a:80", "expected a host name or an IP address"),
    ("*:80", "expected a host name or an IP address"),
    ("unix:run/lb", "expected an absolute path after unix:"),
    ("unix:", "expected an absolute path after unix:"),
    ("unix:/" + "x" * 107, "expected at most 107 bytes of path"),
]


@pytest.mark.parametrize(("address", "expected"), ADDRESSES)
def test_a_wrong_address_is_explained(address: str, expected: str) -> None:
    (line,) = problems(f'upstreams: {{a: {{backends: ["{address}"]}}}}')
    assert line.startswith("conf.yaml:1:28: upstreams.a.backends[0]: got ")
    assert line.endswith(f", {expected}")


def test_a_url_is_no_address() -> None:
    assert problems("upstreams: {a: {backends: [http://h:1]}}") == [
        'conf.yaml:1:28: upstreams.a.backends[0]: got the URL "http://h:1", expected'
        " host:port, [ipv6]:port or unix:/path"
    ]
