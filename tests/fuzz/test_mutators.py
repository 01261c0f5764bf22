"""Mutations are repeatable, bounded, and each of them does something."""

from __future__ import annotations

import random

import pytest

from fuzz.engine import mutator
from fuzz.mutators import MUTATIONS, Mutation, mutated

STREAM = (
    b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello"
    b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.__name__)
def test_each_changes_a_stream(mutation: Mutation) -> None:
    found = {mutation(random.Random(seed), STREAM) for seed in range(50)}
    assert len(found - {STREAM}) > 1


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("data", [b"x", b"\n", b"\r\n\r\n", b"\xff" * 9])
def test_each_takes_anything(mutation: Mutation, data: bytes) -> None:
    for seed in range(50):
        mutation(random.Random(seed), data)


def test_a_seed_gives_the_same_again_and_the_bound_holds() -> None:
    for seed in range(200):
        found = mutated(STREAM, 64, seed)
        assert found == mutated(STREAM, 64, seed)
        assert len(found) <= 64
    assert mutated(b"", 9, 1) == b"GET /smug"


def test_libfuzzer_has_every_other_turn_and_the_byte_in_front() -> None:
    mutate = mutator(lambda data, most: b"usual", 1)
    assert mutate(b"\7" + STREAM, 1000, 3) == b"usual"
    assert mutate(b"\7" + STREAM, 1, 4) == b"usual"
    for seed in range(0, 40, 2):
        found = mutate(b"\7" + STREAM, 50, seed)
        assert found[:1] == b"\7"
        assert len(found) <= 50
