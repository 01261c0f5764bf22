"""The command, short of serving: a stub stands where the runtime would."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import trustme

from lbproto.machine.compilation import COMPILED
from lbproto_cli.main import main
from lbproto_runtimes.contexts import Contexts
from tests.children import environment

if TYPE_CHECKING:
    from pathlib import Path

SEED = """\
version: 1
threads: 2
pid_file: {0}/lb.pid
error_log: {0}/lb.log
upgrade_sock: {0}/lb.sock
"""

STUB = """\
import os, pathlib, signal, threading

from lbproto_runtimes.env import WallClockEnv

class Stub:
    name = "stub"

    def env(self):
        return WallClockEnv()

    def serve(self, gateway, listeners, logs, ready, contexts=None):
        for it in listeners:
            if it.listen.tls is not None:
                contexts.server(it.listen.tls)
        out = pathlib.Path(os.environ["STUB_OUT"])
        lines = [f"{it.service.name} {it.target}" for it in listeners]
        pid_file = os.environ.get("STUB_PID_FILE")
        if pid_file:
            lines.append("pid " + pathlib.Path(pid_file).read_text().strip())
        out.write_text("\\n".join(lines))
        if os.environ.get("STUB_FAILS"):
            raise RuntimeError("a\\nbug")
        self.over = threading.Event()
        ready(self)
        os.kill(os.getppid(), signal.SIGTERM)
        self.over.wait(20)

    def drain(self, grace, timeout):
        self.over.set()

    def stop(self):
        self.over.set()
"""


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a third party's runtime named `stub`; give the file it writes."""
    site = tmp_path / "site"
    info = site / "stub_runtime-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stub\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[lbproto.runtimes]\nstub = stub_runtime:Stub\n"
    )
    (site / "stub_runtime.py").write_text(STUB)
    monkeypatch.syspath_prepend(str(site))
    out = tmp_path / "out"
    monkeypatch.setenv("STUB_OUT", str(out))
    return out


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LB_LOG", raising=False)


def write(folder: Path, text: str) -> str:
    path = folder / "conf.yaml"
    path.write_text(text)
    return str(path)


def run(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lbproto_cli", *argv],
        input=stdin,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_help_names_every_flag_on_one_line_of_less_than_80_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["-h"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) < 80
    for flag in (
        "-h, --help",
        "-c FILE, --conf FILE",
        "-d, --daemon",
        "-u, --upgrade",
        "-t, --test",
        "--runtime NAME",
        "--threads N",
        "--listen ADDR",
        "--backend ADDR",
        "--log-level LEVEL",
        "--demo",
        "--version",
    ):
        assert re.search(rf"^  {flag}  .*[a-z]", text, re.MULTILINE), flag


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lb ")


LISTEN = ["--listen", "127.0.0.1:0"]
BACKEND = ["--backend", "127.0.0.1:9001"]

WRONG_FLAGS = [
    (["--demo", "-u"], "lb: --demo runs in the foreground, expected no --upgrade"),
    (
        ["--demo", "-d"],
        "lb: --demo runs in the foreground, expected no --daemon",
    ),
    ([*LISTEN], "lb: --listen without --backend, expected at least one backend"),
    ([*BACKEND], "lb: --backend without --listen, expected an address to listen on"),
    (
        ["--demo", *BACKEND],
        "lb: --demo brings its own backends, expected no --backend",
    ),
    (
        ["--demo", "-c", "x"],
        "lb: --demo brings its own backends, expected no --conf",
    ),
    (
        [*LISTEN, *BACKEND, "--runtime", "asyncoi"],
        'lb: --runtime "asyncoi", expected asyncio, gevent, threads, uvloop,'
        " did you mean asyncio?",
    ),
    (
        ["--listen", "127.0.0.1:1", "--listen", "127.0.0.1:1", *BACKEND],
        "lb: --listen 127.0.0.1:1 is also an address of another --listen",
    ),
]


@pytest.mark.parametrize(("argv", "expected"), WRONG_FLAGS)
def test_a_wrong_command_line_is_status_2(
    argv: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    assert capsys.readouterr() == ("", f"{expected}\n")


REFUSED_BY_THE_PARSER = [
    (["--threads", "-1"], "argument --threads: got '-1', expected a whole"),
    (["--threads", "x"], "argument --threads: got 'x', expected a whole number of"),
    (["--listen", "h:1"], 'argument --listen: got "h:1", expected an IP address'),
    (["--backend", "h"], 'argument --backend: got "h", expected host:port'),
    (["--log-level", "x"], "argument --log-level: got 'x', expected debug, info"),
    (["--conf"], "argument -c/--conf: expected one argument"),
    (["--con", "x"], "unrecognized arguments: --con x"),
    (["x"], "unrecognized arguments: x"),
]


@pytest.mark.parametrize(("argv", "expected"), REFUSED_BY_THE_PARSER)
def test_a_flag_that_cannot_be_read_is_status_2(
    argv: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    assert f"lb: error: {expected}" in capsys.readouterr().err


def test_nothing_to_do_prints_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err == (
        "usage: lb -c FILE [options] | lb --listen ADDR --backend ADDR ..."
        " | lb --demo\n"
        "lb: nothing to do, expected --conf, --listen and --backend, or --demo\n"
    )


def test_a_wrong_level_in_the_environment_is_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LB_LOG", "loud")
    assert main([*LISTEN, *BACKEND]) == 2
    assert capsys.readouterr().err == (
        "lb: LB_LOG: got 'loud', expected debug, info, warning, error\n"
    )


def test_the_file_of_the_seed_passes_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, SEED.format(tmp_path))
    assert main(["-t", "-c", path]) == 0
    assert capsys.readouterr().err == f"lb: configuration file {path} is valid\n"
    assert os.listdir(tmp_path) == ["conf.yaml"]


def test_flags_alone_pass_the_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-t", *LISTEN, *BACKEND]) == 0
    assert capsys.readouterr().err == "lb: the command line is valid\n"


def test_standard_input_cannot_be_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "services: [{listen: ['127.0.0.1:0'], upstream: {backends: [h:1]}}]"
    path = write(tmp_path, text)
    stdin = SimpleNamespace(buffer=io.BytesIO(text.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    renew: list[object] = []

    def serve(options: object, decided: object, contexts: object, again: object) -> int:
        renew.append(again)
        return 0

    monkeypatch.setattr("lbproto_cli.main.serve", serve)
    assert main(["-c", path]) == main(["-c", "-"]) == 0
    assert callable(renew[0])
    assert renew[1] is None


def test_a_file_without_services_and_no_flags_is_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, SEED.format(tmp_path))
    assert main(["-c", path]) == 1
    assert capsys.readouterr().err == (
        f"lb: {path} has no services, expected some there, or --listen and --backend\n"
    )


def test_an_unreadable_file_is_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-c", f"{tmp_path}/none"]) == 1
    assert capsys.readouterr().err == (
        f"lb: cannot read {tmp_path}/none: No such file or directory\n"
    )


def test_every_problem_of_a_file_is_a_line_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "threads: two\nruntim: uvloop\n")
    assert main(["-t", "-c", path]) == 1
    assert capsys.readouterr() == (
        "",
        f'{path}:1:10: threads: got "two", expected a whole number of 0-1024\n'
        f"{path}:2:1: runtim: unknown key, did you mean runtime?\n",
    )


def test_a_user_that_there_is_not_is_a_problem_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "user: no-such-user\ngroup: no-such-group\n")
    assert main(["-t", "-c", path]) == 1
    assert capsys.readouterr().err == (
        f"{path}:1:7: user: there is no user 'no-such-user'\n"
        f"{path}:2:8: group: there is no group 'no-such-group'\n"
    )


def test_a_working_directory_that_is_gone_is_not_needed(
    stub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main([*LISTEN, *BACKEND, "--runtime", "stub"]) == 0
    assert stub.read_text().startswith("cli ")


def test_flags_serve_beside_a_file(stub: Path, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "services: [{name: web, listen: ['127.0.0.1:0'], upstream: {backends: [h:1]}}]",
    )
    assert main(["-c", path, *LISTEN, *BACKEND, "--runtime", "stub"]) == 0
    web, cli = stub.read_text().splitlines()
    assert re.fullmatch(r"web 127\.0\.0\.1:[1-9][0-9]+", web)
    assert re.fullmatch(r"cli 127\.0\.0\.1:[1-9][0-9]+", cli)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "services: [{listen: ['127.0.0.1:1'], upstream: {backends: [h:1]}}]",
            '--listen 127.0.0.1:1 is also an address of service "service1"',
        ),
        (
            "upstreams: {cli: {backends: [h:1]}}",
            "--listen and --backend make a service named cli, expected no other of that"
            " name in the file",
        ),
    ],
)
def test_flags_that_contradict_the_file_are_status_2(
    text: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, text)
    assert main(["-c", path, "--listen", "127.0.0.1:1", *BACKEND]) == 2
    assert capsys.readouterr().err == f"lb: {expected}\n"


def test_flags_give_the_seeds_file_its_services(
    stub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, SEED.format(tmp_path))
    monkeypatch.setenv("STUB_PID_FILE", f"{tmp_path}/lb.pid")
    argv = ["-c", path, *LISTEN, *BACKEND, "--runtime", "stub"]
    assert main([*argv, "--backend", "[::1]:9002"]) == 0
    service, pid = stub.read_text().splitlines()
    port = service.rpartition(":")[2]
    assert pid == f"pid {os.getpid()}"
    assert not (tmp_path / "lb.pid").exists()
    lines = [
        line.partition(" ")[2]
        for line in (tmp_path / "lb.log").read_text().splitlines()
    ]
    workers = [line for line in lines if "worker" in line]
    assert [re.sub("[0-9]+$", "N", line) for line in workers[:2]] == [
        "info worker started worker=1 worker_pid=N",
        "info worker started worker=2 worker_pid=N",
    ]
    core = "compiled" if COMPILED else "python"
    assert lines[:4] == [
        f"info starting pid={os.getpid()} runtime=stub threads=2 core={core}",
        f"info listening service=cli address=127.0.0.1:{port}",
        "info backend service=cli upstream=cli address=127.0.0.1:9001 weight=1",
        "info backend service=cli upstream=cli address=[::1]:9002 weight=1",
    ]


def test_a_runtime_of_a_third_party_may_stand_in_the_file(
    stub: Path, tmp_path: Path
) -> None:
    path = write(tmp_path, "runtime: stub\n")
    assert main(["-c", path, *LISTEN, *BACKEND]) == 0
    assert stub.read_text().startswith("cli 127.0.0.1:")


@pytest.mark.usefixtures("stub")
def test_the_flag_wins_over_the_environment_for_the_level(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    argv = [*LISTEN, *BACKEND, "--runtime", "stub"]
    monkeypatch.setenv("LB_LOG", "ERROR")
    assert main(argv) == 0
    assert capfd.readouterr().err == ""
    assert main([*argv, "--log-level", "info"]) == 0
    assert " info listening service=cli " in capfd.readouterr().err


def test_an_address_in_use_is_status_3_and_leaves_nothing_behind(
    stub: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        argv = ["--listen", f"unix:{tmp_path}/lb", "--listen", f"127.0.0.1:{port}"]
        path = write(tmp_path, f"pid_file: {tmp_path}/lb.pid")
        assert main([*argv, *BACKEND, "-c", path, "--runtime", "stub"]) == 3
    assert capfd.readouterr().err == (
        f"lb: could not listen on 127.0.0.1:{port}: address already in use\n"
    )
    assert sorted(os.listdir(tmp_path)) == ["conf.yaml", "site"]
    assert not stub.exists()


@pytest.mark.parametrize("key", ["pid_file", "error_log"])
@pytest.mark.usefixtures("stub")
def test_a_file_that_cannot_be_written_is_status_4(
    key: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, f"{key}: {tmp_path}/none/lb\n")
    assert main(["-c", path, *LISTEN, *BACKEND, "--runtime", "stub"]) == 4
    verb = "write" if key == "pid_file" else "open"
    assert capfd.readouterr().err == (
        f"lb: cannot {verb} {key} {tmp_path}/none/lb: No such file or directory\n"
    )


@pytest.mark.usefixtures("stub")
def test_a_worker_that_does_not_start_is_status_4_and_its_reason_is_logged(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STUB_FAILS", "1")
    argv = [*LISTEN, *BACKEND, "--runtime", "stub", "--log-level"]
    assert main([*argv, "error"]) == 4
    said = capfd.readouterr().err
    assert "RuntimeError: a" in said
    assert all(re.match("[0-9]{4}-.* error ", line) for line in said.splitlines())


def test_the_default_runtime_gives_way_where_uvloop_is_missing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from lbproto_cli.arguments import Options, parser
    from lbproto_cli.plan import plan

    monkeypatch.setitem(sys.modules, "uvloop", None)
    missing = "uvloop is not installed (pip install 'lbproto[uvloop]')"
    options = parser().parse_args([*LISTEN, *BACKEND], namespace=Options())
    decided = plan(options, {}, Contexts())
    assert decided.runtime == decided.config.runtime == "asyncio"
    assert decided.notes == (f"{missing}; using asyncio",)
    assert main([*LISTEN, *BACKEND, "--runtime", "uvloop"]) == 2
    assert capsys.readouterr().err == f"lb: --runtime uvloop: {missing}\n"
    path = write(tmp_path, "threads: 1\nruntime: uvloop\n")
    assert main([*LISTEN, *BACKEND, "-c", path]) == 1
    assert capsys.readouterr().err == f"{path}:2:10: runtime: {missing}\n"


def test_a_runtime_whose_package_is_missing_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gevent", None)
    assert main([*LISTEN, *BACKEND, "--runtime", "gevent"]) == 2
    assert capsys.readouterr().err == (
        "lb: --runtime gevent: gevent is not installed"
        " (pip install 'lbproto[gevent]')\n"
    )


SECURE = """\
services:
- name: web
  listen:
  - "127.0.0.1:0"
  - {address: "127.0.0.1:0", tls: {certificates: [{cert: a.pem, key: a.key}]}}
  - {address: "127.0.0.1:0", proxy_protocol: true}
  - address: "unix:LB"
    proxy_protocol: true
    tls: {certificates: [{cert: a.pem, key: a.key}]}
  upstream: {backends: [h:1], tls: true}
"""


def secure(folder: Path, until: datetime | None = None) -> str:
    """Write the file above and the certificate that it names."""
    issued = trustme.CA().issue_cert("a.example", not_after=until)
    issued.private_key_pem.write_to_path(folder / "a.key")
    (folder / "a.key").chmod(0o600)
    issued.cert_chain_pems[0].write_to_path(folder / "a.pem")
    return write(folder, SECURE.replace("LB", f"{folder}/lb"))


def test_listeners_say_what_opens_their_connections(
    stub: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["-c", secure(tmp_path), "--runtime", "stub"]) == 0
    plain, tls, header, both = stub.read_text().splitlines()
    lines = [
        line.partition(" ")[2]
        for line in capfd.readouterr().err.splitlines()
        if " warning " in line or " listening " in line
    ]
    address = header.removeprefix("web ")
    asked = re.sub(r":[0-9]+$", ":0", address)
    assert lines == [
        f'warning service "web", {asked}: proxy_protocol with no trusted_proxies:'
        " every connection will be refused",
        f'warning service "web", unix:{tmp_path}/lb: proxy_protocol with no unix:'
        " in trusted_proxies: every connection will be refused",
        f"info listening service=web address={plain.removeprefix('web ')}",
        f"info listening service=web address={tls.removeprefix('web ')} tls=true",
        f"info listening service=web address={address} proxy_protocol=true",
        f"info listening service=web address={both.removeprefix('web ')}"
        " tls=true proxy_protocol=true",
    ]


def test_a_certificate_that_has_expired_is_worth_a_warning(
    stub: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = secure(tmp_path, datetime(2020, 1, 2, tzinfo=UTC))
    assert main(["-c", path, "--runtime", "stub"]) == 0
    assert stub.exists()
    said = f" warning certificate has expired cert={tmp_path}/a.pem expired="
    lines = [line for line in capfd.readouterr().err.splitlines() if said in line]
    assert len(lines) == 1
    assert lines[0].endswith("expired=2020-01-02T00:00:00Z")


def test_a_key_that_others_may_read_is_worth_a_warning(
    stub: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = secure(tmp_path)
    (tmp_path / "a.key").chmod(0o644)
    assert main(["-c", path, "--runtime", "stub"]) == 0
    said = f" warning key is not its owner's alone key={tmp_path}/a.key mode=0644"
    assert said in capfd.readouterr().err


def test_nobody_is_warned_who_believes_somebody(tmp_path: Path) -> None:
    from lbproto_cli.arguments import Options, parser
    from lbproto_cli.plan import plan

    path = secure(tmp_path)
    with open(path, "a") as file:
        file.write('  trusted_proxies: [127.0.0.1, "unix:"]\nruntime: asyncio\n')
    options = parser().parse_args(["-c", path], namespace=Options())
    assert plan(options, {}, Contexts()).notes == ()


@pytest.mark.parametrize("flags", [["-t"], ["--runtime", "asyncio"]])
def test_every_start_and_every_check_reads_the_certificates(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = secure(tmp_path)
    (tmp_path / "a.key").unlink()
    assert main(["-c", path, *flags]) == 1
    first, second = capsys.readouterr().err.splitlines()
    key = f"tls.certificates[0].key: cannot use {tmp_path}/a.key: "
    assert first.startswith(f"{path}:5:70: services[0].listen[1].{key}")
    assert second.startswith(f"{path}:9:45: services[0].listen[3].{key}")
    assert not (tmp_path / "lb").exists()


def test_a_file_with_certificates_passes_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = secure(tmp_path)
    with open(path, "a") as file:
        file.write('  trusted_proxies: [127.0.0.1, "unix:"]\n')
    assert main(["-t", "-c", path]) == 0
    assert capsys.readouterr().err == f"lb: configuration file {path} is valid\n"


def test_a_check_warns_of_what_is_hardly_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = secure(tmp_path, datetime(2020, 1, 2, tzinfo=UTC))
    assert main(["-t", "-c", path]) == 0
    assert capsys.readouterr().err == (
        'lb: warning: service "web", 127.0.0.1:0: proxy_protocol with no'
        " trusted_proxies: every connection will be refused\n"
        f'lb: warning: service "web", unix:{tmp_path}/lb: proxy_protocol with no unix:'
        " in trusted_proxies: every connection will be refused\n"
        f"lb: warning: certificate has expired, cert '{tmp_path}/a.pem', expired"
        " '2020-01-02T00:00:00Z'\n"
        f"lb: configuration file {path} is valid\n"
    )


@pytest.mark.usefixtures("stub")
def test_the_demo_says_how_to_try_it_once_it_listens(
    capsys: pytest.CaptureFixture[str], stub: Path
) -> None:
    assert main(["--demo", "--listen", "*:0", "--runtime", "stub"]) == 0
    port = stub.read_text().rpartition(":")[2]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("backend 1 listens on 127.0.0.1:")
    assert lines[1].startswith("backend 2 listens on 127.0.0.1:")
    assert lines[2:] == [f"try: curl http://127.0.0.1:{port}/", "stop with Ctrl-C"]


def test_the_demo_on_a_unix_socket_names_its_path(
    stub: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--demo", "--listen", f"unix:{tmp_path}/lb", "--runtime", "stub"]) == 0
    assert stub.read_text() == f"demo unix:{tmp_path}/lb"
    expected = f"try: curl --unix-socket {tmp_path}/lb http://localhost/"
    assert expected in capsys.readouterr().out.splitlines()


def test_a_signal_before_the_runtime_handles_it_ends_well(
    stub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lbproto_cli.govern as command

    assert threading.current_thread() is threading.main_thread()
    monkeypatch.setattr(command, "tell", lambda *_: signal.raise_signal(signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    argv = ["--listen", f"unix:{tmp_path}/lb", *BACKEND, "--runtime", "stub"]
    assert main(argv) == 0
    assert not (tmp_path / "lb").exists()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (SEED.format("/tmp"), 0),
        ("", 0),
        ("services: 5", 1),
        ("a: b: c", 1),
        ("\x00", 1),
        ("[" * 5000, 1),
        ("- &a [*a, *a]", 1),
        ("? [a]\n: b", 1),
        ("services: [{listen: [{tls: {}}], upstream: {tls: []}, routes: 1}]", 1),
    ],
)
def test_the_command_itself_checks_a_file(text: str, status: int) -> None:
    got = run("-t", "-c", "-", stdin=text)
    assert got.returncode == status
    assert got.stdout == ""
    assert "Traceback" not in got.stderr
    for line in got.stderr.splitlines():
        assert status == 0 or line.startswith("<stdin>:")
    assert bool(status) == ("is valid" not in got.stderr)
