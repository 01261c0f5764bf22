"""Coroutines on a virtual clock."""

from __future__ import annotations

import math
from typing import Any

from lbproto.machine.effects import Await
from lbproto.machine.values import ConnId
from lbproto.testing.awaited import Awaited, sleep

MACHINE: Any = object()


async def wait(seconds: float) -> str:
    await sleep(seconds)
    return "done"


def test_a_coroutine_runs_when_its_time_has_come() -> None:
    awaited = Awaited()
    assert awaited.deadline == math.inf
    awaited.begin(MACHINE, Await(ConnId(1), 5, wait(2.0)), 1.0)
    assert len(awaited) == 1
    assert awaited.deadline == 1.0
    assert awaited.ripe(1.0) is None
    assert awaited.deadline == 3.0
    found = awaited.ripe(3.0)
    assert found is not None
    machine, settled = found
    assert machine is MACHINE
    assert (settled.ticket, settled.result) == (5, "done")
    assert awaited.ripe(3.0) is None


def test_what_is_cancelled_never_answers() -> None:
    awaited = Awaited()
    awaited.begin(MACHINE, Await(ConnId(1), 5, wait(2.0)), 0.0)
    awaited.ripe(0.0)
    awaited.cancel(MACHINE, 5)
    awaited.cancel(MACHINE, 5)
    assert awaited.ripe(9.0) is None
