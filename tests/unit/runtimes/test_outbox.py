"""Writes at the end of a turn: in order, and never too many bytes late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from lbproto_runtimes.outbox import MOST, Outbox

Log = list[tuple[Any, bytes]]
"""What was written, and to whom."""


class Loop:
    """Notes what is to be called at the end of the turn."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def call_soon(self, call: Callable[[], None]) -> None:
        self.soon.append(call)

    def turn(self) -> None:
        calls, self.soon = self.soon, []
        for call in calls:
            call()


class Transport(asyncio.Transport):
    """Notes what is written, and may answer that."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self.log = log
        self.closing = False
        self.then: Callable[[], None] = lambda: None

    def write(self, data: Any) -> None:
        self.log.append((self, data))
        self.then()

    def is_closing(self) -> bool:
        return self.closing


@pytest.fixture
def loop() -> Any:
    return Loop()


@pytest.fixture
def log() -> Log:
    return []


def test_what_is_little_waits_for_the_end_of_the_turn(loop: Any, log: Log) -> None:
    outbox, one, other = Outbox(loop), Transport(log), Transport(log)
    for transport, data in [(one, b"a"), (other, b"b"), (one, b"c")]:
        outbox.write(transport, data)
    assert log == []
    assert len(loop.soon) == 1
    loop.turn()
    assert log == [(one, b"a"), (other, b"b"), (one, b"c")]
    loop.turn()
    assert len(log) == 3


def test_what_is_much_is_written_behind_what_waits(loop: Any, log: Log) -> None:
    outbox, one = Outbox(loop), Transport(log)
    outbox.write(one, b"a")
    outbox.write(one, b"x" * MOST)
    assert log == [(one, b"a"), (one, b"x" * MOST)]
    loop.turn()
    assert len(log) == 2


def test_nothing_is_written_to_a_transport_that_was_aborted(
    loop: Any, log: Log
) -> None:
    outbox, one = Outbox(loop), Transport(log)
    outbox.write(one, b"a")
    one.closing = True
    outbox.flush()
    assert log == []


def test_a_write_that_makes_another_one_does_not_repeat_any(
    loop: Any, log: Log
) -> None:
    outbox, one, other = Outbox(loop), Transport(log), Transport(log)

    def answer() -> None:  # as `pause_writing` may
        one.then = lambda: None
        outbox.write(other, b"b")

    one.then = answer
    outbox.write(one, b"a")
    loop.turn()
    assert log == [(one, b"a")]
    loop.turn()
    assert log == [(one, b"a"), (other, b"b")]
