"""At most so many requests a second from each client, decided by a request filter.

    python examples/rate_limiter.py -c conf.yaml

Clients are told apart by the field `appid`; one without it is not limited. The window
is a second of this process, so with several workers each has its own.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from lbproto import HttpPeer, ProxyHttp, Session
from lbproto_runtimes import Opt, Server, http_proxy_service

MOST = 1
"""Requests a second."""


class Window:
    """Counts what happens in the second at hand."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._second = 0
        self._counts: Counter[str] = Counter()

    def observe(self, key: str) -> int:
        """Count one more, and return how many there are."""
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._counts.clear()
        self._counts[key] += 1
        return self._counts[key]


class RateLimiter(ProxyHttp[None]):
    """A gateway that lets nobody ask too often."""

    def __init__(self, backend: str, window: Window) -> None:
        self.backend = backend
        self.window = window

    def request_filter(self, session: Session, ctx: None) -> bool:
        """Answer those who ask too often."""
        appid = session.req_header.get("appid")
        if appid is None or self.window.observe(appid) <= MOST:
            return False
        fields = [("X-Rate-Limit-Limit", str(MOST)), ("X-Rate-Limit-Reset", "1")]
        session.respond(429, "too many requests\n", fields)
        return True

    def upstream_peer(self, session: Session, ctx: None) -> HttpPeer:
        """Send all others on."""
        return HttpPeer(self.backend)


def main() -> None:
    """Serve on port 6188."""
    server = Server(Opt.parse_args())
    server.bootstrap()
    service = http_proxy_service(
        server.configuration, RateLimiter("127.0.0.1:9001", Window())
    )
    service.add_tcp("0.0.0.0:6188")
    server.add_service(service)
    server.run_forever()


if __name__ == "__main__":
    main()
