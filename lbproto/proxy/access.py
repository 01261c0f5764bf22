"""The record of one exchange, for access logs."""

from __future__ import annotations

from lbproto.framing.messages import RequestHead
from lbproto.machine.effects import AccessRecord
from lbproto.machine.errors import ErrorCode
from lbproto.machine.events import PeerInfo
from lbproto.machine.values import ConnId

__all__ = ["Tally"]


class Tally:
    """What an exchange counts while it runs."""

    __slots__ = ("backend", "reused", "sent", "started", "status", "tries")

    def __init__(self, started: float) -> None:
        self.started = started
        self.status = 0
        self.sent = 0
        self.backend = ""
        self.tries = 0
        self.reused = False

    def record(
        self,
        conn: ConnId,
        peer: PeerInfo,
        head: RequestHead | None,
        received: int,
        error: ErrorCode | None,
        now: float,
    ) -> AccessRecord:
        """Close the tally; without a head the request was never understood."""
        return AccessRecord(
            conn=conn,
            peer=peer.address,
            method=head.method.decode("ascii") if head else "",
            target=head.target.decode("ascii") if head else "",
            authority=head.authority.decode("ascii") if head else "",
            version=head.version.value.decode("ascii") if head else "",
            status=self.status,
            received=received,
            sent=self.sent,
            started=self.started,
            duration=now - self.started,
            backend=self.backend,
            tries=self.tries,
            reused=self.reused,
            error=error.name if error else "",
        )
