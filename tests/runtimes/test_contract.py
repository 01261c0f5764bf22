"""Every runtime of ours keeps the contract, and one that breaks it is found out.

What is broken is made of a good runtime: something between it and the machines
bends what one of them says.
"""

from __future__ import annotations

import os
import re
import threading
import unittest
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import lbproto_runtimes
from lbproto.config import Listen
from lbproto.machine.effects import Close, Effect, SetReading
from lbproto.machine.events import (
    Connected,
    Data,
    Eof,
    Event,
    Lost,
    Relayed,
    Secured,
    Settled,
    Wake,
    WriteBlocked,
)
from lbproto.machine.values import ConnId
from lbproto_runtimes.aio import AsyncioRuntime
from lbproto_runtimes.api import Serving
from lbproto_runtimes.contract import CHECKS, CLAUSES, Check
from lbproto_runtimes.contract.__main__ import main
from lbproto_runtimes.contract.probe import Probe, World
from tests.certificates import Authority

DOCS = Path(__file__).parents[2] / "docs"

BY_NAME = {check.name: check for check in CHECKS}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_a_runtime_keeps_the_contract(
    check: Check, runtime: str, authority: Authority
) -> None:
    check.run(lbproto_runtimes.load(runtime), authority.issue("a.test"))


@pytest.mark.parametrize("check", CHECKS, ids=str)
@pytest.mark.parametrize("runtime", ["threads", "gevent"])
def test_a_runtime_keeps_the_contract_with_an_attendant_for_each_client(
    check: Check, runtime: str, authority: Authority
) -> None:
    kind: Any = type(lbproto_runtimes.load(runtime))
    check.run(kind(attended=True), authority.issue("a.test"))


def test_each_clause_is_checked() -> None:
    assert {check.clause for check in CHECKS} == set(CLAUSES) == set(range(1, 16))
    assert len(BY_NAME) == len(CHECKS)


@pytest.mark.parametrize("page", ["architecture.md", "contract.md"])
def test_the_clauses_are_those_of_the_documentation(page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    items = re.findall(r"^(\d+)\. (.+(?:\n {3,}.+)*)", text, re.MULTILINE)
    clauses = [(int(number), " ".join(words.split())) for number, words in items]
    assert clauses[-15:] == list(CLAUSES.items())


def test_without_a_certificate_checks_of_tls_are_skipped() -> None:
    check = next(check for check in CHECKS if check.needs_certificate)
    with pytest.raises(unittest.SkipTest):
        check.run(AsyncioRuntime())


# -- runtimes that break it ---------------------------------------------------

Bend = Callable[[Probe, Event, float], list[Effect]]


class Bent:
    """A machine that hears something else than what is said."""

    def __init__(self, probe: Probe, bend: Bend, later: float, scale: float) -> None:
        self.probe = probe
        self.bend = bend
        self.later = later
        self.scale = scale

    @property
    def deadline(self) -> float:
        return (self.probe.deadline + self.later) / self.scale

    def handle(self, event: Event, now: float, /) -> list[Effect]:
        return self.bend(self.probe, event, now * self.scale)


class BentGateway:
    def __init__(self, world: Any, bent: Callable[[Probe], Bent]) -> None:
        self.world = world
        self.bent = bent
        self.sites = world.sites
        self.housekeeping = world.housekeeping
        self.mint = world.mint

    def connection(self, service: str, conn: ConnId, listen: Listen) -> Bent:
        return self.bent(self.world.connection(service, conn, listen))


def plainly(probe: Probe, event: Event, now: float) -> list[Effect]:
    return probe.handle(event, now)


class Broken:
    """A runtime that says something else than what happens."""

    def __init__(
        self, bend: Bend = plainly, later: float = 0.0, scale: float = 1.0
    ) -> None:
        self.bent = lambda probe: Bent(probe, bend, later, scale)

    def serve(
        self,
        gateway: Any,
        listeners: Sequence[Any],
        logs: Any,
        ready: Callable[[Serving], None],
        contexts: Any = None,
    ) -> None:
        bent: Any = BentGateway(gateway, self.bent)
        AsyncioRuntime().serve(bent, listeners, logs, ready, contexts)


def elsewhere(probe: Probe, event: Event, now: float) -> list[Effect]:
    """Feed each event from a thread of its own."""
    found: list[Effect] = []
    thread = threading.Thread(target=lambda: found.extend(probe.handle(event, now)))
    thread.start()
    thread.join()
    return found


def backwards(probe: Probe, event: Event, now: float) -> list[Effect]:
    return probe.handle(event, -now)


def last_first(probe: Probe, event: Event, now: float) -> list[Effect]:
    return probe.handle(event, now)[::-1]


def reading_on(probe: Probe, event: Event, now: float) -> list[Effect]:
    effects = probe.handle(event, now)
    return [effect for effect in effects if not isinstance(effect, SetReading)]


def aborting(probe: Probe, event: Event, now: float) -> list[Effect]:
    return [
        replace(effect, abort=True) if isinstance(effect, Close) else effect
        for effect in probe.handle(event, now)
    ]


def untold(probe: Probe, event: Event, now: float) -> list[Effect]:
    """Keep to itself what was relayed."""
    return [] if isinstance(event, Relayed) else probe.handle(event, now)


def silent(probe: Probe, event: Event, now: float) -> list[Effect]:
    """Drop effects on connections that are not there."""
    effects = probe.handle(event, now)
    return [it for it in effects if getattr(it, "conn", 0) in (probe.conn, 0)]


def twice(kind: type[Event]) -> Bend:
    """Tell each event of a kind twice."""

    def bend(probe: Probe, event: Event, now: float) -> list[Effect]:
        again = probe.handle(event, now) if isinstance(event, kind) else []
        return again + probe.handle(event, now)

    return bend


def before(kind: type[Event], told: Callable[[Any], Event]) -> Bend:
    """Tell something before each event of a kind."""

    def bend(probe: Probe, event: Event, now: float) -> list[Effect]:
        early = probe.handle(told(event), now) if isinstance(event, kind) else []
        return early + probe.handle(event, now)

    return bend


@pytest.mark.parametrize(
    ("runtime", "name", "verdict"),
    [
        (Broken(elsewhere), "time_does_not_run_back", "clause 1: fed by"),
        (Broken(backwards), "time_does_not_run_back", "time ran back"),
        (Broken(scale=10.0), "the_clock_counts_seconds", r"0\.\d+ s"),
        (
            Broken(last_first),
            "effects_come_in_order_and_before_the_next_event",
            "'Data', 'second', 'first'",
        ),
        (Broken(last_first), "what_is_sent_stays_in_order", "not in order"),
        (
            Broken(reading_on),
            "after_a_pause_at_most_one_read_follows",
            "Data after the pause",
        ),
        (Broken(twice(Eof)), "opened_is_the_first_event", "Eof came twice"),
        (Broken(twice(Lost)), "a_reset_is_a_loss_without_an_end", "came after Lost"),
        (
            Broken(before(Data, lambda it: Eof(it.conn))),
            "data_is_never_empty_and_never_large",
            "Data came after Eof",
        ),
        (
            Broken(twice(Settled)),
            "what_is_awaited_is_settled_once",
            "clause 14: ticket 7 was settled more than once",
        ),
        (Broken(aborting), "close_flushes", "clause 7"),
        (Broken(later=-0.005), "wake_is_not_early_and_not_always_late", "early"),
        (Broken(later=0.1), "wake_is_not_early_and_not_always_late", "always late"),
        (
            Broken(twice(WriteBlocked)),
            "a_machine_is_not_reentered",
            "WriteBlocked came twice",
        ),
        (
            Broken(twice(Connected)),
            "connected_comes_before_any_data",
            "1 Connect, 2 answers",
        ),
        (
            Broken(before(Secured, lambda it: Data(it.conn, b"early"))),
            "close_gives_up_on_a_peer_that_does_not_read_tls",
            "Data came before Secured",
        ),
        (
            Broken(before(Data, lambda it: Data(it.conn, b""))),
            "nothing_comes_after_close",
            "Data with 0 bytes",
        ),
        (
            Broken(before(Data, lambda it: Data(it.conn, bytes(300_000)))),
            "a_client_that_has_ended_is_still_answered",
            "Data with 300000 bytes",
        ),
        (
            Broken(untold),
            "what_may_be_relayed_arrives_whole",
            "clause 15",
        ),
        (
            Broken(silent),
            "send_of_an_unknown_connection_is_an_error",
            "clause 12",
        ),
    ],
)
def test_what_breaks_the_contract_is_found(
    runtime: Broken,
    name: str,
    verdict: str,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What is waited for in vain is not worth waiting for.
    monkeypatch.setattr("lbproto_runtimes.contract.peers.PATIENCE", 2.0)
    monkeypatch.setattr("lbproto_runtimes.contract.probe.PATIENCE", 2.0)
    with pytest.raises(AssertionError, match=verdict):
        BY_NAME[name].run(runtime, authority.issue("a.test"))


def test_a_machine_that_is_reentered_notes_it() -> None:
    world = World()
    probe = Probe(world, ConnId(1))

    def react(again: Probe, event: Event) -> list[Effect]:
        return again.handle(Lost(again.conn, ""), 1.0) if event == Wake() else []

    world.react = react
    probe.deadline = 0.0
    probe.handle(Wake(), 1.0)
    assert "while busy" in probe.broken[0]


class Careless(Broken):
    """Leaves a descriptor open."""

    def serve(self, *args: Any, **keys: Any) -> None:
        super().serve(*args, **keys)
        opened.append(os.dup(0))


class Raising(Broken):
    def serve(self, *args: Any, **keys: Any) -> None:
        raise RuntimeError("cannot serve")


opened: list[int] = []


@pytest.mark.parametrize(
    ("runtime", "verdict"), [(Careless(), "left open"), (Raising(), "cannot serve")]
)
def test_what_a_runtime_leaves_behind_is_found(
    runtime: Broken, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lbproto_runtimes.contract.stage.LATE", 0.1)
    try:
        with pytest.raises(AssertionError, match=verdict):
            BY_NAME["close_flushes"].run(runtime)
    finally:
        while opened:
            os.close(opened.pop())


# -- the command --------------------------------------------------------------


def test_the_command_says_what_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["asyncio", "close_flushes", "half_close_is_close"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ok       7 close_flushes",
        "skipped  6 half_close_is_close_notify: there is no certificate to speak TLS"
        " with",
    ]


def test_the_command_says_what_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    name = "tests.runtimes.test_contract:Aborting"
    assert main([name, "close_flushes", "opened_is"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ok       3 opened_is_the_first_event"
    assert lines[1] == "FAILED   7 close_flushes"
    assert any(line.startswith("    clause 7: `Close` flushes") for line in lines)
    assert lines[-1] == "1 of 2 checks failed"


class Aborting(Broken):
    def __init__(self) -> None:
        super().__init__(aborting)


def test_the_command_speaks_tls(
    authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    one = authority.issue("a.test")
    arguments = ["--cert", one.cert, "--key", one.key, "asyncio", "tls_may_have"]
    assert main(arguments) == 0
    assert capsys.readouterr().out == "ok      10 tls_may_have_begun_already\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nosuch"],
        ["nosuch:Runtime"],
        ["lbproto_runtimes.aio:Nothing"],
        ["asyncio", "no such check"],
        ["asyncio", "--cert", "a.pem"],
    ],
)
def test_the_command_refuses_what_it_does_not_know(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
