"""Another server is asked when the first one cannot be reached.

    python examples/failover.py -c conf.yaml

What was tried is kept in the context of the request. `max_retries` of the configuration
bounds the tries, whatever the application wants.
"""

from __future__ import annotations

from dataclasses import dataclass

from lbproto import HttpPeer, ProxyError, ProxyHttp, Session
from lbproto_runtimes import Opt, Server, http_proxy_service


@dataclass
class Tries:
    """How often a request has failed to reach a server."""

    failed: int = 0


class Failover(ProxyHttp[Tries]):
    """Two servers; the second stands in for the first."""

    def __init__(self, first: str, second: str) -> None:
        self.servers = (first, second)

    def new_ctx(self) -> Tries:
        """Begin with no try."""
        return Tries()

    def upstream_peer(self, session: Session, ctx: Tries) -> HttpPeer:
        """Choose the one whose turn it is; two seconds to connect are enough."""
        return HttpPeer(self.servers[ctx.failed], connect_timeout=2.0)

    def fail_to_connect(
        self, session: Session, peer: HttpPeer | None, ctx: Tries, error: ProxyError
    ) -> ProxyError:
        """Try once more, since nothing was sent yet."""
        if ctx.failed == 0:
            ctx.failed += 1
            error.set_retry(True)
        return error


def main() -> None:
    """Serve on port 6188."""
    server = Server(Opt.parse_args())
    server.bootstrap()
    failover = Failover("127.0.0.1:9001", "127.0.0.1:9002")
    service = http_proxy_service(server.configuration, failover)
    service.add_tcp("0.0.0.0:6188")
    server.add_service(service)
    server.run_forever()


if __name__ == "__main__":
    main()
