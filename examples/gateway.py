"""One door for several services: the path says which one.

    python examples/gateway.py -c conf.yaml

`/login` asks for a password, paths under `/family/` go to one server and all others to
another one, and every response tells who was in between.
"""

from __future__ import annotations

import hmac

from lbproto import HttpPeer, ProxyHttp, ResponseHeader, Session
from lbproto_runtimes import Opt, Server, http_proxy_service


class Gateway(ProxyHttp[None]):
    """Checks and sends on."""

    def __init__(self, family: str, others: str, password: str) -> None:
        self.family = family
        self.others = others
        self.password = password

    def request_filter(self, session: Session, ctx: None) -> bool:
        """Let nobody log in without the password."""
        header = session.req_header
        given = header.get("Authorization") or ""
        if not header.path.startswith("/login") or self._fits(given):
            return False
        session.respond_error(403)
        return True

    def _fits(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.password.encode())

    def upstream_peer(self, session: Session, ctx: None) -> HttpPeer:
        """Choose a server by the path."""
        path = session.req_header.path
        return HttpPeer(self.family if path.startswith("/family/") else self.others)

    def response_filter(
        self, session: Session, upstream_response: ResponseHeader, ctx: None
    ) -> None:
        """Say who has answered, and do not tell what it runs."""
        upstream_response.insert_header("Server", "MyGateway")
        upstream_response.remove_header("Alt-Svc")


def main() -> None:
    """Serve on port 6191."""
    server = Server(Opt.parse_args())
    server.bootstrap()
    gateway = Gateway("127.0.0.1:9001", "127.0.0.1:9002", "open sesame")
    service = http_proxy_service(server.configuration, gateway)
    service.add_tcp("0.0.0.0:6191")
    server.add_service(service)
    server.run_forever()


if __name__ == "__main__":
    main()
