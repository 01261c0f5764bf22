"""Listening sockets: all of them or none, and no file that is not ours."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from lbproto.config import Config, Listen, Service
from lbproto.machine.effects import Target
from lbproto_runtimes.listen import BindError, Listener, bind, unlink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOOPBACK = Target("127.0.0.1", 0)


def config(*targets: Target) -> Config:
    listens = tuple(Listen(target=target) for target in targets)
    service = Service(name="web", upstream="web", listen=listens)
    return Config(services=(service,), upstreams={})


@contextmanager
def bound(*targets: Target) -> Iterator[list[Listener]]:
    listeners = bind(config(*targets))
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.socket.close()
        unlink(listeners)


def unix(path: Path) -> Target:
    return Target("", 0, str(path))


def stale(path: Path) -> None:
    """Leave a socket file behind, as a process that was killed does."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()


def refused(*targets: Target) -> str:
    with pytest.raises(BindError) as caught:
        bind(config(*targets))
    return str(caught.value)


def test_a_listener_tells_its_real_port_and_takes_connections() -> None:
    with bound(LOOPBACK) as (listener,):
        assert listener.service.name == "web"
        assert listener.target.host == "127.0.0.1"
        assert listener.target.port == listener.socket.getsockname()[1] > 0
        with socket.create_connection(("127.0.0.1", listener.target.port), timeout=10):
            pass


def test_sockets_neither_block_nor_go_to_children() -> None:
    with bound(LOOPBACK) as (listener,):
        assert listener.socket.getblocking() is False
        assert listener.socket.get_inheritable() is False
        assert listener.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        with pytest.raises(BlockingIOError):
            listener.socket.accept()


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6_does_not_take_ipv4_along() -> None:
    with bound(Target("::1", 0)) as (listener,):
        assert listener.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        assert str(listener.target).startswith("[::1]:")


def test_an_address_in_use_is_named_and_the_others_are_given_back(
    tmp_path: Path,
) -> None:
    with bound(LOOPBACK) as (taken,):
        port = taken.target.port
        assert refused(unix(tmp_path / "lb"), Target("127.0.0.1", port)) == (
            f"could not listen on 127.0.0.1:{port}: address already in use"
        )
    assert os.listdir(tmp_path) == []


def test_an_address_of_another_machine_is_named() -> None:
    assert refused(Target("192.0.2.1", 6188)) == (
        "could not listen on 192.0.2.1:6188: cannot assign requested address"
    )


def test_a_unix_socket_goes_away_with_us(tmp_path: Path) -> None:
    path = tmp_path / "lb"
    with bound(unix(path)) as (listener,):
        assert str(listener.target) == f"unix:{path}"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    assert not path.exists()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "lb"
    stale(path)
    with bound(unix(path)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_live_socket_is_in_use_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "lb"
    with bound(unix(path)):
        assert refused(unix(path)) == (
            f"could not listen on unix:{path}: address already in use"
        )
        assert path.is_socket()


def test_a_live_socket_with_a_full_queue_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "lb"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as client:
        busy.bind(str(path))
        busy.listen(0)
        client.connect(str(path))
        assert refused(unix(path)).endswith(": address already in use")
    assert path.is_socket()


def test_a_datagram_socket_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "lb"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        assert refused(unix(path)).endswith(": address already in use")


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_never_removed(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "lb"
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        stale(tmp_path / "other")
        path.symlink_to(tmp_path / "other")
    assert refused(unix(path)) == (
        f"could not listen on unix:{path}: a file that is no socket is there"
    )
    assert os.path.lexists(path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none" / "lb"
    assert refused(unix(path)) == (
        f"could not listen on unix:{path}: no such file or directory"
    )


def test_a_path_that_is_too_long_is_named(tmp_path: Path) -> None:
    assert "too long" in refused(unix(tmp_path / ("x" * 200)))


def test_the_socket_of_a_successor_is_not_unlinked(tmp_path: Path) -> None:
    path = tmp_path / "lb"
    listeners = bind(config(unix(path)))
    path.rename(tmp_path / "kept")  # so that its inode is not used again
    successor = bind(config(unix(path)))
    unlink(listeners)
    assert path.is_socket()
    unlink(successor)
    assert not path.exists()
    for listener in listeners + successor:
        listener.socket.close()
