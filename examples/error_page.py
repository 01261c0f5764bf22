"""A page of one's own where a backend fails.

    python examples/error_page.py -c conf.yaml

The status stays what the error says; only the page is another.
"""

from __future__ import annotations

from lbproto import FailToProxy, HttpPeer, ProxyError, ProxyHttp, Session
from lbproto_runtimes import Opt, Server, http_proxy_service

PAGE = """\
<!doctype html>
<title>Back soon</title>
<p>We are working on it. (status {status})
"""


class Apologetic(ProxyHttp[None]):
    """A gateway that says sorry."""

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def upstream_peer(self, session: Session, ctx: None) -> HttpPeer:
        """Send everything to the same server."""
        return HttpPeer(self.backend)

    def fail_to_proxy(
        self, session: Session, error: ProxyError, ctx: None
    ) -> FailToProxy:
        """Answer with the page; a client that is gone gets none."""
        if error.status:
            page = PAGE.format(status=error.status)
            session.respond(error.status, page, [("Content-Type", "text/html")])
        return FailToProxy(error.status)


def main() -> None:
    """Serve on port 6188."""
    server = Server(Opt.parse_args())
    server.bootstrap()
    service = http_proxy_service(server.configuration, Apologetic("127.0.0.1:9001"))
    service.add_tcp("0.0.0.0:6188")
    server.add_service(service)
    server.run_forever()


if __name__ == "__main__":
    main()
