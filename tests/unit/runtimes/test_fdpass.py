"""Descriptors over sockets."""

from __future__ import annotations

import fcntl
import os
import resource
import socket
from collections.abc import Iterator

import pytest

from lbproto_runtimes import fdpass

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_descriptors_come_in_order_and_are_closed_when_programs_start(
    pair: Pair,
) -> None:
    pipes = [os.pipe() for _ in range(3)]
    assert fdpass.send(pair[0], b"three", [read for read, _ in pipes]) == 5
    assert fdpass.send(pair[0], b"none", []) == 4
    parcel = fdpass.receive(pair[1], 100)
    assert (parcel.data, len(parcel.fds), parcel.cut) == (b"three", 3, False)
    for fd, (_, write) in zip(parcel.fds, pipes, strict=True):
        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        os.write(write, b"%d" % write)
        assert os.read(fd, 10) == b"%d" % write
    assert fdpass.receive(pair[1], 100) == fdpass.Parcel(b"none", (), False)
    pair[0].close()
    assert fdpass.receive(pair[1], 100) == fdpass.Parcel(b"", (), False)
    fdpass.close_all([*parcel.fds, *(fd for both in pipes for fd in both)])


def test_what_the_kernel_leaves_out_is_noticed(pair: Pair) -> None:
    read, write = os.pipe()
    fdpass.send(pair[0], b"many", [read] * 50)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(read)  # of those that are free
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 4, limits[1]))
    try:
        parcel = fdpass.receive(pair[1], 100)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert parcel.cut
    assert parcel.data == b"many"
    assert len(parcel.fds) < 50
    fdpass.close_all([*parcel.fds, lowest, read, write])


def test_closing_is_no_matter_of_success() -> None:
    read, write = os.pipe()
    fdpass.close_all([read, write, read])
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(write)
