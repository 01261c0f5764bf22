"""An application that conducts its own exchanges: the phases it may fill in.

The names, their order and what each may do are Pingora's (`pingora_proxy::ProxyHttp`).
A method may be a plain function everywhere, and a coroutine function where the runtime
is an event loop (asyncio, uvloop). While one is awaited nothing else happens to its
request; other connections go on.

| phase | when |
|---|---|
| `new_ctx` | a request has passed the grammar: make what its phases share |
| `on_connection_reuse` | there was a request before it on the connection |
| `early_request_filter` | before everything else |
| `request_filter` | answer, refuse, or change the request |
| `proxy_upstream_filter` | the last chance to go to no backend |
| `upstream_peer` * | choose a backend |
| `fail_to_connect` * | it could not be reached |
| `connected_to_upstream` * | there is a connection to it |
| `upstream_request_filter` * | change what it gets |
| `request_body_filter` * | each piece of content on its way there |
| `upstream_response_filter` | its response's head, interim ones too, as it came |
| `response_filter` | the head as the client will get it |
| `upstream_response_body_filter`, `response_body_filter` | each piece of content |
| `error_while_proxy` * | something broke after the connection was there |
| `fail_to_proxy` | there will be no response of a backend |
| `logging` | last of all, once for each request |
| `persist_connection_context` | what the next request on the connection gets |

Those with a star may happen again, for another try.

An exception other than `ProxyError` is a bug of the application: the request ends with
a 500, the log has the traceback, and nothing else is touched.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar, cast

from lbproto.phases.errors import FailToProxy, ProxyError

if TYPE_CHECKING:
    from lbproto.machine.events import TlsInfo
    from lbproto.phases.header import RequestHeader, ResponseHeader
    from lbproto.phases.peer import HttpPeer
    from lbproto.phases.session import Session

__all__ = ["PHASES", "MaybeAwaitable", "ProxyHttp", "coroutine_phases"]

CTX = TypeVar("CTX")
T = TypeVar("T")

MaybeAwaitable: TypeAlias = T | Awaitable[T]
"""What a phase returns: at once, or when it is awaited."""

IS_COROUTINE: Final = 0x80 | 0x100
"""CO_COROUTINE and CO_ITERABLE_COROUTINE of a function's code."""


class ProxyHttp(Generic[CTX]):
    """A proxy whose decisions are an application's own; override what is needed.

    Nothing is asked of it: what it does not decide happens as the configuration says.
    """

    def new_ctx(self) -> MaybeAwaitable[CTX]:
        """Make what the phases of one request share."""
        return cast("CTX", None)

    def on_connection_reuse(
        self, session: Session, ctx: CTX, kept: object
    ) -> MaybeAwaitable[None]:
        """Take what `persist_connection_context` has kept."""
        return None

    def early_request_filter(self, session: Session, ctx: CTX) -> MaybeAwaitable[None]:
        """See a request before all else."""
        return None

    def request_filter(self, session: Session, ctx: CTX) -> MaybeAwaitable[bool | None]:
        """Check, change or answer a request; True: it was answered."""
        return False

    def proxy_upstream_filter(
        self, session: Session, ctx: CTX
    ) -> MaybeAwaitable[bool | None]:
        """Tell whether a backend is asked; False without an answer is a 502."""
        return True

    def upstream_peer(
        self, session: Session, ctx: CTX
    ) -> MaybeAwaitable[HttpPeer | None]:
        """Choose who gets the request; None: whom the configuration says."""
        return None

    def fail_to_connect(
        self, session: Session, peer: HttpPeer | None, ctx: CTX, error: ProxyError
    ) -> MaybeAwaitable[ProxyError | None]:
        """See that a backend cannot be reached; `error.set_retry(True)`: try again.

        Nothing was sent, so any request may go out again.
        """
        return error

    def connected_to_upstream(
        self,
        session: Session,
        reused: bool,
        peer: HttpPeer | None,
        digest: TlsInfo | None,
        ctx: CTX,
    ) -> MaybeAwaitable[None]:
        """See that there is a connection; `digest`: what a TLS handshake agreed on."""
        return None

    def upstream_request_filter(
        self, session: Session, upstream_request: RequestHeader, ctx: CTX
    ) -> MaybeAwaitable[None]:
        """Change the head that this backend gets."""
        return None

    def request_body_filter(
        self, session: Session, body: bytes, end_of_stream: bool, ctx: CTX
    ) -> MaybeAwaitable[bytes | None]:
        """Return what takes the place of a piece of content; None: it stays."""
        return None

    def upstream_response_filter(
        self, session: Session, upstream_response: ResponseHeader, ctx: CTX
    ) -> MaybeAwaitable[None]:
        """Change the head that came from a backend."""
        return None

    def response_filter(
        self, session: Session, upstream_response: ResponseHeader, ctx: CTX
    ) -> MaybeAwaitable[None]:
        """Change the head that goes to the client, after all other rules."""
        return None

    def upstream_response_body_filter(
        self, session: Session, body: bytes, end_of_stream: bool, ctx: CTX
    ) -> MaybeAwaitable[bytes | None]:
        """Return what takes the place of a piece of content; None: it stays."""
        return None

    def response_body_filter(
        self, session: Session, body: bytes, end_of_stream: bool, ctx: CTX
    ) -> MaybeAwaitable[bytes | None]:
        """Return what takes the place of a piece of content; None: it stays."""
        return None

    def error_while_proxy(
        self,
        peer: HttpPeer | None,
        session: Session,
        error: ProxyError,
        ctx: CTX,
        client_reused: bool,
    ) -> MaybeAwaitable[ProxyError | None]:
        """See what broke; `error.retry` says whether another try is made.

        As it comes it says what the rules of retries say. A backend may have acted on
        the request; `client_reused`: the connection to it was an idle one.
        """
        return error

    def fail_to_proxy(
        self, session: Session, error: ProxyError, ctx: CTX
    ) -> MaybeAwaitable[FailToProxy | int | None]:
        """Decide how a failure is answered: by a response of one's own, or a status.

        None: as the error says. Too late for a response, it is told all the same.
        """
        return None

    def suppress_error_log(self, session: Session, ctx: CTX, error: ProxyError) -> bool:
        """Tell whether a failure needs no line in the log; a plain function."""
        return False

    def request_summary(self, session: Session, ctx: CTX) -> str:
        """Name a request in the log; a plain function."""
        return session.request_summary

    def logging(
        self, session: Session, error: ProxyError | None, ctx: CTX
    ) -> MaybeAwaitable[None]:
        """Take note of a request that is over, and of what went wrong."""
        return None

    def persist_connection_context(
        self, session: Session, ctx: CTX
    ) -> MaybeAwaitable[object]:
        """Return what the next request on this connection shall get, if one comes."""
        return None


PHASES: Final = tuple(name for name in vars(ProxyHttp) if not name.startswith("_"))
"""The names of all phases, in their order."""


def coroutine_phases(application: object) -> tuple[str, ...]:
    """Return the phases of an application that only an event loop can carry out."""
    return tuple(name for name in PHASES if _is_coroutine(application, name))


def _is_coroutine(application: object, name: str) -> bool:
    method = getattr(application, name, None)
    while (inner := getattr(method, "func", None)) is not None:
        method = inner  # a functools.partial
    function = getattr(method, "__func__", method)
    code = getattr(function, "__code__", None)
    if code is None:  # an object that can be called
        code = getattr(vars(type(method)).get("__call__"), "__code__", None)
    return code is not None and bool(code.co_flags & IS_COROUTINE)
