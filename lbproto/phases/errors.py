"""What goes wrong in an exchange, as an application sees it and says it.

The core has a table of everything that can fail and of what follows
(`machine.errors`); a `ProxyError` is one row of it for one request. The core makes
one for each failure and shows it to the phases about failures; an application raises
one, or an `HttpError` with a status of its choice, and the request ends with that.
"""

from __future__ import annotations

from lbproto.machine.errors import VERDICTS, Blame, ErrorCode, LbError

__all__ = ["FailToProxy", "HttpError", "NoPeer", "ProxyError"]

LOWEST = 400
HIGHEST = 599


class ProxyError(LbError):
    """A request that cannot be served as it was meant to be."""

    def __init__(self, code: ErrorCode, detail: str = "") -> None:
        super().__init__(detail or code.name.lower())
        self.code = code
        """Which row of the table."""
        self.detail = detail
        """For the log; never for the client."""
        self.retry = False
        """Another connection shall be tried; heeded before a response has begun."""
        self.status = VERDICTS[code].status
        """Of the response; 0 when there can be none."""

    @property
    def blame(self) -> Blame:
        """Whose fault it is."""
        return VERDICTS[self.code].blame

    def set_retry(self, retry: bool) -> None:
        """Ask for another try, or for none."""
        self.retry = retry


class HttpError(ProxyError):
    """The application's own decision to answer with an error status."""

    def __init__(self, status: int, detail: str = "") -> None:
        """Take a status of 400-599.

        Raises:
            ValueError: it is none of these.
        """
        if not LOWEST <= status <= HIGHEST:
            raise ValueError(f"{status} is no status of an error (400-599)")
        super().__init__(ErrorCode.APPLICATION, detail or f"status {status}")
        self.status = status


class NoPeer(ProxyError):
    """There is nobody to send a request to: 503."""

    def __init__(self, detail: str = "no backend to choose") -> None:
        super().__init__(ErrorCode.NO_BACKEND, detail)


class FailToProxy:
    """What `fail_to_proxy` decides."""

    __slots__ = ("can_reuse_downstream", "error_code")

    def __init__(
        self, error_code: int, can_reuse_downstream: bool | None = None
    ) -> None:
        self.error_code = error_code
        """The status to answer with, or that was answered; 0: none."""
        self.can_reuse_downstream = can_reuse_downstream
        """Whether the client's connection stays; None: as the error demands."""
