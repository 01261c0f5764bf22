"""A server with services of a program, short of serving."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lbproto import (
    AddressError,
    Config,
    HttpPeer,
    LbError,
    LoadBalancer,
    ProxyHttp,
    Session,
)
from lbproto.machine.effects import Level
from lbproto_cli.problems import ConfigProblems
from lbproto_runtimes import (
    Opt,
    Server,
    ServiceError,
    background_service,
    http_proxy_service,
)
from tests.certificates import Authority


class To(ProxyHttp[None]):
    def upstream_peer(self, session: Session, ctx: None) -> HttpPeer:
        return HttpPeer("10.0.0.1:80")


class Waits(To):
    async def upstream_peer(  # type: ignore[override]
        self, session: Session, ctx: None
    ) -> HttpPeer:
        return HttpPeer("10.0.0.1:80")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LB_LOG", raising=False)


def write(folder: Path, text: str) -> str:
    path = folder / "conf.yaml"
    path.write_text(text)
    return str(path)


def proxy(server: Server, application: ProxyHttp[None], *addresses: str) -> None:
    made = http_proxy_service(server.configuration, application)
    for address in addresses:
        made.add_tcp(address)
    server.add_service(made)


# -- flags -------------------------------------------------------------------------


def test_flags_are_those_of_the_command() -> None:
    assert Opt.parse_args([]) == Opt()
    line = "-c a.yaml -d -u -t --runtime threads --threads 3 --log-level debug"
    assert Opt.parse_args(line.split()) == Opt(
        conf="a.yaml",
        daemon=True,
        upgrade=True,
        test=True,
        runtime="threads",
        threads=3,
        log_level=Level.DEBUG,
    )


def test_the_command_line_is_the_process_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["program", "--threads", "2"])
    assert Opt.parse_args() == Opt(threads=2)


@pytest.mark.parametrize("flag", ["--demo", "--listen", "--nonsense"])
def test_other_flags_are_wrong(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        Opt.parse_args([flag])
    assert caught.value.code == 2
    assert flag in capsys.readouterr().err


# -- the configuration ---------------------------------------------------------------


def test_a_server_needs_nothing() -> None:
    server = Server(None)
    server.bootstrap()
    assert server.configuration.services == ()
    assert server.configuration.threads == 1


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "threads: 2\nruntime: threads\n")
    server = Server(Opt(conf=path, threads=5))
    assert server.configuration.threads == 5
    assert server.configuration.runtime == "threads"


def test_the_configuration_may_be_the_programs_own(tmp_path: Path) -> None:
    own = Config(services=(), upstreams={}, threads=7, runtime="asyncio")
    server = Server(Opt(conf=str(tmp_path / "nowhere")), own)
    server.bootstrap()
    assert server.configuration.threads == 7
    assert Server(configuration=own).configuration.threads == 7


@pytest.mark.parametrize(
    ("opt", "text", "status", "said"),
    [
        (Opt(test=True), "threads: 2\n", 0, "the configuration is valid"),
        (Opt(test=True), "thread: 2\n", 1, "conf.yaml:1:1"),
        (Opt(), "threads: many\n", 1, "conf.yaml:1:10"),
        (Opt(runtime="tokio"), "", 2, "--runtime"),
        (Opt(upgrade=True), "threads: 1\n", 1, "--upgrade needs upgrade_sock"),
    ],
)
def test_bootstrap_ends_as_the_command_does(
    opt: Opt,
    text: str,
    status: int,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    opt.conf = write(tmp_path, text)
    with pytest.raises(SystemExit) as caught:
        Server(opt).bootstrap()
    assert caught.value.code == status
    assert said in capsys.readouterr().err


def test_a_wrong_file_is_an_error_before_bootstrap(tmp_path: Path) -> None:
    server = Server(Opt(conf=write(tmp_path, "thread: 2\n")))
    with pytest.raises(ConfigProblems):
        _ = server.configuration
    with pytest.raises(LbError, match="cannot read"):
        _ = Server(Opt(conf=str(tmp_path / "nowhere"))).configuration


# -- services ------------------------------------------------------------------------


def test_a_service_says_where_it_listens(tmp_path: Path) -> None:
    made = http_proxy_service(Server().configuration, To())
    made.add_tcp("localhost:0")
    made.add_tcp("[::1]:6188")
    made.add_uds("unix:/run/lb.sock")
    made.add_uds("/run/lb2.sock", 0o666)
    made.add_tls("127.0.0.1:6443", "/cert.pem", "/key.pem")
    listens = made.options.listen
    assert [(str(it.target), it.mode, it.tls is not None) for it in listens] == [
        ("127.0.0.1:0", None, False),
        ("[::1]:6188", None, False),
        ("unix:/run/lb.sock", None, False),
        ("unix:/run/lb2.sock", 0o666, False),
        ("127.0.0.1:6443", None, True),
    ]
    assert made.name == "To"


def test_addresses_that_are_none_are_named() -> None:
    made = http_proxy_service(Server().configuration, To(), "web")
    with pytest.raises(AddressError, match=r'"1\.2\.3:80"'):
        made.add_tcp("1.2.3:80")
    with pytest.raises(AddressError, match="bytes"):
        made.add_uds("/" + "x" * 200)
    with pytest.raises(AddressError, match="0o1000"):
        made.add_uds("/run/lb.sock", 0o1000)
    assert made.options.listen == ()


def test_what_cannot_run_is_no_background_service() -> None:
    with pytest.raises(TypeError, match="str is no LoadBalancer"):
        background_service("x", "y")
    upstreams = LoadBalancer.try_from_iter([])
    assert background_service("x", upstreams).task() is upstreams


@pytest.mark.parametrize("runtime", ["gevent", "threads"])
def test_a_coroutine_function_needs_a_loop(runtime: str) -> None:
    server = Server(Opt(runtime=runtime))
    server.bootstrap()
    with pytest.raises(ServiceError, match=r"Waits\.upstream_peer is a coroutine"):
        proxy(server, Waits(), "127.0.0.1:0")


def failure(server: Server, capsys: pytest.CaptureFixture[str]) -> str:
    """Run what cannot run, and return what it says."""
    assert server.run() == 1
    return capsys.readouterr().err


def test_a_coroutine_function_that_came_later_is_found_at_the_start(
    capsys: pytest.CaptureFixture[str],
) -> None:
    server, application = Server(Opt(runtime="threads")), To()
    proxy(server, application, "127.0.0.1:0")
    vars(application)["upstream_peer"] = Waits().upstream_peer
    assert "To.upstream_peer is a coroutine function" in failure(server, capsys)


def test_nothing_to_serve_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing to serve" in failure(Server(), capsys)


FILE = """\
services:
  - {name: web, listen: ["127.0.0.1:6188"], upstream: one}
upstreams: {one: {backends: ["10.0.0.1:80"]}}
"""


def test_services_of_the_program_and_of_the_file_go_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opt = Opt(conf=write(tmp_path, FILE))
    server = Server(opt)
    proxy(server, To(), "127.0.0.1:6188")
    said = '127.0.0.1:6188 is an address of service "web" and of service "To"'
    assert said in failure(server, capsys)
    server = Server(opt)
    proxy(server, To(), "127.0.0.1:0")
    upstreams = LoadBalancer.try_from_iter([])
    server.add_services([background_service("one", upstreams)])
    assert 'a background service is named "one"' in failure(server, capsys)


def test_certificates_are_read_before_anything_is_bound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = Authority(tmp_path).issue("a.example")
    server = Server()
    made = http_proxy_service(server.configuration, To())
    made.add_tls("127.0.0.1:0", good.cert, good.key)
    made.add_tls("127.0.0.1:6443", good.cert, str(tmp_path / "nowhere.pem"))
    server.add_service(made)
    said = failure(server, capsys)
    assert 'service "To", 127.0.0.1:6443: cannot use ' in said
    assert "nowhere.pem" in said
