"""Which routes a host can take at all, in the order of the file.

Of thousands of routes a request can take only those that name its host and those
that name none. So each host that a route names has a list of its own, put together
when the table is made, and a request costs one look into a mapping however many
hosts there are. A host that only a wildcard covers takes one look for each of its
labels, of which there cannot be many.

A wildcard, `*.example.com`, is for every name below `example.com`, at any depth, and
not for `example.com` itself. Ports and case do not count, nor does a final dot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

__all__ = ["HostIndex"]

T = TypeVar("T")

LONGEST: Final = 253
"""Characters of a name (RFC 1035 2.3.4, without the final dot)."""


class HostIndex(Generic[T]):
    """Finds what belongs to a host; built once."""

    __slots__ = ("_exact", "_others", "_wild")

    def __init__(self, entries: Sequence[tuple[Sequence[str], T]]) -> None:
        """Take entries with the hosts of each; one without hosts is for all."""
        plain = [([_plain(host) for host in hosts], one) for hosts, one in entries]
        named = [host for hosts, _ in plain for host in hosts]
        self._others = tuple(one for hosts, one in plain if not hosts)
        self._wild: dict[str, list[T]] = {h[2:]: [] for h in named if h[:2] == "*."}
        self._exact: dict[str, list[T]] = {h: [] for h in named if h[:2] != "*."}
        for hosts, one in plain:
            for found in (self._exact, self._wild):
                for name in self._reached(hosts, found):
                    found[name].append(one)

    def find(self, host: str) -> Sequence[T]:
        """Return what a host may take, in the order of the entries."""
        found = self._exact.get(host)
        if found is not None:
            return found
        if self._wild or host[-1:] == ".":
            return self._search(_plain(host))
        return self._others

    def _search(self, host: str) -> Sequence[T]:
        found = self._exact.get(host)
        if found is not None:
            return found
        if len(host) <= LONGEST:
            rest = host.partition(".")[2]
            while rest:
                found = self._wild.get(rest)
                if found is not None:
                    return found
                rest = rest.partition(".")[2]
        return self._others

    def _reached(self, hosts: list[str], found: dict[str, list[T]]) -> list[str]:
        """Return the keys of a mapping that an entry with these hosts is for."""
        if not hosts:
            return list(found)
        names: dict[str, None] = {}
        for host in hosts:
            if host[:2] != "*.":
                if found is self._exact:
                    names[host] = None
                continue
            if found is self._wild:
                names[host[2:]] = None
            names |= dict.fromkeys(name for name in found if name.endswith(host[1:]))
        return list(names)


def _plain(host: str) -> str:
    return host.lower().removesuffix(".")
