"""Affinity over real sockets."""

from __future__ import annotations

from tests.runtimes.fixtures import LbFactory, OriginFactory
from tests.runtimes.origins import reply


def test_a_client_comes_back_through_any_worker_of_any_instance(
    start: LbFactory, origin: OriginFactory
) -> None:
    backends = [origin(reply(name)) for name in (b"a", b"b", b"c")]
    upstream = {
        "backends": [one.address for one in backends],
        "sticky": {"cookie": "lb_backend", "secret": "0123456789abcdef"},
    }
    web = {"name": "web", "listen": ["127.0.0.1:0"], "upstream": upstream}
    settings = {"threads": 2, "services": [web]}
    instances = [start(settings), start(settings)]
    first = instances[0].fetch()
    cookie = (first.get("Set-Cookie") or b"").partition(b";")[0].decode()
    assert cookie.startswith("lb_backend=")
    assert "127.0.0.1" not in cookie
    for one in instances:
        for _ in range(6):
            with one.connect() as client:
                got = client.ask("/", f"Cookie: x=y; {cookie}\r\n")
            assert (got.body, got.get("Set-Cookie")) == (first.body, None)
    seen = b"".join(backend.received for backend in backends)
    assert b"Cookie: x=y\r\n" in seen
    assert b"lb_backend" not in seen
