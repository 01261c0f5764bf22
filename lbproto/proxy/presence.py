"""What one client connection takes of what all of them share.

That is a place among the connections of its address, and bytes of the worker's
stock. Both are given back when the connection ends, whoever ends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbproto.rewriting.forwarded import is_trusted

if TYPE_CHECKING:
    from lbproto.machine.events import PeerInfo
    from lbproto.proxy.site import Site

__all__ = ["Presence"]


class Presence:
    """One connection's part."""

    __slots__ = ("_address", "_site", "kept")

    def __init__(self, site: Site) -> None:
        self._address = ""
        self._site = site
        self.kept = 0
        """Bytes, as the stock knows them."""

    def enter(self, peer: PeerInfo, *, moved: bool = False) -> bool:
        """Take a place among the connections of an address; tell if there is one.

        One that has been here before, in another process, is never turned away. Nor
        are trusted proxies, which speak for many, nor clients of a Unix-domain socket.
        """
        site = self._site
        most = site.service.limits.connections_per_address
        if most is None or peer.address.startswith("unix:"):
            return True
        if is_trusted(peer, site.service):
            return True
        with site.env.guard:
            count = site.crowd.get(peer.address, 0) + 1
            if count > most and not moved:
                return False
            site.crowd[peer.address] = count
        self._address = peer.address
        return True

    def keep(self, count: int) -> None:
        """So many bytes wait now."""
        self._site.stock.move(count - self.kept)
        self.kept = count

    def leave(self) -> None:
        """The connection has ended."""
        if self.kept:
            self.keep(0)
        address, self._address = self._address, ""
        if not address:
            return
        site = self._site
        with site.env.guard:
            left = site.crowd[address] - 1
            if left:
                site.crowd[address] = left
            else:
                del site.crowd[address]
