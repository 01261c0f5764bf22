"""An upgrade against a peer that is not `lb`: one that dies, lies, or is Pingora.

All of it is the master's, whatever runtime serves, so one runtime is enough.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import echoes_target
from tests.runtimes.process import Lb, settings
from tests.runtimes.test_upgrade import ask, served, top
from tests.runtimes.upgrade_peers import (
    GREETING,
    Meeting,
    Peer,
    frame,
    hello,
    incumbent,
)
from tests.runtimes.wire import PATIENCE, Wire, dial

pytestmark = pytest.mark.parametrize("runtime", ["uvloop"], indirect=True)


def name_of(sock: socket.socket) -> str:
    host, port = sock.getsockname()
    return f"{host}:{port}"


def as_nobody(work: Callable[[], object]) -> int:
    """Do something as another user, in a process of its own."""
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            work()
        os._exit(0)
    return child


def wait_at(path: Path) -> None:
    with Meeting(path) as meeting:
        meeting.accept().read()


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """A folder that every user may use; those of the tests are ours alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


class Stand:
    """An `lb` that serves, and where its successor is to wait."""

    def __init__(self, one: Lb, folder: Path, meeting: Meeting) -> None:
        self.one = one
        self.folder = folder
        self.meeting = meeting
        self.key = f"tcp:{one.address()}"

    def peer(self) -> Peer:
        """Have it begin an upgrade with us."""
        self.one.signal(signal.SIGQUIT)
        return self.meeting.accept()

    def offered(self) -> Peer:
        peer = self.peer()
        peer.send(hello())
        offer = peer.expect(b"O")
        assert offer["keys"] == [self.key]
        assert offer["pid"] == self.one.process.pid
        return peer

    def taken(self) -> Peer:
        peer = self.offered()
        peer.send(frame(b"T", keys=[self.key], connections=True))
        assert peer.expect(b"F") == {"keys": [self.key]}
        return peer

    def committed(self) -> Peer:
        peer = self.taken()
        peer.send(frame(b"R", keys=[self.key]))
        assert peer.expect(b"C") == {}
        return peer

    def serves(self) -> None:
        """It does, in every respect."""
        assert ask(self.one.connect())
        assert served(self.folder) == self.one.process.pid


@pytest.fixture
def stand(
    start: LbFactory, origin: OriginFactory, tmp_path: Path
) -> Iterator[Callable[..., Stand]]:
    stack = contextlib.ExitStack()
    backend = origin(echoes_target).address

    def launch(**keys: Any) -> Stand:
        one = start(settings(backend, top=top(tmp_path, **keys)))
        one.wait_ready(1)
        path = tmp_path / "upgrade.sock"
        return Stand(one, tmp_path, stack.enter_context(Meeting(path)))

    with stack:
        yield launch


# -- lb hands over -------------------------------------------------------------


def test_every_frame_is_as_the_contract_writes_it(stand: Callable[..., Stand]) -> None:
    here = stand()
    one, key = here.one, here.key
    with one.connect() as idle:
        assert ask(idle)
        with here.peer() as peer:
            peer.send(hello())
            offer = peer.expect(b"O")
            assert offer.pop("connections") >= 1
            assert offer == {"pid": one.process.pid, "generation": 1, "keys": [key]}
            peer.send(frame(b"T", keys=[key], connections=True))
            assert peer.expect(b"F") == {"keys": [key]}
            [listener] = peer.sockets()
            host, port = one.address().split(":")
            assert listener.getsockname() == (host, int(port))
            assert not os.get_blocking(listener.fileno())
            peer.send(frame(b"R", keys=[key]))
            assert peer.expect(b"C") == {}
            said = name_of(idle.sock)
            wanted = {"key": key, "peer": said, "proxied": False}
            assert peer.expect(b"I") == {"peers": [wanted]}
            assert peer.expect(b"D") == {"in_flight": 0}
            [moved] = peer.sockets()
            assert moved.getpeername() == idle.sock.getsockname()
            idle.get("/moved")
            with Wire(moved) as theirs:
                assert theirs.request().start == b"GET /moved HTTP/1.1"
                theirs.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
            assert idle.response().body == b"OK"
            with dial(one.address()) as client, listener:
                listener.settimeout(PATIENCE)
                Wire(listener.accept()[0]).close()
                assert client.ended()
            peer.send(frame(b"D", in_flight=0))  # dismissed
            assert one.wait() == 0
            assert peer.ended()


STEPS: dict[str, Callable[[Stand], Peer]] = {
    "nothing": Stand.peer,
    "offer": Stand.offered,
    "descriptors": Stand.taken,
    "commit": Stand.committed,
}


@pytest.mark.parametrize("step", STEPS)
def test_a_successor_that_dies_changes_nothing(
    stand: Callable[..., Stand], step: str
) -> None:
    here = stand()
    for count in (1, 2):
        STEPS[step](here).close()
        here.one.wait_until(lambda n=count: here.one.log.count("is gone") == n)
        here.serves()


NONSENSE: dict[str, tuple[str, bytes, str]] = {
    "no greeting": ("nothing", b"HTTP/1.1 400\r\n", "greeting"),
    "version": ("nothing", hello(2), "version 2"),
    "type": ("nothing", GREETING + frame(b"X"), ""),
    "magic": ("nothing", GREETING + b"XXXXXXXX", ""),
    "length": ("nothing", GREETING + b"LBH\0\xff\xff\xff\xff", ""),
    "json": ("nothing", GREETING + b"LBH\0\0\0\0\x02{]", "JSON"),
    "order": ("nothing", GREETING + frame(b"R", keys=[]), "out of turn"),
    "stranger's key": (
        "offer",
        frame(b"T", keys=["tcp:1.2.3.4:5"], connections=True),
        "not offered",
    ),
    "not ready": ("descriptors", frame(b"R", keys=[]), "nobody accepts"),
    "abort": ("descriptors", frame(b"A", reason="so it is"), "so it is"),
    "half a frame": ("offer", frame(b"T", keys=[])[:-3], "no Take came"),
}


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_a_successor_that_talks_nonsense_gets_nothing(
    stand: Callable[..., Stand], nonsense: str
) -> None:
    step, data, reason = NONSENSE[nonsense]
    here = stand(upgrade_timeout="700ms")
    with STEPS[step](here) as peer:
        peer.send(data)
        assert reason in here.one.line("upgrade failed: serving goes on")
        with contextlib.suppress(ConnectionResetError):
            while peer.read():
                pass  # ABORT, and the end
    here.serves()


def test_what_a_successor_does_not_take_is_served_through_the_bake(
    stand: Callable[..., Stand],
) -> None:
    here = stand()
    with here.offered() as peer:
        peer.send(frame(b"T", keys=[], connections=False))
        peer.send(frame(b"R", keys=[]))
        assert peer.expect(b"C") == {}
        assert peer.expect(b"D") == {"in_flight": 0}
        with here.one.connect() as client:
            assert ask(client)
        peer.send(frame(b"D", in_flight=0))
        assert here.one.wait() == 0


def test_whose_socket_is_a_strangers_gets_nothing(
    start: LbFactory, origin: OriginFactory, tmp_path: Path, everybodys: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be two users")
    path = everybodys / "upgrade.sock"
    keys = top(tmp_path, upgrade_timeout="1s", upgrade_sock=str(path))
    one = start(settings(origin(echoes_target).address, top=keys))
    one.wait_ready(1)
    stranger = as_nobody(lambda: wait_at(path))
    try:
        while not path.exists():
            pass
        one.signal(signal.SIGQUIT)
        assert "user 65534 waits there" in one.line("cannot connect")
        one.line("no successor came")
        assert ask(one.connect())
    finally:
        os.kill(stranger, signal.SIGKILL)
        os.waitpid(stranger, 0)


def test_a_silent_successor_is_pingora(stand: Callable[..., Stand]) -> None:
    here = stand()
    one = here.one
    with here.peer() as peer:
        assert peer.read() == one.address().encode()
        [listener] = peer.sockets()
        assert peer.ended()
        with listener:
            host, port = one.address().split(":")
            assert listener.getsockname() == (host, int(port))
            # Nothing tells when Pingora is ready, so both accept for a while.
            began = time.monotonic()
            with one.connect() as client:
                assert ask(client)
            assert one.wait() == 0
            assert time.monotonic() - began >= 4.0
            with dial(f"{host}:{port}"):  # the queue was never closed
                listener.settimeout(PATIENCE)
                listener.accept()[0].close()


def test_nothing_leaks_at_a_process_that_serves_on(stand: Callable[..., Stand]) -> None:
    here = stand()

    def fails(number: int) -> int:
        gone = here.one.log.count("is gone")
        for step in STEPS.values():
            step(here).close()
            gone += 1
            here.one.wait_until(lambda n=gone: here.one.log.count("is gone") == n)
        with here.offered() as peer:  # descriptors that nobody asked for
            ours = [socket.socket() for _ in range(3)]
            peer.send(frame(b"T", keys=[], connections=False), ours)
            for one in ours:
                one.close()
            here.one.wait_until(lambda: here.one.log.count("no frame names") == number)
        here.serves()
        return descriptors()

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{here.one.process.pid}/fd"))

    first = fails(1)
    for number in (2, 3):
        fails(number)
        # The last one of a peer is closed a moment after the line about it.
        tick = threading.Event()
        for _ in range(500):
            if descriptors() <= first:
                break
            tick.wait(0.01)
        assert descriptors() <= first


# -- lb takes over -------------------------------------------------------------


class Heir:
    """An `lb -u` that waits, and the listener that it wants."""

    def __init__(self, one: Lb, folder: Path, listener: socket.socket) -> None:
        self.one = one
        self.folder = folder
        self.listener = listener
        self.address = name_of(listener)
        self.key = f"tcp:{self.address}"

    def greeted(self) -> Peer:
        peer = incumbent(self.folder / "upgrade.sock")
        peer.exactly(GREETING)
        said = peer.expect(b"H")
        assert said == {"version": 1, "pid": self.one.process.pid, "generation": 0}
        return peer

    def taking(self) -> Peer:
        peer = self.greeted()
        peer.send(frame(b"O", pid=1, generation=7, keys=[self.key], connections=0))
        assert peer.expect(b"T") == {"keys": [self.key], "connections": True}
        return peer

    def ready(self) -> Peer:
        peer = self.taking()
        peer.send(frame(b"F", keys=[self.key]), [self.listener])
        assert peer.expect(b"R") == {"keys": [self.key]}
        return peer

    def fails(self, *words: str) -> None:
        """It ends as it should, and the listener is none the worse."""
        self.one.may_fail = True
        assert self.one.wait() == 3
        for word in words:
            assert word in self.one.log
        assert not (self.folder / "upgrade.sock").exists()
        assert not (self.folder / "lb.pid").exists()
        with dial(self.address):
            self.listener.accept()[0].close()


@pytest.fixture
def heir(
    start: LbFactory, origin: OriginFactory, tmp_path: Path
) -> Iterator[Callable[..., Heir]]:
    backend = origin(echoes_target).address
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)

        def launch(**keys: Any) -> Heir:
            address = name_of(listener)
            preexec = keys.pop("preexec", None)
            wanted = settings(backend, listen=[address], top=top(tmp_path, **keys))
            one = start(wanted, "-u", preexec=preexec)
            one.line("waiting for the process that runs")
            return Heir(one, tmp_path, listener)

        yield launch


def test_lb_takes_over_as_the_contract_says(heir: Callable[..., Heir]) -> None:
    here = heir()
    with here.ready() as peer:
        assert not (here.folder / "lb.pid").exists()
        peer.send(frame(b"C"))
        here.one.line("the incumbent drains")
        with dial(here.address) as client:
            assert ask(client)
        with socket.create_connection(here.listener.getsockname()) as sock:
            client = Wire(sock)
            assert ask(client)
        near, far = socket.create_server(("127.0.0.1", 0)), socket.socket()
        far.connect(near.getsockname())
        moved, _ = near.accept()
        who = {"key": here.key, "peer": "192.0.2.7:4711", "proxied": False}
        gone = {**who, "peer": "192.0.2.8:4711"}
        ours, theirs = socket.socketpair()
        peer.send(frame(b"I", peers=[who, gone]), [moved, theirs])
        peer.send(frame(b"D", in_flight=0))
        for one in (near, moved, theirs, ours):
            one.close()
        with Wire(far) as client:
            assert ask(client)
        here.one.line("upgrade: done")
    here.one.line("the incumbent has closed")
    assert served(here.folder) == here.one.process.pid
    assert not (here.folder / "upgrade.sock").exists()


ENDS: dict[str, Callable[[Heir], Peer]] = {
    "greeting": Heir.greeted,
    "take": Heir.taking,
}


@pytest.mark.parametrize("step", ENDS)
def test_an_incumbent_that_ends_too_early_is_no_loss(
    heir: Callable[..., Heir], step: str
) -> None:
    here = heir()
    ENDS[step](here).close()
    here.fails("the incumbent is gone")


def test_an_incumbent_that_ends_when_all_is_handed_over_is_replaced(
    heir: Callable[..., Heir],
) -> None:
    here = heir()
    here.ready().close()
    here.one.line("serving, and the incumbent is gone")
    with dial(here.address) as client:
        assert ask(client)
    assert served(here.folder) == here.one.process.pid


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        (b"GARBAGE THAT IS LONG", ""),
        (frame(b"X"), ""),
        (b"LBO\0\x00\xff\xff\xff", ""),
        (frame(b"C"), "out of turn"),
        (frame(b"A", reason="busy"), "the incumbent gave up: busy"),
    ],
    ids=["garbage", "type", "length", "order", "abort"],
)
def test_nonsense_in_place_of_an_offer_ends_it(
    heir: Callable[..., Heir], sent: bytes, word: str
) -> None:
    here = heir()
    with here.greeted() as peer:
        peer.send(sent)
        here.fails("upgrade failed", word)


def test_fewer_descriptors_than_keys_are_refused(heir: Callable[..., Heir]) -> None:
    here = heir()
    with here.taking() as peer:
        peer.send(frame(b"F", keys=[here.key]))
        assert peer.expect(b"A")["reason"]
        here.fails("descriptors")


@pytest.mark.parametrize("what", ["no socket", "no listener", "another address"])
def test_a_descriptor_that_is_not_the_listener_is_refused(
    heir: Callable[..., Heir], what: str
) -> None:
    here = heir()
    read, write = os.pipe()
    odd = {
        "no socket": lambda: socket.socket(fileno=os.dup(here.listener.fileno())),
        "no listener": socket.socket,
        "another address": lambda: socket.create_server(("127.0.0.1", 0)),
    }[what]()
    with here.taking() as peer, odd:
        if what == "no socket":
            os.dup2(read, odd.fileno())
        peer.send(frame(b"F", keys=[here.key]), [odd])
        word = "no socket" if what == "no socket" else "no listener of it"
        assert word in peer.expect(b"A")["reason"]
        here.fails("the workers do not start")
    os.close(read)
    os.close(write)


def test_descriptors_for_which_there_is_no_room_are_noticed(
    heir: Callable[..., Heir],
) -> None:
    def few() -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, min(hard, 24)))

    here = heir(preexec=few)
    extra = [socket.socket() for _ in range(40)]
    keys = [f"tcp:127.0.0.1:{port}" for port in range(1, 41)]
    with here.taking() as peer:
        peer.send(frame(b"F", keys=[here.key, *keys]), [here.listener, *extra])
        here.one.may_fail = True
        assert here.one.wait() == 3
    for one in extra:
        one.close()


def test_a_second_peer_is_turned_away(heir: Callable[..., Heir]) -> None:
    here = heir()
    with here.taking() as first:
        with incumbent(here.folder / "upgrade.sock") as second:
            second.exactly(GREETING)
            assert second.expect(b"A") == {"reason": "busy"}
            assert second.ended()
        first.send(frame(b"F", keys=[here.key]), [here.listener])
        first.expect(b"R")
        first.send(frame(b"C"))
        here.one.line("the incumbent drains")


def test_a_second_successor_is_refused_and_disturbs_nobody(
    heir: Callable[..., Heir], start: LbFactory
) -> None:
    here = heir()
    second = start(settings("127.0.0.1:1", top=top(here.folder)), "-u")
    second.may_fail = True
    assert second.wait() == 3
    assert "another process waits there" in second.log
    with here.ready() as peer:
        peer.send(frame(b"C"))
        here.one.line("the incumbent drains")
    with dial(here.address) as client:
        assert ask(client)


def test_a_stranger_is_refused_whatever_the_mode(
    heir: Callable[..., Heir], everybodys: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be two users")
    path = everybodys / "upgrade.sock"
    here = heir(upgrade_sock_mode="0666", upgrade_sock=str(path))
    assert path.stat().st_mode & 0o777 == 0o666
    os.waitpid(as_nobody(lambda: incumbent(path).read()), 0)
    here.one.line("a stranger was refused", "uid=65534")
    assert path.exists()  # it waits on for the right one


def test_nobody_else_can_even_knock(heir: Callable[..., Heir]) -> None:
    here = heir()
    assert (here.folder / "upgrade.sock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("what", ["file", "link", "dangling link", "folder"])
def test_what_is_no_socket_is_neither_followed_nor_removed(
    start: LbFactory, tmp_path: Path, what: str
) -> None:
    path, victim = tmp_path / "upgrade.sock", tmp_path / "victim"
    if what == "file":
        path.write_text("precious")
    elif what == "folder":
        path.mkdir()
    else:
        if what == "link":
            victim.write_text("precious")
        path.symlink_to(victim)
    one = start(settings("127.0.0.1:1", top=top(tmp_path)), "-u")
    one.may_fail = True
    assert one.wait() == 3
    assert f"upgrade_sock {path}: a file that is no socket is there" in one.log
    assert path.is_dir() == (what == "folder")
    assert path.is_symlink() == ("link" in what)
    assert victim.exists() == (what == "link")
    if what in ("file", "link"):
        assert path.read_text("utf-8") == "precious"


def test_a_socket_that_nobody_has_open_is_replaced(
    heir: Callable[..., Heir], tmp_path: Path
) -> None:
    with Meeting(tmp_path / "upgrade.sock"):
        pass
    here = heir()
    with here.ready() as peer:
        peer.send(frame(b"C"))
        here.one.line("the incumbent drains")


def test_nobody_comes(heir: Callable[..., Heir]) -> None:
    here = heir(upgrade_timeout="300ms")
    here.fails("no incumbent came within 0.3 s")


def test_a_pingora_process_hands_over(heir: Callable[..., Heir]) -> None:
    here = heir()
    with (
        incumbent(here.folder / "upgrade.sock") as peer,
        socket.create_server(("127.0.0.1", 0)) as unwanted,
    ):
        other = name_of(unwanted)
        data = f"{here.address} {other}".encode()
        peer.send(data, [here.listener, unwanted])
    here.one.line("listeners came from a Pingora process")
    assert other in here.one.line("nobody wants a listener")
    here.one.line("serving, without a word of the incumbent")
    with dial(here.address) as client:
        assert ask(client)
    assert served(here.folder) == here.one.process.pid


def test_a_pingora_table_that_does_not_fit_is_refused(
    heir: Callable[..., Heir],
) -> None:
    here = heir()
    with incumbent(here.folder / "upgrade.sock") as peer:
        peer.send(f"{here.address} 127.0.0.1:1".encode(), [here.listener])
    here.fails("1 descriptors for 2 addresses")
