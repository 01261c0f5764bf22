"""What a prober found, on its way to workers."""

from __future__ import annotations

from lbproto.config import Backend, Config, HealthCheck, Upstream
from lbproto.health.monitor import Report
from lbproto.machine.effects import Target
from lbproto.processes.bulletin import BATCH, Bulletin, apply, health_messages
from lbproto.processes.channel import Kind, Message, MessageReader, encode
from lbproto.selection.balancer import Balancer
from lbproto.testing.sim import FixedEnv

DOWN = Report("web", "10.0.0.1:80", False, "connection refused")
UP = Report("web", "10.0.0.1:80", True, "")
CONFIG = Config(
    services=(),
    upstreams={
        name: Upstream(
            name=name,
            backends=(Backend(target=Target("10.0.0.1", 80)),),
            health_check=check,
        )
        for name, check in (("web", HealthCheck()), ("api", None))
    },
)


def carried(messages: list[Message]) -> list[Message]:
    return MessageReader().receive(b"".join(map(encode, messages)))


def test_reports_arrive_as_they_are() -> None:
    (message,) = carried(health_messages([DOWN, UP]))
    assert message == Message(
        Kind.HEALTH,
        {"changes": [["web", "10.0.0.1:80", False], ["web", "10.0.0.1:80", True]]},
    )


def test_many_reports_are_several_messages() -> None:
    messages = health_messages([DOWN] * (2 * BATCH + 1))
    assert len(carried(messages)) == 3
    assert health_messages([]) == []


def test_a_worker_chooses_none_that_is_unhealthy() -> None:
    balancer = Balancer(CONFIG, FixedEnv())
    (message,) = carried(health_messages([DOWN]))
    apply(message, CONFIG, balancer)
    assert balancer.lease("web", (), 0.0) is None
    (message,) = carried(health_messages([UP]))
    apply(message, CONFIG, balancer)
    assert balancer.lease("web", (), 0.0) is not None


def test_a_worker_ignores_what_its_configuration_does_not_check() -> None:
    balancer = Balancer(CONFIG, FixedEnv())
    reports = [Report(name, "10.0.0.1:80", False, "") for name in ("api", "gone")]
    apply(*health_messages(reports), CONFIG, balancer)
    assert balancer.lease("api", (), 0.0) is not None


def test_a_bulletin_says_the_last_of_each_backend() -> None:
    bulletin = Bulletin()
    other = Report("api", "10.0.0.2:80", False, "")
    for message in health_messages([DOWN, UP, other]):
        bulletin.note(message)
    assert bulletin.health == {
        ("web", "10.0.0.1:80"): True,
        ("api", "10.0.0.2:80"): False,
    }
    twin = Bulletin()
    for message in carried(bulletin.messages()):
        twin.note(message)
    assert twin.health == bulletin.health
    bulletin.keep(CONFIG)
    assert bulletin.health == {("web", "10.0.0.1:80"): True}
