"""Every vector of the catalogue, whole, byte by byte and in random cuts."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from lbproto.testing import cuts
from tests.scenario import vectors

ALL = {vector["id"]: vector for vector in vectors.load()}


def random_cuts(seed: int) -> vectors.Cut:
    def cut(data: bytes) -> Sequence[bytes]:
        source = random.Random(f"{seed}{len(data)}")
        count = source.randint(1, 12)
        return cuts.at(data, [source.randrange(len(data) + 1) for _ in range(count)])

    return cut


WAYS: dict[str, vectors.Cut] = {
    "whole": cuts.whole,
    "bytewise": cuts.bytewise,
    **{f"random{seed}": random_cuts(seed) for seed in range(6)},
}


@pytest.mark.parametrize("framing", ["native", "h11"])
@pytest.mark.parametrize("name", ALL)
def test_vector(name: str, framing: vectors.Framing) -> None:
    vector = ALL[name]
    # A vector that prescribes its own cut means it.
    only = {"1": "bytewise", "none": "whole"}.get(vector.get("split", ""))
    ways = WAYS if only is None else [only]
    wrong = {way: vectors.run(vector, WAYS[way], framing) for way in ways}
    assert {way: what for way, what in wrong.items() if what} == {}


def test_the_catalogue_is_there() -> None:
    assert len(ALL) >= 1000


def test_upgrade_that_is_declined_is_followed_by_an_ordinary_request() -> None:
    # `upg-premature` without its rule that denies the second path: what the
    # client sent behind its offer is a request, and no byte of a tunnel.
    vector = dict(ALL["upg-premature"])
    vector["config"] = {"allow_upgrade": ["websocket"]}
    vector["expect"] = {
        **vector["expect"],
        "backend_must_not_contain": [],
        "requests_out": 2,
    }
    for cut in WAYS.values():
        assert vectors.run(vector, cut, "native") == []
        assert vectors.run(vector, cut, "h11") == []
