"""What an exchange leaves behind: nothing that only the garbage collector finds."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from bench.core import SETTINGS, core_alone


@pytest.fixture
def collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("collector")
def test_an_exchange_leaves_no_cycles() -> None:
    core_alone(SETTINGS[0], 1)
    few = gc.collect()
    core_alone(SETTINGS[0], 1000)
    assert gc.collect() < few + 100  # the balancer's own, whatever happened
