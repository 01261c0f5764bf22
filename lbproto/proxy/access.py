"""The record of one exchange, for access logs."""

from __future__ import annotations

from lbproto.framing.messages import HTTP11, RequestHead
from lbproto.machine.effects import AccessRecord
from lbproto.machine.errors import ErrorCode
from lbproto.machine.events import PeerInfo
from lbproto.machine.values import ConnId, leaf

__all__ = ["Tally"]


@leaf
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
        method = target = authority = version = ""
        if head is not None:
            method = head.method.decode("ascii")
            target = head.target.decode("ascii")
            authority = head.authority.decode("ascii")
            version = "1.1" if head.version is HTTP11 else head.version.value.decode()
        # By position: names would cost as much again as the record.
        return AccessRecord(
            conn,
            peer.address,
            method,
            target,
            authority,
            version,
            self.status,
            received,
            self.sent,
            self.started,
            now - self.started,
            self.backend,
            self.tries,
            self.reused,
            error.name if error is not None else "",
        )
