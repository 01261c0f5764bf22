from __future__ import annotations

import gc
import math
import sys

import pytest

from lbproto.machine.effects import Close, Effect, HalfClose, Level, Log, Send
from lbproto.machine.events import Data, Eof, Event
from lbproto.machine.values import ConnId
from lbproto.testing.playbook import Playbook, a

ONE = ConnId(1)


class Echo:
    """A machine that says everything back, and logs it."""

    deadline = math.inf

    def handle(self, event: Event, now: float, /) -> list[Effect]:
        match event:
            case Data(conn, data):
                return [Log(Level.INFO, "echo", {}), Send(conn, data)]
            case Eof(conn):
                return [HalfClose(conn), Close(conn)]
            case _:
                return []


def test_a_transcript_that_is_as_written_is_true() -> None:
    play = Playbook(Echo())
    play >> Data(ONE, b"a")
    play << Send(ONE, b"a")
    play.at(1.0) >> Eof(ONE)
    play << HalfClose(ONE)
    play << a(Close, conn=ONE)
    assert play
    assert play.now == 1.0


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        ([Send(ONE, b"b")], "came: Send"),
        ([], "came: Send"),
        ([Send(ONE, b"a"), Close(ONE)], "came: nothing came"),
        ([a(Close)], r"a\(Close\)"),
        ([a(Send, data=b"b")], r"a\(Send, data=b'b'\)"),
        ([a(Send, data=lambda data: len(data) > 1)], "came: Send"),
    ],
)
def test_a_transcript_that_is_not_as_written_is_shown(
    wanted: list[Effect], complaint: str
) -> None:
    play = Playbook(Echo())
    play >> Data(ONE, b"a")
    for one in wanted:
        play << one
    with pytest.raises(AssertionError, match=complaint):
        assert play


def test_an_order_must_be_expected_before_the_next_fact() -> None:
    play = Playbook(Echo())
    play >> Data(ONE, b"a")
    play >> Data(ONE, b"b")
    play << Send(ONE, b"b")
    with pytest.raises(AssertionError, match="nothing"):
        assert play


def test_kinds_that_are_not_ignored_must_be_expected() -> None:
    play = Playbook(Echo(), ignore=())
    play >> Data(ONE, b"a")
    play << a(Log, message="echo") << a(Send, data=lambda data: data == b"a")
    assert play


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    seen: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda hook: seen.append(hook.exc_value))
    return seen


def test_a_transcript_must_be_asserted(unraisable: list[object]) -> None:
    play = Playbook(Echo())
    play >> Eof(ONE)
    del play
    gc.collect()
    assert "never asserted" in str(unraisable[0])
