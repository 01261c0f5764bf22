"""Servers that move clients in the wrong way are found out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from lbproto_runtimes.aio import AsyncioRuntime
from lbproto_runtimes.api import Serving
from lbproto_runtimes.contract import CHECKS
from lbproto_runtimes.moved import Moved

BY_NAME = {check.name: check for check in CHECKS}


class Through:
    """Passes on what a server is told; those below bend one thing."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving

    def __getattr__(self, name: str) -> Any:
        return getattr(self.serving, name)


class HoldsNothing(Through):
    def hold(self, keys: Sequence[str], held: Callable[[], object]) -> None:
        self.serving.hold([], held)


class HoldsAll(Through):
    def hold(self, keys: Sequence[str], held: Callable[[], object]) -> None:
        everything = [key for key in KEYS if keys]
        self.serving.hold(everything, held)

    def accept(self, keys: Sequence[str]) -> None:
        pass


class NeverSaysHeld(Through):
    def hold(self, keys: Sequence[str], held: Callable[[], object]) -> None:
        self.serving.hold(keys, lambda: None)


class Collects(Through):
    def __init__(
        self,
        serving: Serving,
        bend: Callable[[list[Moved], int], tuple[list[Moved], int]],
        *,
        most: int | None = None,
        twice: bool = False,
    ) -> None:
        super().__init__(serving)
        self.bend, self.most, self.twice = bend, most, twice

    def collect(self, keys: Sequence[str], most: int, found: Any) -> None:
        def answer(moved: Sequence[Moved], left: int) -> None:
            for _ in range(1 + self.twice):
                found(*self.bend(list(moved), left))

        self.serving.collect(keys, self.most or most, answer)


class TakesPlainly(Through):
    """As clients that were just accepted, from somebody else."""

    def take(self, moved: Sequence[Moved]) -> None:
        peers = [replace(one.peer, port=1) for one in moved]
        changed = [
            replace(one, peer=peer) for one, peer in zip(moved, peers, strict=True)
        ]
        self.serving.take(changed)


class KeepsStrangers(Through):
    def take(self, moved: Sequence[Moved]) -> None:
        kept.extend(moved)


class DrainsOnce(Through):
    def drain(self, grace: float, timeout: float) -> None:
        if grace:
            self.serving.drain(grace, timeout)


KEYS: list[str] = []
kept: list[Moved] = []


def shut(moved: list[Moved], left: int) -> tuple[list[Moved], int]:
    """Say goodbye to those that are given up."""
    for one in moved:
        one.sock.shutdown(2)
    return moved, left


class Broken:
    """asyncio's runtime, whose server is bent."""

    def __init__(self, bent: Callable[[Serving], Any]) -> None:
        self.bent = bent

    def serve(
        self,
        gateway: Any,
        listeners: Sequence[Any],
        logs: Any,
        ready: Callable[[Serving], None],
        contexts: Any = None,
    ) -> None:
        KEYS[:] = [listener.key for listener in listeners]
        AsyncioRuntime().serve(
            gateway, listeners, logs, lambda it: ready(self.bent(it)), contexts
        )


@pytest.mark.parametrize(
    ("bent", "name", "verdict"),
    [
        (HoldsNothing, "a_held_listener_leaves_clients_in_the_queue", "has accepted"),
        (NeverSaysHeld, "a_held_listener_leaves_clients_in_the_queue", "never called"),
        (HoldsAll, "a_held_listener_leaves_clients_in_the_queue", "timed out"),
        (HoldsAll, "other_listeners_are_not_held", "timed out"),
        (
            lambda it: Collects(it, shut),
            "idle_clients_are_given_up_and_no_others",
            "",
        ),
        (
            lambda it: Collects(it, lambda moved, left: (moved, left + 1)),
            "idle_clients_are_given_up_and_no_others",
            "",
        ),
        (
            lambda it: Collects(it, lambda moved, left: (moved, left), most=10),
            "no_more_clients_are_given_up_than_there_is_room_for",
            "",
        ),
        (
            lambda it: Collects(it, lambda moved, left: (moved, left), twice=True),
            "without_clients_there_is_an_answer",
            "called 2 times",
        ),
        (TakesPlainly, "a_client_that_is_taken_goes_on", ""),
        (KeepsStrangers, "a_client_of_a_strange_listener_is_closed", "timed out"),
        (DrainsOnce, "who_drains_can_be_told_again", "timed out"),
    ],
)
def test_what_moves_clients_wrongly_is_found(
    bent: Callable[[Serving], Any],
    name: str,
    verdict: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What is waited for in vain is not worth waiting for.
    for module in ("peers", "probe", "stage"):
        monkeypatch.setattr(f"lbproto_runtimes.contract.{module}.PATIENCE", 1.0)
    monkeypatch.setattr("lbproto_runtimes.contract.stage.LATE", 0.1)
    try:
        with pytest.raises(AssertionError, match=f"(?s){verdict}.*clause 13"):
            BY_NAME[name].run(Broken(bent))
    finally:
        while kept:
            kept.pop().sock.close()
