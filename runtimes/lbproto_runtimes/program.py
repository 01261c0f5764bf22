"""What a program brings along that runs a server of its own, beside the configuration.

Objects, not words: they are there when processes are forked, and so every worker and
the prober has its own copy. What must be the same in all of them is told by messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from lbproto.phases.http import ProxyHttp
from lbproto.selection.load_balancer import LoadBalancer

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["NOTHING", "Program"]

DEPTH: Final = 4
"""How far from an application a load balancer is looked for."""


@dataclass(frozen=True, slots=True)
class Program:
    """Applications and background services, by name."""

    applications: Mapping[str, ProxyHttp[Any]] = field(default_factory=dict)
    """Who conducts the exchanges of a service."""
    background: Mapping[str, object] = field(default_factory=dict)
    """What runs beside the workers, once for all of them."""

    @property
    def looked_after(self) -> dict[str, LoadBalancer]:
        """Return the load balancers that are probed and updated."""
        return {
            name: task
            for name, task in self.background.items()
            if isinstance(task, LoadBalancer)
        }

    @property
    def tasks(self) -> dict[str, object]:
        """Return what else runs in the background."""
        return {
            name: task
            for name, task in self.background.items()
            if not isinstance(task, LoadBalancer)
        }

    @property
    def load_balancers(self) -> list[LoadBalancer]:
        """Return those that are looked after, and those that applications hold."""
        roots = [*self.background.values(), *self.applications.values()]
        return list(_found(roots, DEPTH, {}))


NOTHING: Final = Program()


def _found(
    objects: Iterable[object], depth: int, seen: dict[int, object]
) -> Iterator[LoadBalancer]:
    """Yield each load balancer among objects, their attributes, and what those hold."""
    for one in objects:
        if id(one) in seen:
            continue
        seen[id(one)] = one
        if isinstance(one, LoadBalancer):
            yield one
        elif depth:
            yield from _found(_inside(one), depth - 1, seen)


def _inside(one: object) -> Iterator[object]:
    if isinstance(one, Mapping):
        yield from one.values()
    elif isinstance(one, list | tuple | set | frozenset):
        yield from one
    elif not isinstance(one, type):
        yield from getattr(one, "__dict__", {}).values()
        for kind in type(one).__mro__:
            slots = vars(kind).get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                yield getattr(one, name, None)
