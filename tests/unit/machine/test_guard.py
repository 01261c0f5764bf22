"""What is held while shared state changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest

from lbproto.machine.guard import Guard


def test_a_lock_is_held_within():
    lock = threading.Lock()
    with Guard(lock):
        assert lock.locked()
    assert not lock.locked()


def test_an_error_passes_and_the_lock_is_free():
    lock = threading.Lock()
    with pytest.raises(KeyError), Guard(lock):
        raise KeyError
    assert not lock.locked()


def test_a_context_that_is_no_lock_is_left_as_any():
    said: list[str] = []

    @contextmanager
    def context() -> Iterator[None]:
        said.append("in")
        yield
        said.append("out")

    with Guard(context()):
        assert said == ["in"]
    assert said == ["in", "out"]


def test_where_nothing_runs_beside_us_nothing_is_held():
    with Guard(nullcontext()):
        pass
