"""A response is collected, read as JSON, and sent on as YAML.

    python examples/modify_response.py -c conf.yaml

Content that changes its size needs a head that does not promise one: without
Content-Length it goes out in chunks.
"""

from __future__ import annotations

import json

import yaml

from lbproto import HttpPeer, ProxyHttp, ResponseHeader, Session
from lbproto_runtimes import Opt, Server, http_proxy_service


class Json2Yaml(ProxyHttp[bytearray]):
    """A gateway to a service that speaks JSON, for clients that read YAML."""

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def new_ctx(self) -> bytearray:
        """Begin with an empty buffer for each request."""
        return bytearray()

    def upstream_peer(self, session: Session, ctx: bytearray) -> HttpPeer:
        """Send everything to the same server."""
        return HttpPeer(self.backend)

    def response_filter(
        self, session: Session, upstream_response: ResponseHeader, ctx: bytearray
    ) -> None:
        """Promise no length, and another type."""
        upstream_response.remove_header("Content-Length")
        upstream_response.insert_header("Transfer-Encoding", "chunked")
        upstream_response.insert_header("Content-Type", "application/yaml")

    def response_body_filter(
        self, session: Session, body: bytes, end_of_stream: bool, ctx: bytearray
    ) -> bytes:
        """Keep pieces until the last one is here; then send all of it, changed."""
        ctx += body
        if not end_of_stream:
            return b""
        return yaml.safe_dump(json.loads(bytes(ctx))).encode()


def main() -> None:
    """Serve on port 6188."""
    server = Server(Opt.parse_args())
    server.bootstrap()
    service = http_proxy_service(server.configuration, Json2Yaml("127.0.0.1:9001"))
    service.add_tcp("0.0.0.0:6188")
    server.add_service(service)
    server.run_forever()


if __name__ == "__main__":
    main()
