"""What a worker is told."""

from __future__ import annotations

from lbproto.config import Config, Limits, Service
from lbproto_runtimes.worker import portion


def test_workers_share_what_a_service_may_have() -> None:
    few = Service(name="few", limits=Limits(connections=10))
    any_number = Service(name="any", limits=Limits(connections=None))
    got = portion(Config(services=(few, any_number), upstreams={}), 3)
    assert [service.limits.connections for service in got.services] == [4, None]
