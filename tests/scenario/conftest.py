"""Scenarios that use `world` run with every codec."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scenario import world


@pytest.fixture(params=["native", "h11"])
def every_framing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make services of `world` with one codec, then with the other."""
    before, world.FRAMING = world.FRAMING, request.param
    yield
    world.FRAMING = before
