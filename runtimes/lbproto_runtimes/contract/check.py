"""A check of one clause of the contract, and the clauses themselves.

A check is a function of a `Stage` with a number. It fails with an `AssertionError`
that names the clause and tells what happened to the machines.
"""

from __future__ import annotations

import unittest
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from lbproto_runtimes.contract.stage import Serves, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lbproto.machine.tls import Certificate

__all__ = ["CLAUSES", "Check", "Play", "clause"]

CLAUSES: Final[Mapping[int, str]] = MappingProxyType(
    {
        1: "One thread feeds a machine, and `handle` is never re-entered: queue"
        " instead.",
        2: "`now` is monotonic, and the clock of `deadline`.",
        3: "Effects are carried out in order, all of them before the next event.",
        4: "What is sent on a connection stays in order.",
        5: "After `SetReading(False)` at most one more `Data` comes.",
        6: "`Eof` comes at most once, `Lost` at most once and last, nothing after"
        " `Close`.",
        7: "`Close` flushes for at most `patience` seconds; with `abort` it waits"
        " for nothing.",
        8: "`Wake` does not come before the deadline, and at most 50 ms late when"
        " idle.",
        9: "`WriteBlocked` and `WriteUnblocked` alternate.",
        10: "Each `Connect` is answered exactly once, unless it was closed first; an"
        " `Adopt` of a dead connection is answered with `ConnectFailed(STALE)`; a"
        " `StartTls` is answered with `Secured` or `Lost`, and no `Data` comes before"
        " that.",
        11: "`Data` is never empty, and at most 256 KiB.",
        12: "An effect that names an unknown connection is an error, not silence.",
        13: "From any thread a server can be told to hold listeners, to give idle"
        " clients up and to take others; it does, answers once, and touches nobody"
        " else. The machine of a client that it gives up hears `Lost`.",
        14: "Each `Await` is answered with one `Settled`, unless it was cancelled;"
        " meanwhile everything goes on. A runtime that cannot await says so in the"
        " answer.",
        15: "What comes from a connection with a `Relay` goes to its sink, whole and in"
        " order, or is `Data`. How much went there is told by `Relayed` before the"
        " machine hears anything else.",
    }
)
"""The contract of a runtime with its machines."""

Play = Callable[[Stage], None]
"""What a check does; wrong is what raises."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a runtime must do."""

    clause: int
    """The clause that it is about, in `CLAUSES`."""
    name: str
    needs_certificate: bool
    """Whether it is about TLS."""
    play: Play

    def __str__(self) -> str:
        return self.name

    def run(self, runtime: Serves, certificate: Certificate | None = None) -> None:
        """Check a runtime, in threads of this process.

        `certificate` is what servers show where TLS is spoken. Any will do, unless
        it leads to an authority that the system trusts: that it is refused is
        checked.

        Raises:
            AssertionError: the runtime breaks the contract.
            unittest.SkipTest: the check needs a certificate, and there is none.
        """
        if not __debug__:
            raise RuntimeError("python -O leaves out what is checked")
        if self.needs_certificate and certificate is None:
            raise unittest.SkipTest("there is no certificate to speak TLS with")
        stage = Stage(runtime, certificate)
        try:
            with stage:
                self.play(stage)
        except Exception as error:
            raise AssertionError(self._verdict(stage, error)) from error

    def _verdict(self, stage: Stage, error: Exception) -> str:
        what = str(error) or "what happened is not what should"
        if not isinstance(error, AssertionError):
            what = f"{type(error).__name__}: {what}"
        lines = [
            f"{self.name}: {what}",
            *stage.broken(),
            f"clause {self.clause}: {CLAUSES[self.clause]}",
            stage.world.story(),
        ]
        return "\n".join(lines)


def clause(number: int, *, tls: bool = False) -> Callable[[Play], Check]:
    """Make a check of a function `check_...`; `tls` tells that it is about TLS."""

    def make(play: Play) -> Check:
        name = play.__name__.removeprefix("check_")
        return Check(number, name, tls, play)

    return make
