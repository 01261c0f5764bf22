"""What waits while a coroutine of an application runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lbproto.machine.compilation import COMPILED
from lbproto.machine.events import (
    Connected,
    ConnectError,
    ConnectFailed,
    Data,
    Eof,
    Event,
    Lost,
    Settled,
    Wake,
    WriteBlocked,
    WriteUnblocked,
)
from lbproto.machine.values import ConnId
from lbproto.proxy.recess import Recess

CLIENT, BACKEND = ConnId(1), ConnId(2)
LATER: list[Event] = [
    Data(CLIENT, b"x"),
    Eof(CLIENT),
    Data(BACKEND, b"x"),
    Eof(BACKEND),
    Lost(BACKEND, "reset"),
    Connected(BACKEND),
    ConnectFailed(BACKEND, ConnectError.REFUSED, "refused"),
    WriteBlocked(BACKEND),
    WriteUnblocked(BACKEND),
]
AT_ONCE: list[Event] = [
    Lost(CLIENT, "reset"),
    WriteBlocked(CLIENT),
    WriteUnblocked(CLIENT),
    Wake(),
    Settled(CLIENT, 1, None),
]


def test_nothing_waits_for_nobody() -> None:
    recess = Recess(CLIENT)
    for event in LATER + AT_ONCE:
        assert list(recess.timely(event)) == [event]


@pytest.mark.skipif(COMPILED, reason="it takes none but a real caller")
def test_what_ends_an_exchange_does_not_wait_and_the_rest_does_in_order() -> None:
    recess = Recess(CLIENT)
    gone: list[ConnId] = []
    caller: Any = SimpleNamespace(gone=gone.append)
    recess.held_by = caller
    for event in LATER:
        assert list(recess.timely(event)) == []
    for event in AT_ONCE:
        assert list(recess.timely(event)) == [event]
    assert gone == [BACKEND, BACKEND]  # no order may name it from now on
    recess.held_by = None
    assert list(recess.timely(Wake())) == [Wake(), *LATER]


def test_an_answer_for_nobody_is_ignored() -> None:
    recess = Recess(CLIENT)
    recess.settled(Settled(CLIENT, 7, None), 0.0)
    assert not recess.on
