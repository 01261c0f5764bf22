"""Scenarios as transcripts.

    play = Playbook(machine)
    play.at(0.0)
    play >> Opened(client, peer)
    play >> Data(client, b"GET / ...")
    play << Connect(2, target)
    assert play

`>>` is a fact fed in, `<<` an order expected since the last fact. Everything that
the machine orders must be expected, in order, but for the kinds in `ignore`: lines of
logs, and `Relay`, which is leave rather than order, if nothing else is said. An
expectation may be a predicate: `a(Send)` takes any `Send`, `a(Send, data=b"...")`
one with these fields, where a field may be a function that judges it. A
transcript that fails is printed with what came instead; one that is never
asserted fails when it is collected.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from lbproto.machine.effects import Access, Effect, Log, Relay
from lbproto.machine.env import Machine
from lbproto.machine.events import Event

__all__ = ["Playbook", "Wanted", "a"]

Wanted = Callable[[Effect], bool]


class _Like:
    """An effect of one kind, with some of its fields."""

    def __init__(self, kind: type, fields: dict[str, object]) -> None:
        self._kind = kind
        self._fields = fields

    def __call__(self, effect: Effect) -> bool:
        if not isinstance(effect, self._kind):
            return False
        for name, wanted in self._fields.items():
            seen = getattr(effect, name)
            if callable(wanted):
                if not wanted(seen):
                    return False
            elif seen != wanted:
                return False
        return True

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self._fields.items())
        return f"a({self._kind.__name__}{', ' if fields else ''}{fields})"


def a(kind: type, /, **fields: object) -> Wanted:
    """Expect an effect of a kind; a field's value may be a function that judges."""
    return _Like(kind, fields)


class Playbook:
    """A machine, what it was told, and what it answered."""

    def __init__(
        self,
        machine: Machine,
        ignore: Collection[type] = (Log, Access, Relay),
    ) -> None:
        self.machine = machine
        self.now = 0.0
        self.ignore = set(ignore)
        """Kinds of orders that need not be expected."""
        self._seen: list[Effect] = []
        self._lines: list[str] = []
        self._failed = False
        self._asserted = True

    def at(self, now: float) -> Playbook:
        """Let it be later; seconds."""
        self.now = now
        return self

    def __rshift__(self, event: Event) -> Playbook:
        """Tell the machine a fact; what it ordered before must have been expected."""
        self._settle()
        self._lines.append(f"   >> {event!r}")
        seen = self.machine.handle(event, self.now)
        self._seen = [one for one in seen if type(one) not in self.ignore]
        self._asserted = False
        return self

    def __lshift__(self, wanted: Effect | Wanted) -> Playbook:
        """Expect the next order."""
        if not self._seen:
            self._fail(f"   << {wanted!r}", "nothing came")
            return self
        seen = self._seen.pop(0)
        good = wanted(seen) if callable(wanted) else wanted == seen
        if good:
            self._lines.append(f"   << {seen!r}")
        else:
            self._fail(f"   << {wanted!r}", repr(seen))
        return self

    def _settle(self) -> None:
        for unexpected in self._seen:
            self._fail("   << (nothing)", repr(unexpected))
        self._seen = []

    def _fail(self, wanted: str, came: str) -> None:
        self._failed = True
        self._lines += [f"!! {wanted[3:]}", f"!! came: {came}"]

    def __bool__(self) -> bool:
        """Tell whether everything went as written.

        Raises:
            AssertionError: it did not; the transcript is the message.
        """
        self._asserted = True
        self._settle()
        if self._failed:
            raise AssertionError("\n".join(["", *self._lines]))
        return True

    def __del__(self) -> None:
        if not self._asserted:
            raise AssertionError("a transcript was written but never asserted")
