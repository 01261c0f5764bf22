"""Waiting for descriptors."""

from __future__ import annotations

import math
import os
import time

from lbproto_runtimes.watch import Watch


def test_who_wants_to_know_is_told_what_is_ready() -> None:
    watch, told = Watch(), list[int]()
    reader, writer = os.pipe()
    watch.add(reader, told.append)
    os.write(writer, b"x")
    watch.turn(math.inf)
    assert len(told) == 1
    watch.remove(reader)
    watch.turn(time.monotonic())
    assert len(told) == 1
    os.close(reader)
    os.close(writer)


def test_a_number_that_is_given_out_anew_is_another_descriptor() -> None:
    watch, told = Watch(), list[str]()
    first, second, other = os.pipe(), os.pipe(), os.pipe()
    numbers = {first[0]: second[0], second[0]: first[0]}

    def replaced(mine: int) -> None:
        """Whoever is called first closes the other one, and its number goes on."""
        told.append("ready")
        number = numbers[mine]
        watch.remove(number)
        os.dup2(other[0], number)
        watch.add(number, lambda mask: told.append("stale"))

    for mine in numbers:
        watch.add(mine, lambda mask, mine=mine: replaced(mine))
    os.write(first[1], b"x")
    os.write(second[1], b"x")
    watch.turn(math.inf)
    assert told == ["ready"], "the other one is not ready"
    for one in (*first, *second, *other):
        os.close(one)
