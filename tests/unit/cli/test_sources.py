"""Backends that are found: what the file says, and what is said about a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbproto.config import Backend, DnsSource, FileSource, Upstream
from lbproto.machine.effects import Target
from lbproto_cli import sources
from lbproto_cli.load import Unreadable, parse, read_backends
from lbproto_cli.problems import ConfigProblems

AT = "upstreams.a.backends"


def upstream(backends: str, folder: str = "") -> Upstream:
    text = f"upstreams: {{a: {{backends: {backends}}}}}"
    config = parse(text.encode(), "conf.yaml", ("uvloop",), folder).config
    return config.upstreams["a"]


def problem(backends: str, folder: str = "") -> str:
    with pytest.raises(ConfigProblems) as caught:
        upstream(backends, folder)
    (found,) = caught.value.problems
    return str(found).split(" ", 1)[1]


@pytest.fixture(autouse=True)
def _dnspython(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "find_spec", lambda name: object())


def test_a_file_lists_backends_as_the_configuration_does(tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text("- 'h:1'\n- {address: 'unix:/run/app', weight: 2}\n", "utf-8")
    got = upstream("{file: b.yaml}", str(tmp_path))
    assert got.source == FileSource(path=str(file))
    assert got.backends == (
        Backend(target=Target("h", 1)),
        Backend(target=Target("", 0, "/run/app"), weight=2),
    )


def test_dns_is_asked_later() -> None:
    got = upstream("{dns: {name: App.Example, port: 80}}")
    assert got.backends == ()
    assert got.source == DnsSource(name="app.example", port=80)
    got = upstream(
        "{dns: {name: _http._tcp.app.example, type: srv, interval: 5s, "
        "server: '[::1]:8600'}}"
    )
    assert got.source == DnsSource(
        name="_http._tcp.app.example",
        type="srv",
        interval=5.0,
        server=Target("::1", 8600),
    )


@pytest.mark.parametrize(
    ("backends", "expected"),
    [
        ("5", f"{AT}: got 5, expected a list"),
        ("{}", f"{AT}: expected a list of backends, or one of dns and file"),
        (
            "{dns: {name: h}}",
            f"{AT}.dns.port: missing, expected this key (records of type SRV alone "
            "name a port)",
        ),
        (
            "{dns: {name: h, port: 1, server: 'ns.example:53'}}",
            f'{AT}.dns.server: got "ns.example:53", expected an IP address with a '
            "port, or null",
        ),
        (
            "{dns: {name: h, port: 1, type: mx}}",
            f'{AT}.dns.type: got "mx", expected one of a, srv',
        ),
        ("{dsn: {name: h}, file: null, dns: {name: h, port: 1}}", None),
    ],
)
def test_a_problem_says_what_is_expected(backends: str, expected: str | None) -> None:
    if expected is None:
        expected = f"{AT}.dsn: unknown key, did you mean dns?"
    assert problem(backends) == expected


def test_dns_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    assert problem("{dns: {name: h, port: 1}}") == (
        f"{AT}.dns: DNS needs dnspython, expected lbproto[dns] to be installed"
    )


def test_a_file_that_is_not_there_is_a_problem_of_the_configuration(
    tmp_path: Path,
) -> None:
    path = tmp_path / "b.yaml"
    assert problem("{file: b.yaml}", str(tmp_path)) == (
        f"{AT}.file: cannot read {path}: No such file or directory, expected a file "
        "that lists backends"
    )
    with pytest.raises(Unreadable):
        read_backends(str(path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", "1:1: got an empty list, expected at least one backend"),
        ("a: b", "1:1: got a mapping, expected a list"),
        ("- h", '1:3: [0]: got "h", expected host:port, [ipv6]:port or unix:/path'),
        ("- {address: 'h:1', wait: 2}", "1:20: [0].wait: unknown key"),
    ],
)
def test_a_problem_in_that_file_names_it(
    tmp_path: Path, text: str, expected: str
) -> None:
    path = tmp_path / "b.yaml"
    path.write_text(text, "utf-8")
    inline = (
        f"services: [{{listen: ['*:1'], upstream: {{backends: {{file: {path}}}}}}}]"
    )
    with pytest.raises(ConfigProblems) as caught:
        parse(inline.encode(), "conf.yaml", ("uvloop",))
    (found,) = caught.value.problems
    assert str(found) == f"{path}:{expected}"
