"""Clients between processes, and who is asked for them."""

from __future__ import annotations

import os
import socket
import threading

from lbproto.machine.events import PeerInfo
from lbproto.processes.channel import Kind, Message, MessageReader, encode
from lbproto_runtimes.collection import Collection
from lbproto_runtimes.moved import (
    LOST,
    Moved,
    claim,
    disclaim,
    is_claimed,
    message,
    unpack,
)

PEER = PeerInfo("192.0.2.1", 4711, "198.51.100.1:443")


def moved() -> Moved:
    return Moved("tcp:127.0.0.1:80", PEER, True, socket.socket())


def test_a_client_arrives_as_it_left() -> None:
    one = moved()
    with one.sock:
        told = message([one, one])
        [again] = MessageReader().receive(encode(told), told.fds)
        copies = tuple(os.dup(fd) for fd in again.fds)
        found = unpack(Message(Kind.IDLE, again.fields, copies))
        assert [(it.key, it.peer, it.proxied) for it in found] == [
            (one.key, PEER, True)
        ] * 2
        for it in found:
            assert os.path.sameopenfile(it.sock.fileno(), one.sock.fileno())
            it.sock.close()


def test_one_that_got_lost_is_left_out() -> None:
    one = moved()
    with one.sock:
        told = message([one])
        assert unpack(Message(Kind.IDLE, told.fields, (LOST,))) == []


def test_one_process_claims_a_client_and_its_copies_show_that() -> None:
    with socket.socket() as sock, sock.dup() as copy:
        assert not is_claimed(copy)
        assert claim(sock)
        assert is_claimed(copy)
        assert not claim(copy)
        disclaim(copy)
        assert claim(sock)


class Crowd:
    """Three who are asked."""

    def __init__(self, most: int) -> None:
        self.results: list[tuple[int, int]] = []
        self.collection = Collection(
            ["tcp:127.0.0.1:80"],
            most,
            lambda found, left: self.results.append((len(found), left)),
            {"a": None, "b": None, "c": None},
            threading.Condition(),
        )
        self.sockets: list[Moved] = []

    def give(self) -> Moved:
        self.sockets.append(moved())
        return self.sockets[-1]

    def close(self) -> None:
        for one in self.sockets:
            one.sock.close()


def test_the_last_answer_tells_the_result_once() -> None:
    crowd = Crowd(10)
    crowd.collection.ask("a", crowd.give)
    crowd.collection.ask("b", lambda: None)
    assert crowd.results == []
    crowd.collection.answer("c", None, left=False)
    assert crowd.results == [(1, 1)]
    crowd.collection.answer("c", None, left=False)
    crowd.collection.finish()
    assert crowd.results == [(1, 1)]
    crowd.close()


def test_no_more_are_taken_than_there_is_room_for() -> None:
    crowd = Crowd(1)
    crowd.collection.ask("a", lambda: None)  # takes no room
    crowd.collection.ask("b", crowd.give)
    crowd.collection.ask("c", crowd.give)
    assert crowd.results == [(1, 2)]
    assert len(crowd.sockets) == 1
    crowd.close()
