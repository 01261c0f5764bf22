"""An upgrade between two real processes: nobody is refused, reset or forgotten."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.certificates import Authority
from tests.children import environment
from tests.runtimes.fixtures import RUNTIMES, LbFactory, OriginFactory
from tests.runtimes.origins import Recorder, echoes_target, reply
from tests.runtimes.process import Lb, settings
from tests.runtimes.secured import (
    NAME,
    authority,
    client_context,
    entry,
    secure,
)
from tests.runtimes.test_proxy_protocol import V2
from tests.runtimes.test_workers import wait_gone
from tests.runtimes.wire import PATIENCE, Wire, dial

__all__ = ["authority"]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PAIRS = [
    ("uvloop", "gevent"),
    ("gevent", "threads"),
    ("threads", "asyncio"),
    ("asyncio", "uvloop"),
]


def top(folder: Path, **keys: Any) -> dict[str, Any]:
    """Where the two meet, and whose file tells who serves."""
    meeting, pid_file = str(folder / "upgrade.sock"), str(folder / "lb.pid")
    # Long enough for a process that is slow to start.
    times = {"upgrade_timeout": "60s", "upgrade_bake": "60s"}
    return {"upgrade_sock": meeting, "pid_file": pid_file, **times, **keys}


def served(folder: Path) -> int:
    return int((folder / "lb.pid").read_text("ascii"))


class Upgrades:
    """Starts a first process, and processes that take over from the last one."""

    def __init__(self, start: LbFactory, folder: Path, backend: str) -> None:
        self.start = start
        self.folder = folder
        self.backend = backend
        self.listen: list[Any] = ["127.0.0.1:0"]

    def first(self, **keys: Any) -> Lb:
        """Serve; from then on `listen` names the ports that were found free."""
        wanted = settings(self.backend, **self._keys(keys))
        one = self.start(wanted)
        found = [address for _, address in one.listening()]
        self.listen = [
            {**was, "address": now} if isinstance(was, dict) else now
            for was, now in zip(wanted["services"][0]["listen"], found, strict=True)
        ]
        one.wait_ready(1)
        return one

    def next(self, *args: str, **keys: Any) -> Lb:
        """Wait to take over."""
        one = self.start(settings(self.backend, **self._keys(keys)), "-u", *args)
        one.line("waiting for the process that runs")
        return one

    def swap(self, old: Lb, *args: str, **keys: Any) -> Lb:
        """Take over, to the end of the handshake."""
        new = self.next(*args, **keys)
        old.signal(signal.SIGQUIT)
        new.line("upgrade: done")
        return new

    def _keys(self, keys: dict[str, Any]) -> dict[str, Any]:
        more = keys.pop("top", {})
        return {"listen": self.listen, **keys, "top": top(self.folder, **more)}


@pytest.fixture
def upgrades(start: LbFactory, origin: OriginFactory, tmp_path: Path) -> Upgrades:
    return Upgrades(start, tmp_path, origin(echoes_target).address)


def asks_to_the_end(wire: Wire) -> None:
    """Ask until an answer is the last one, as it soon will be."""
    while ask(wire):
        pass


class SlowOne:
    """A backend that answers `/slow` when the test lets it, and the rest at once."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, wire: Wire) -> None:
        while True:
            target = wire.request().start.split(b" ")[1]
            if target == b"/slow":
                self.asked.set()
                assert self.go_on.wait(PATIENCE)
            wire.send(reply(target))


def ask(wire: Wire, target: str = "/") -> bool:
    """Ask; tell whether the connection stays."""
    answer = wire.ask(target)
    assert (answer.status, answer.body) == (200, target.encode())
    return answer.get("Connection") != b"close"


# -- in every runtime ----------------------------------------------------------


def test_idle_clients_move_and_requests_in_flight_end(
    start: LbFactory, origin: OriginFactory, tmp_path: Path
) -> None:
    slow_one = SlowOne()
    upgrades = Upgrades(start, tmp_path, origin(slow_one).address)
    upgrades.listen.append(f"unix:{tmp_path}/web.sock")
    old = upgrades.first(top={"threads": 2, "upgrade_bake": 0})
    old.wait_ready(2)
    idle = [old.connect(at) for at in (0, 1) for _ in range(5)]
    slow, silent = old.connect(), old.connect()
    for client in idle:
        assert ask(client)
    slow.get("/slow")
    assert slow_one.asked.wait(PATIENCE)
    new = upgrades.swap(old, top={"upgrade_bake": 0})
    slow_one.go_on.set()
    if slow.response().get("Connection") != b"close":  # before its worker was told
        asks_to_the_end(slow)
    assert slow.ended()
    assert old.wait() == 0
    for client in [*idle, silent]:  # the same sockets, served by the new process
        assert ask(client)
    assert ask(new.connect())
    with dial(f"unix:{tmp_path}/web.sock") as client:
        assert ask(client)
    assert served(tmp_path) == new.process.pid
    assert "in_flight=1" in new.line("upgrade: done")
    assert "error" not in old.log + new.log


@pytest.mark.parametrize(("runtime", "other"), PAIRS, indirect=["runtime"])
def test_one_runtime_hands_over_to_another(
    other: str, upgrades: Upgrades, tmp_path: Path
) -> None:
    old = upgrades.first()
    clients = [old.connect() for _ in range(20)]
    for client in clients:
        assert ask(client)
    new = upgrades.swap(old, "--runtime", other)
    for client in clients:
        assert ask(client)
    assert ask(new.connect())
    assert served(tmp_path) == new.process.pid
    # Idle it may be, and it is in the old process that it waits for its end.
    new.signal(signal.SIGTERM)
    assert (new.wait(), old.wait()) == (0, 0)
    assert not (tmp_path / "lb.pid").exists()


def test_who_comes_in_the_midst_is_served(upgrades: Upgrades, tmp_path: Path) -> None:
    old = upgrades.first(top={"threads": 2})
    address, failed, done = old.address(), [], threading.Event()
    counts = [0, 0]

    def connects() -> None:
        while not done.is_set():
            try:
                with dial(address) as client:
                    ask(client)
                counts[0] += 1
            except (OSError, AssertionError) as error:
                failed.append(error)

    def keeps() -> None:
        client = dial(address)
        while not done.is_set():
            try:
                if not ask(client):
                    client.close()
                    client = dial(address)
                counts[1] += 1
            except (OSError, AssertionError) as error:
                failed.append(error)
                client = dial(address)
        client.close()

    threads = [threading.Thread(target=work) for work in (connects, connects, keeps)]
    for thread in threads:
        thread.start()
    serving = old
    for _ in range(3):
        before = list(counts)
        serving = upgrades.swap(serving, top={"threads": 2})
        while min(now - then for now, then in zip(counts, before, strict=True)) < 20:
            assert not failed
    done.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert failed == []
    assert served(tmp_path) == serving.process.pid


def test_whom_a_proxy_speaks_for_is_known_after_the_move(
    start: LbFactory, origin: OriginFactory, tmp_path: Path
) -> None:
    recorder = Recorder()
    upgrades = Upgrades(start, tmp_path, origin(recorder).address)
    upgrades.listen = [{"address": "127.0.0.1:0", "proxy_protocol": True}]
    trusted = {"trusted_proxies": ["127.0.0.0/8"]}
    serving = upgrades.first(**trusted)
    with serving.connect() as client:
        client.send(V2 + GET)
        assert client.response().status == 200
        for _ in range(2):
            serving = upgrades.swap(serving, **trusted)
            assert client.ask().status == 200
    said = [request.get("X-Forwarded-For") for request in recorder.requests]
    assert said == [b"203.0.113.7"] * 3


def test_clients_with_tls_get_their_next_answer_and_an_end(
    upgrades: Upgrades, authority: Authority
) -> None:
    certificate = entry(authority.issue(NAME))
    tls = {"tls": {"certificates": [certificate]}}
    upgrades.listen = [{"address": "127.0.0.1:0", **tls}]
    old = upgrades.first(top={"upgrade_bake": 0})
    context = client_context(authority)
    with secure(old.address(), context) as client:
        assert ask(client)
        new = upgrades.swap(old)
        asks_to_the_end(client)
        assert client.ended()
    assert old.wait() == 0
    with secure(new.address(), context) as client:
        assert ask(client)


def test_the_old_process_serves_again_when_the_new_one_dies(
    upgrades: Upgrades, tmp_path: Path
) -> None:
    old = upgrades.first(top={"threads": 2})
    upgrades.listen = [*upgrades.listen, f"unix:{tmp_path}/new.sock"]
    with old.connect() as moved, old.connect() as other:
        assert ask(moved)
        assert ask(other)
        new = upgrades.swap(old)
        new.may_fail = True
        assert ask(moved)
        new.process.kill()
        old.line("upgrade undone: serving again")
        # A worker of the dead process answers who moved, and says goodbye.
        assert not ask(other)
    assert ask(old.connect())
    assert served(tmp_path) == old.process.pid
    newer = upgrades.swap(old)
    assert ask(newer.connect())
    assert served(tmp_path) == newer.process.pid


# -- what the two masters do, whatever serves ----------------------------------


# pytest: for one runtime only, instead of each.
once = pytest.mark.parametrize("runtime", ["uvloop"], indirect=True)


@once
def test_the_new_process_may_come_later(upgrades: Upgrades, tmp_path: Path) -> None:
    old = upgrades.first()
    old.signal(signal.SIGQUIT)
    old.line("dialling the successor")
    assert ask(old.connect())
    new = upgrades.start(
        settings(upgrades.backend, listen=upgrades.listen, top=top(tmp_path)), "-u"
    )
    new.line("upgrade: done")
    assert ask(new.connect())


@once
def test_nobody_comes_and_the_old_one_goes_on(upgrades: Upgrades) -> None:
    old = upgrades.first(top={"upgrade_timeout": "300ms"})
    old.signal(signal.SIGQUIT)
    old.line("no successor came within 0.3 s")
    assert ask(old.connect())
    old.signal(signal.SIGQUIT)
    old.wait_until(lambda: old.log.count("no successor came") == 2)
    assert ask(old.connect())


@once
def test_a_new_process_that_cannot_bind_ends_and_harms_nobody(
    upgrades: Upgrades, tmp_path: Path
) -> None:
    old = upgrades.first()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        upgrades.listen = [*upgrades.listen, address]
        new = upgrades.next()
        new.may_fail = True
        old.signal(signal.SIGQUIT)
        assert new.wait() == 3
    assert f"could not listen on {address}: address already in use" in new.log
    assert "address already in use" in old.line("upgrade failed: serving goes on")
    assert ask(old.connect())
    assert served(tmp_path) == old.process.pid


@once
def test_listeners_that_nobody_takes_are_served_through_the_bake(
    upgrades: Upgrades, tmp_path: Path
) -> None:
    left = f"unix:{tmp_path}/left.sock"
    upgrades.listen.append(left)
    old = upgrades.first()
    upgrades.listen.remove(left)
    new = upgrades.swap(old)
    with dial(left) as client:
        assert ask(client)
    new.signal(signal.SIGTERM)  # that ends the bake, too
    assert (new.wait(), old.wait()) == (0, 0)
    assert not (tmp_path / "left.sock").exists()


@once
def test_a_chain_of_upgrades_leaves_the_last_one(
    upgrades: Upgrades, tmp_path: Path
) -> None:
    first = upgrades.first()
    with first.connect() as client:
        second = upgrades.swap(first)
        assert ask(client)
        third = upgrades.swap(second)
        assert first.wait() == 0  # dismissed: its successor has one of its own
        assert ask(client)
        third.may_fail = True
        third.process.kill()
        second.line("upgrade undone: serving again")
    assert ask(second.connect())
    assert served(tmp_path) == second.process.pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@once
def test_a_signal_ends_who_waits_and_not_the_other(
    upgrades: Upgrades, number: signal.Signals, tmp_path: Path
) -> None:
    new = upgrades.next() if (old := upgrades.first()) else None
    assert new is not None
    new.signal(number)
    assert new.wait() == 0
    assert not (tmp_path / "upgrade.sock").exists()
    assert ask(old.connect())
    old.signal(signal.SIGQUIT)
    old.line("dialling the successor")
    old.signal(number)
    assert old.wait() == 0


@once
def test_a_reload_waits_for_the_upgrade_to_fail(upgrades: Upgrades) -> None:
    old = upgrades.first(top={"upgrade_timeout": "300ms"})
    old.signal(signal.SIGQUIT)
    old.line("dialling the successor")
    wanted = yaml.safe_load(old.conf.read_text("utf-8"))
    wanted["max_retries"] = 7
    old.conf.write_text(yaml.safe_dump(wanted), "utf-8")
    old.signal(signal.SIGHUP)
    old.line("a reload waits for what is under way")
    old.line("changed", "max_retries")
    lines = old.log
    assert lines.index("no successor came") < lines.index("key=max_retries")


@once
def test_everybody_may_be_told_at_once(upgrades: Upgrades) -> None:
    """As with pkill: whoever does not serve is not meant."""
    old = upgrades.first()
    new = upgrades.next()
    new.signal(signal.SIGQUIT)
    new.line("no upgrade of a process that does not serve")
    old.signal(signal.SIGQUIT)
    new.line("upgrade: done")
    old.signal(signal.SIGQUIT)
    old.line("an upgrade is under way already")
    assert ask(new.connect())


@once
def test_nothing_leaks_in_upgrades_that_fail(upgrades: Upgrades) -> None:
    old = upgrades.first()
    count = 0

    def fails() -> int:
        nonlocal count
        new = upgrades.next()
        new.may_fail = True
        new.process.kill()
        new.wait()
        old.signal(signal.SIGQUIT)
        again = upgrades.next()
        again.may_fail = True
        old.wait_until(lambda: old.log.count("dialling") > count)
        count += 1
        again.line("upgrade: done")
        again.process.kill()
        old.wait_until(lambda: old.log.count("serving again") == count)
        assert ask(old.connect())
        return len(os.listdir(f"/proc/{old.process.pid}/fd"))

    before = fails()
    assert [fails() for _ in range(3)] == [before] * 3


# -- in the background, as the README says it ----------------------------------


def test_the_command_returns_when_the_new_process_serves(
    upgrades: Upgrades, tmp_path: Path, runtime: str
) -> None:
    where = f"unix:{tmp_path}/web.sock"
    keys = top(tmp_path, error_log=str(tmp_path / "lb.log"), upgrade_bake=0)
    conf = tmp_path / "conf.yaml"
    wanted = settings(upgrades.backend, listen=[where], top=keys)
    conf.write_text(yaml.safe_dump(wanted), "utf-8")
    command = f'lb() {{ python -m lbproto_cli --runtime {runtime} "$@"; }};'
    run = shell(tmp_path)
    assert run(f"{command} lb -c conf.yaml -d") == 0
    try:
        with dial(where) as client:
            for _ in range(2):
                assert ask(client)
                old = served(tmp_path)
                line = "kill -QUIT $(cat lb.pid) && lb -c conf.yaml -d -u"
                assert run(command + line) == 0
                assert served(tmp_path) != old
                wait_gone(old)
            assert ask(client)
    finally:
        os.kill(served(tmp_path), signal.SIGINT)


@once
def test_the_command_says_why_it_could_not_take_over(
    upgrades: Upgrades, tmp_path: Path
) -> None:
    keys = top(tmp_path, upgrade_timeout="200ms", error_log=str(tmp_path / "log"))
    wanted = settings(upgrades.backend, top=keys)
    (tmp_path / "conf.yaml").write_text(yaml.safe_dump(wanted), "utf-8")
    run = shell(tmp_path)
    command = "python -m lbproto_cli -c conf.yaml -d -u 2> said"
    assert run(command) == 3
    said = (tmp_path / "said").read_text("utf-8")
    assert said == "lb: no incumbent came within 0.2 s\n"
    assert not (tmp_path / "lb.pid").exists()
    (tmp_path / "upgrade.sock").write_text("precious")
    assert run(command) == 3
    said = (tmp_path / "said").read_text("utf-8")
    assert said.startswith(f"lb: upgrade_sock {tmp_path}/upgrade.sock: a file that is")
    assert (tmp_path / "upgrade.sock").read_text("utf-8") == "precious"
    wanted.pop("upgrade_sock")
    (tmp_path / "conf.yaml").write_text(yaml.safe_dump(wanted), "utf-8")
    assert run(command) == 1
    said = (tmp_path / "said").read_text("utf-8")
    assert said == "lb: --upgrade needs upgrade_sock in the configuration\n"


def shell(folder: Path) -> Callable[[str], int]:
    """Run lines in a shell, as an operator does."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def run(line: str) -> int:
        return subprocess.run(
            ["sh", "-c", line],
            cwd=folder,
            env=environment(PATH=path),
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        ).returncode

    return run


assert {one for pair in PAIRS for one in pair} == set(RUNTIMES)
