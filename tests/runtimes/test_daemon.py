"""`lb` in the background, under another user, under systemd."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.children import environment
from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import OK, answers
from tests.runtimes.process import settings
from tests.runtimes.test_workers import wait_gone
from tests.runtimes.wire import PATIENCE, dial

Start = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Start]:
    """Run `lb -d` to its return; whatever it left behind is ended with the test."""
    pid_file = tmp_path / "lb.pid"

    def launch(
        wanted: dict[str, Any], *args: str, before: Sequence[str] = (), **top: Any
    ) -> subprocess.CompletedProcess[bytes]:
        files = {"pid_file": str(pid_file), "error_log": str(tmp_path / "lb.log")}
        conf = tmp_path / "conf.yaml"
        conf.write_text(yaml.safe_dump({**files, **wanted, **top}), "utf-8")
        return subprocess.run(
            [
                *before,
                sys.executable,
                "-m",
                "lbproto_cli",
                "-c",
                "conf.yaml",
                "-d",
                *args,
            ],
            cwd=tmp_path,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )

    yield launch
    with contextlib.suppress(OSError, ValueError):
        os.kill(int(pid_file.read_text("ascii")), signal.SIGINT)


def test_the_command_returns_when_the_daemon_listens(
    daemon: Start, origin: OriginFactory, tmp_path: Path, runtime: str
) -> None:
    where = f"unix:{tmp_path}/lb.sock"
    wanted = settings(origin().address, listen=[where])
    done = daemon(wanted, "--runtime", runtime)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    with dial(where) as client:  # at once: nothing is waited for
        assert client.ask().body == b"OK"
    pid = int((tmp_path / "lb.pid").read_text("ascii"))
    assert os.getsid(pid) != os.getsid(0)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    streams = [os.readlink(f"/proc/{pid}/fd/{stream}") for stream in range(3)]
    assert streams == ["/dev/null"] * 3

    log = tmp_path / "lb.log"
    log.rename(tmp_path / "lb.log.1")
    os.kill(pid, signal.SIGHUP)  # the file is found from wherever it is
    os.kill(pid, signal.SIGTERM)
    wait_gone(pid)
    assert not (tmp_path / "lb.pid").exists()
    assert not (tmp_path / "lb.sock").exists()


def test_no_socket_takes_the_place_of_a_standard_stream_that_is_closed(
    daemon: Start, origin: OriginFactory, tmp_path: Path
) -> None:
    where = f"unix:{tmp_path}/lb.sock"
    wanted = settings(origin().address, listen=[where])
    closed = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    assert daemon(wanted, before=closed).returncode == 0
    with dial(where) as client:
        assert client.ask().body == b"OK"
    pid = int((tmp_path / "lb.pid").read_text("ascii"))
    streams = [os.readlink(f"/proc/{pid}/fd/{stream}") for stream in range(3)]
    assert streams == ["/dev/null"] * 3


def test_a_second_one_is_refused_and_a_stale_file_is_not_minded(
    daemon: Start, origin: OriginFactory, tmp_path: Path
) -> None:
    pid_file = tmp_path / "lb.pid"
    pid_file.write_text("1\n", "ascii")
    wanted = settings(origin().address)
    assert daemon(wanted).returncode == 0
    pid = int(pid_file.read_text("ascii"))
    second = daemon(wanted)
    assert second.returncode == 4
    said = f"lb: pid_file {pid_file} belongs to process {pid}, which runs\n"
    assert second.stderr.decode() == said
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    assert pid_file.exists()
    assert daemon(wanted).returncode == 0
    assert int(pid_file.read_text("ascii")) != pid


def test_what_goes_wrong_is_told_to_the_caller(
    daemon: Start, origin: OriginFactory, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = "{}:{}".format(*taken.getsockname())
        done = daemon(settings(origin().address, listen=[where]))
    assert done.returncode == 3
    said = f"lb: could not listen on {where}: address already in use\n"
    assert done.stderr.decode() == said
    done = daemon(settings(origin().address), pid_file=f"{tmp_path}/none/lb.pid")
    assert done.returncode == 4
    assert b"cannot write pid_file" in done.stderr


def test_a_log_that_nobody_can_read_is_a_word_to_the_caller(
    daemon: Start, origin: OriginFactory
) -> None:
    done = daemon(settings(origin().address), error_log=None)
    said = b"lb: without error_log nobody will read the log of the daemon\n"
    assert (done.returncode, done.stderr) == (0, said)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_the_rights_of_root_are_given_up_for_good(
    daemon: Start, origin: OriginFactory, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    wanted = settings(origin().address)
    assert daemon(wanted, user="nobody").returncode == 0
    pid = int((tmp_path / "lb.pid").read_text("ascii"))
    nobody = pwd.getpwnam("nobody")
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    assert re.search(rf"Uid:(\t{nobody.pw_uid}){{4}}\n", status)
    assert re.search(rf"Gid:(\t{nobody.pw_gid}){{4}}\n", status)
    assert re.search(r"CapEff:\t0+\n", status)
    assert re.search(r"NoNewPrivs:\t1\n", status)
    limits = Path(f"/proc/{pid}/limits").read_text("ascii")
    assert re.search(r"Max core file size +0 +0 ", limits)
    log = tmp_path / "lb.log"
    assert log.stat().st_uid == nobody.pw_uid
    os.kill(pid, signal.SIGTERM)
    wait_gone(pid)
    assert "stopping gracefully" in log.read_text("utf-8")
    left = (tmp_path / "lb.pid").read_bytes() if (tmp_path / "lb.pid").exists() else b""
    assert left == b""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_whoever_it_becomes_need_not_read_the_files_of_python(
    daemon: Start, origin: OriginFactory, tmp_path: Path, runtime: str
) -> None:
    """What Python imports at first use is there already: names, probes, threads."""
    tmp_path.chmod(0o755)
    backend = origin(answers(OK))
    named = backend.address.replace("127.0.0.1", "localhost")
    with socket.create_server(("127.0.0.1", 0)) as free:
        where = f"127.0.0.1:{free.getsockname()[1]}"
    probed = {"backends": [named], "health_check": {"type": "http"}}
    wanted = settings(listen=[where], upstream=probed)
    done = daemon(wanted, "--runtime", runtime, user="nobody")
    assert (done.returncode, done.stderr) == (0, b"")
    backend.wait_accepted(1)  # a probe
    with dial(where) as client:
        assert client.ask().body == b"OK"
    pid = int((tmp_path / "lb.pid").read_text("ascii"))
    os.kill(pid, signal.SIGTERM)
    wait_gone(pid)
    assert " error " not in (tmp_path / "lb.log").read_text("utf-8")


def test_a_user_that_there_is_not_is_named(
    daemon: Start, origin: OriginFactory
) -> None:
    wanted = settings(origin().address)
    done = daemon(wanted, user="no-such-user", group="no-such-group")
    assert done.returncode == 1
    lines = sorted(line.split(":", 3)[3] for line in done.stderr.decode().splitlines())
    assert lines == [
        " group: there is no group 'no-such-group'",
        " user: there is no user 'no-such-user'",
    ]


def test_systemd_is_told_how_far_it_is(
    lb: LbFactory,
    origin: OriginFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(f"{tmp_path}/notify")
        ear.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/notify")
        one = lb(origin())
        ready = f"READY=1\nMAINPID={one.process.pid}".encode()
        assert ear.recv(1000) == ready
        one.signal(signal.SIGHUP)
        assert ear.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert ear.recv(1000) == ready
        one.line("generation serves", "generation=2")
        one.signal(signal.SIGTERM)
        assert ear.recv(1000) == b"STOPPING=1"
        assert one.wait() == 0


def test_a_socket_of_systemd_is_used_in_place_of_a_new_one(
    origin: OriginFactory, tmp_path: Path, runtime: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as made:
        where = "{}:{}".format(*made.getsockname())
        conf = tmp_path / "conf.yaml"
        wanted = settings(origin().address, listen=[where])
        conf.write_text(yaml.safe_dump(wanted), "utf-8")
        command = f"{sys.executable} -m lbproto_cli --runtime {runtime} -c {conf}"
        process = subprocess.Popen(
            # As systemd does it: the socket is descriptor 3, the pid is our own.
            ["/bin/sh", "-c", f"LISTEN_FDS=1 LISTEN_PID=$$ exec {command} 3<&0"],
            stdin=made.fileno(),
            stderr=subprocess.DEVNULL,
            env=environment(),
        )
    try:
        with dial(where) as client:  # it waits in the queue until somebody serves
            assert client.ask().body == b"OK"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
