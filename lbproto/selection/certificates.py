"""Which certificate a client gets, by the name that it asks for (SNI, RFC 6066 3).

An exact name wins, then a wildcard, then the first certificate. A wildcard stands
for exactly one label, the left-most (RFC 9525 6.3): `*.example.com` is for
`www.example.com`, neither for `example.com` nor for `a.b.example.com`. Names are
compared without case and without a final dot.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

__all__ = ["CertificateChoice"]


class CertificateChoice:
    """Finds certificates by name; built once, asked in every handshake."""

    __slots__ = ("_exact", "_wild")

    def __init__(self, names: Sequence[Collection[str]]) -> None:
        """Take the names of each certificate; of equal names the first counts."""
        self._exact: dict[str, int] = {}
        self._wild: dict[str, int] = {}
        for index, those in enumerate(names):
            for name in those:
                plain = _plain(name)
                if plain.startswith("*."):
                    self._wild.setdefault(plain[2:], index)
                else:
                    self._exact.setdefault(plain, index)

    def index(self, name: str) -> int:
        """Return the place of the certificate for a name; 0 if none has it."""
        plain = _plain(name)
        found = self._exact.get(plain)
        if found is None:
            found = self._wild.get(plain.partition(".")[2], 0)
        return found


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")
