"""How slowly a client may send the content of its request.

There is a longest pause between two reads, and a lowest rate. The rate is the average
since the first time that we waited for content, and counts after a grace. What we did
not read, since the backend did not keep up or the client waits for a 100, does not
count against the client. Both are one deadline: the time at which nothing more having
come would be too little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lbproto.config import Service

__all__ = ["UploadClock"]


class UploadClock:
    """The time that one client takes for its content."""

    __slots__ = ("_since", "_waited")

    def __init__(self) -> None:
        self._since: float | None = None
        self._waited = 0.0

    def wait(self, service: Service, received: int, now: float) -> float:
        """Go on waiting for content, of which so much has come; return until when."""
        if self._since is None:
            self._since = now
        else:
            self._waited += now - self._since
            self._since = now
        patience = service.timeouts.request_body
        rate = service.limits.request_body_rate
        if rate:
            allowed = max(service.timeouts.request_body_grace, received / rate)
            patience = min(patience, allowed - self._waited)
        return now + patience

    def rest(self, now: float) -> None:
        """It is not the client whom we wait for."""
        if self._since is not None:
            self._waited += now - self._since
            self._since = None
