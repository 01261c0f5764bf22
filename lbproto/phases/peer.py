"""Whom a request goes to, when an application decides it."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypeAlias

from lbproto.config import Backend, Timeouts
from lbproto.machine.effects import Target
from lbproto.machine.tls import Certificate, ClientTls
from lbproto.phases.errors import NoPeer
from lbproto.selection.addresses import backend_of

__all__ = ["HttpPeer", "PeerAddress"]

PeerAddress: TypeAlias = Backend | Target | str | tuple[str, int]


class HttpPeer:
    """A server, and how to speak to it; HTTP/1.1.

    Idle connections are used again for peers that are the same in all of this.
    """

    __slots__ = ("connect_timeout", "proxy_protocol", "read_timeout", "target")

    def __init__(
        self,
        address: PeerAddress | None,
        tls: bool = False,
        sni: str = "",
        *,
        verify: bool = True,
        ca_file: str | None = None,
        certificate: Certificate | None = None,
        proxy_protocol: Literal["v1", "v2"] | None = None,
        connect_timeout: float | None = None,
        read_timeout: float | None = None,
    ) -> None:
        """Take what a load balancer has selected, or an address.

        With `tls`: `sni` is the name to ask for and to find in the certificate; empty:
        the address's own. `connect_timeout` and `read_timeout`, in seconds, count in
        place of the service's; the latter for the response's head and between two
        reads of its content.

        Raises:
            NoPeer: there is no address, since nothing was there to select.
            AddressError: the text is no address.
        """
        if address is None:
            raise NoPeer
        spoken = None
        if tls:
            spoken = ClientTls(
                sni=sni, verify=verify, ca_file=ca_file, certificate=certificate
            )
        at = _target(address)
        self.target = Target(at.host, at.port, at.path, spoken)
        self.proxy_protocol: Literal["v1", "v2"] | None = proxy_protocol
        self.connect_timeout = connect_timeout
        self.read_timeout = read_timeout

    def timeouts(self, others: Timeouts) -> Timeouts:
        """Return the timeouts for an exchange with it, given those of its service."""
        if self.connect_timeout is not None:
            others = replace(others, connect=self.connect_timeout)
        if self.read_timeout is not None:
            reading = self.read_timeout
            others = replace(others, response_header=reading, response_body=reading)
        return others

    def __str__(self) -> str:
        return str(self.target)

    def __repr__(self) -> str:
        return f"HttpPeer({self.target})"


def _target(address: PeerAddress) -> Target:
    if isinstance(address, tuple):
        address = str(Target(*address))  # it is checked like every other text
    return backend_of(address).target
