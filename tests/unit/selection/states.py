"""Backends for the tests of policies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from random import Random

from lbproto.machine.effects import Target
from lbproto.selection.backend import BackendId, BackendState
from lbproto.selection.policy import Policy

__all__ = ["at", "backends", "chance", "letters", "shares"]


def at(*addresses: str) -> list[BackendState]:
    """Backends at these addresses, each `address` or `address*weight`."""
    states = []
    for number, text in enumerate(addresses):
        address, _, weight = text.partition("*")
        if address.startswith("unix:"):
            target = Target("", 0, address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            target = Target(host.strip("[]"), int(port))
        states.append(BackendState(BackendId(number), "web", target, int(weight or 1)))
    return states


def backends(*weights: int) -> list[BackendState]:
    return at(*(f"10.0.0.{at}:80*{weight}" for at, weight in enumerate(weights, 1)))


def chance(seed: int = 1) -> Callable[[], float]:
    return Random(seed).random


def letters(picked: Iterable[BackendState | None]) -> str:
    """The names of the chosen: a is the first backend, - nobody."""
    return "".join("-" if one is None else "abcdefghijkl"[one.id] for one in picked)


def shares(policy: Policy, picks: int, keys: Sequence[bytes] = (b"",)) -> Counter[int]:
    """How often each backend is picked."""
    chosen = (policy.pick(keys[turn % len(keys)], 0.0) for turn in range(picks))
    return Counter(one.id for one in chosen if one is not None)
