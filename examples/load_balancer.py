"""A load balancer in Python, step by step as in Pingora's quick start.

    python examples/load_balancer.py [-c conf.yaml] [-d] [-u] [-t]

Then `curl 127.0.0.1:6188` asks 1.1.1.1 and 1.0.0.1 in turn, over TLS.
"""

from lbproto import HttpPeer, LoadBalancer, ProxyHttp, RoundRobin
from lbproto_runtimes import Opt, Server, background_service, http_proxy_service
from lbproto import TcpHealthCheck


class LB(ProxyHttp):
    def __init__(self, upstreams: LoadBalancer) -> None:
        self.upstreams = upstreams

    def upstream_peer(self, session, ctx):
        upstream = self.upstreams.select(b"", 256)     # the hash does not matter for round robin
        return HttpPeer(upstream, tls=True, sni="one.one.one.one")

    def upstream_request_filter(self, session, upstream_request, ctx):
        upstream_request.insert_header("Host", "one.one.one.one")


def main() -> None:
    server = Server(Opt.parse_args())
    server.bootstrap()

    upstreams = LoadBalancer.try_from_iter(["1.1.1.1:443", "1.0.0.1:443"], RoundRobin)
    upstreams.set_health_check(TcpHealthCheck())
    upstreams.health_check_frequency = 1.0
    background = background_service("health check", upstreams)

    lb = http_proxy_service(server.configuration, LB(background.task()))
    lb.add_tcp("0.0.0.0:6188")
    server.add_service(background)
    server.add_service(lb)
    server.run_forever()


if __name__ == "__main__":
    main()
