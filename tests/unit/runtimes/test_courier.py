"""A channel that never waits, and who waits for it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator

import pytest

from lbproto_runtimes import fdpass
from lbproto_runtimes.courier import Courier
from lbproto_runtimes.watch import Watch


class End:
    """One end, and what it has heard."""

    def __init__(self, sock: socket.socket, watch: Watch) -> None:
        self.data = b""
        self.fds: list[int] = []
        self.ends: list[str] = []
        self.courier = Courier(sock, watch, self.heard, self.ends.append)

    def heard(self, data: bytes, fds: tuple[int, ...]) -> None:
        self.data += data
        self.fds += fds


Ends = tuple[Watch, End, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    watch = Watch()
    ours, theirs = socket.socketpair()
    end = End(ours, watch)
    with theirs:
        yield watch, end, theirs
    end.courier.close(flush=False)
    fdpass.close_all(end.fds)


def now() -> float:
    return time.monotonic()


def test_what_does_not_fit_waits_and_comes_whole(ends: Ends) -> None:
    watch, end, theirs = ends
    read, write = os.pipe()
    sent: list[str] = []
    big = bytes(range(256)) * 8192
    end.courier.send(big, (read,), lambda: sent.append("big"))
    end.courier.send(b"small", (), lambda: sent.append("small"))
    assert sent == []
    theirs.setblocking(False)
    found, fds = b"", ()
    while len(found) < len(big) + 5:
        watch.turn(now() + 1.0)
        parcel = fdpass.receive(theirs, 1 << 20)
        found, fds = found + parcel.data, fds + parcel.fds
    assert found == big + b"small"
    assert len(fds) == 1
    watch.turn(now())
    assert sent == ["big", "small"]
    fdpass.close_all([*fds, read, write])


def test_it_hears_and_is_told_of_the_end_once(ends: Ends) -> None:
    watch, end, theirs = ends
    fdpass.send(theirs, b"word", [theirs.fileno()])
    watch.turn(now() + 1.0)
    assert (end.data, len(end.fds)) == (b"word", 1)
    fdpass.close_all(end.fds)
    end.fds.clear()
    theirs.close()
    watch.turn(now() + 1.0)
    assert end.ends == ["EOF"]
    assert not end.courier.open
    assert watch.descriptors == []
    end.courier.send(b"nobody")
    end.courier.close(flush=True)
    watch.turn(now())
    assert end.ends == ["EOF"]


def test_what_the_other_end_said_before_it_went_is_heard(ends: Ends) -> None:
    _, end, theirs = ends
    theirs.send(b"farewell")
    theirs.close()
    sent: list[str] = []
    end.courier.send(b"too late", (), lambda: sent.append("sent"))
    assert end.data == b"farewell"
    assert len(end.ends) == 1
    assert sent == []


def test_closing_in_a_hurry_drops_what_waits(ends: Ends) -> None:
    watch, end, theirs = ends
    end.courier.send(b"left")
    end.courier.send(bytes(1 << 22))
    end.courier.close(flush=False)
    assert watch.descriptors == []
    theirs.settimeout(5.0)
    count = 0
    while data := theirs.recv(1 << 20):
        count += len(data)
    assert count < 4 + (1 << 22)
    assert end.ends == []


def test_after_a_cut_no_descriptor_is_taken_for_another(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, end, theirs = ends
    real = fdpass.receive

    def cut(sock: socket.socket, size: int) -> fdpass.Parcel:
        parcel = real(sock, size)
        return fdpass.Parcel(parcel.data, parcel.fds, cut=True)

    monkeypatch.setattr(fdpass, "receive", cut)
    fdpass.send(theirs, b"one", [theirs.fileno()] * 2)
    watch.turn(now() + 1.0)
    monkeypatch.setattr(fdpass, "receive", real)
    fdpass.send(theirs, b"two", [theirs.fileno()])
    watch.turn(now() + 1.0)
    assert (end.data, end.fds) == (b"onetwo", [])


def test_who_waits_may_change_his_mind_while_he_is_called() -> None:
    watch = Watch()
    pipes = [os.pipe() for _ in range(2)]
    called: list[int] = []

    def once(number: int, other: int) -> None:
        called.append(number)
        watch.remove(number)
        watch.remove(other)

    (first, _), (second, _) = pipes
    watch.add(first, lambda mask: once(first, second))
    watch.add(second, lambda mask: once(second, first))
    for _, write in pipes:
        os.write(write, b"!")
    watch.turn(now() + 1.0)
    assert len(called) == 1
    assert watch.descriptors == []
    began = now()
    watch.turn(began + 0.01)
    assert now() >= began + 0.01
    fdpass.close_all(fd for both in pipes for fd in both)
