"""What one client connection takes of what all of them share.

That is a place among the connections of its address, and bytes of the worker's
stock. Both are given back when the connection ends, whoever ends it. The connection
itself notes what it has (`kept`, `counted_as`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lbproto.machine.effects import Level
from lbproto.machine.events import PeerInfo
from lbproto.rewriting.trust import is_trusted

if TYPE_CHECKING:
    from lbproto.proxy.connection import ProxyConnection

__all__ = ["NOBODY", "enter", "keep", "leave"]

NOBODY: Final = PeerInfo("", 0, "")
"""Before it is known who is there."""


def enter(client: ProxyConnection, *, moved: bool = False) -> bool:
    """Take a place among the connections of an address, or close; tell which.

    One that has been here before, in another process, is never turned away. Nor
    are trusted proxies, which speak for many, nor clients of a Unix-domain socket.
    """
    site, peer = client.site, client.peer
    most = site.most_of_address
    if most is None or peer.address.startswith("unix:"):
        return True
    if is_trusted(peer, site.service):
        return True
    with site.env.guard:
        count = site.crowd.get(peer.address, 0) + 1
        room = count <= most or moved
        if room:
            site.crowd[peer.address] = count
            client.counted_as = peer.address
    if not room:
        detail = f"more than {most} connections of its address"
        client.log(Level.INFO, "client refused", {"detail": detail})
        client.close()
    return room


def keep(client: ProxyConnection, count: int) -> None:
    """So many bytes wait now."""
    client.site.stock.move(count - client.kept)
    client.kept = count


def leave(client: ProxyConnection) -> None:
    """The connection has ended."""
    if client.kept:
        keep(client, 0)
    address = client.counted_as
    if not address:
        return
    client.counted_as = ""
    site = client.site
    with site.env.guard:
        left = site.crowd[address] - 1
        if left:
            site.crowd[address] = left
        else:
            del site.crowd[address]
