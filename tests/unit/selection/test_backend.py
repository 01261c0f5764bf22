"""The state of a backend."""

from __future__ import annotations

import math

from lbproto.machine.effects import Target
from lbproto.selection.backend import BackendId, BackendState


def test_a_new_backend_is_rested_and_unused():
    state = BackendState(BackendId(0), "web", Target("10.0.0.1", 80))
    assert (state.weight, state.current, state.active) == (1, 0, 0)
    assert (state.leases, state.failures) == (0, 0)
    assert state.rests_until == -math.inf


def test_equal_looking_backends_are_not_one():
    first = BackendState(BackendId(0), "web", Target("10.0.0.1", 80))
    second = BackendState(BackendId(0), "web", Target("10.0.0.1", 80))
    assert first != second
