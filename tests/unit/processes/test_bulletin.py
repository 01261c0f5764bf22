"""What a prober found, on its way to workers."""

from __future__ import annotations

import dataclasses

from lbproto.config import Backend, Config, FileSource, HealthCheck, Upstream
from lbproto.health.monitor import Report
from lbproto.machine.effects import Target
from lbproto.processes.bulletin import (
    BATCH,
    Bulletin,
    Follower,
    backends_message,
    health_messages,
)
from lbproto.processes.channel import Kind, Message, MessageReader, encode
from lbproto.selection.balancer import Balancer
from lbproto.selection.load_balancer import LoadBalancer
from lbproto.testing.sim import FixedEnv

DOWN = Report("web", "10.0.0.1:80", False, "connection refused")
UP = Report("web", "10.0.0.1:80", True, "")
LISTED = (Backend(target=Target("10.0.0.1", 80)),)
FOUND = (
    Backend(target=Target("10.0.0.1", 80), weight=3),
    Backend(target=Target("", 0, "/run/app")),
)


def config(*upstreams: Upstream) -> Config:
    return Config(services=(), upstreams={it.name: it for it in upstreams})


CONFIG = config(
    Upstream(name="web", backends=LISTED, health_check=HealthCheck()),
    Upstream(name="api", backends=LISTED),
    Upstream(name="dyn", backends=LISTED, source=FileSource(path="/x")),
)


def carried(messages: list[Message]) -> list[Message]:
    return MessageReader().receive(b"".join(map(encode, messages)))


class Worker:
    def __init__(self, config: Config = CONFIG) -> None:
        self.balancer = Balancer(config, FixedEnv())
        self.follower = Follower(config, self.balancer)

    def hear(self, *messages: Message) -> None:
        for message in carried(list(messages)):
            self.follower.take(message, 0.0)

    def serves(self, upstream: str) -> bool:
        return self.balancer.lease(upstream, (), 0.0) is not None

    def addresses(self, upstream: str) -> list[str]:
        found = self.balancer.stats().backends
        return [str(one.target) for one in found if one.upstream == upstream]


def test_reports_arrive_as_they_are() -> None:
    (message,) = carried(health_messages([DOWN, UP]))
    assert message == Message(
        Kind.HEALTH,
        {
            "changes": [
                ["web", "10.0.0.1:80", False, "connection refused"],
                ["web", "10.0.0.1:80", True, ""],
            ]
        },
    )


def test_many_reports_are_several_messages() -> None:
    messages = health_messages([DOWN] * (2 * BATCH + 1))
    assert len(carried(messages)) == 3
    assert health_messages([]) == []


def test_a_worker_chooses_none_that_is_unhealthy() -> None:
    worker = Worker()
    worker.hear(*health_messages([DOWN]))
    assert not worker.serves("web")
    worker.hear(*health_messages([UP]))
    assert worker.serves("web")


def test_a_worker_ignores_what_its_configuration_does_not_ask_about() -> None:
    worker = Worker()
    reports = [Report(name, "10.0.0.1:80", False, "") for name in ("api", "gone")]
    found = [backends_message(name, FOUND) for name in ("web", "gone")]
    worker.hear(*health_messages(reports), *found, Message(Kind.STOP, {}))
    assert worker.serves("api")
    assert worker.addresses("web") == ["10.0.0.1:80"]


def test_a_backend_that_is_not_there_has_no_health() -> None:
    worker = Worker()
    worker.hear(*health_messages([Report("web", "10.0.0.9:80", False, "")]))
    assert worker.serves("web")


def test_a_worker_takes_the_backends_that_were_found() -> None:
    worker = Worker()
    worker.hear(backends_message("dyn", FOUND))
    assert worker.addresses("dyn") == ["10.0.0.1:80", "unix:/run/app"]
    assert worker.addresses("web") == ["10.0.0.1:80"]
    worker.hear(backends_message("dyn", FOUND[1:]))
    assert worker.addresses("dyn") == ["unix:/run/app"]


def test_a_bulletin_says_the_last_of_each_thing() -> None:
    bulletin = Bulletin()
    other = Report("api", "10.0.0.2:80", False, "")
    messages = health_messages([DOWN, UP, other])
    messages += [backends_message("dyn", LISTED), backends_message("dyn", FOUND)]
    messages += [backends_message("old", FOUND), Message(Kind.READY, {})]
    for message in messages:
        bulletin.note(message)
    assert bulletin.health == {
        ("web", "10.0.0.1:80"): True,
        ("api", "10.0.0.2:80"): False,
    }
    twin = Bulletin()
    for message in carried(bulletin.messages()):
        twin.note(message)
    assert twin.health == bulletin.health
    assert twin.backends == bulletin.backends == {"dyn": FOUND, "old": FOUND}
    bulletin.keep(CONFIG)
    assert bulletin.health == {("web", "10.0.0.1:80"): True}
    assert bulletin.backends == {"dyn": FOUND}


def test_a_configuration_is_completed_with_what_was_found() -> None:
    bulletin = Bulletin()
    assert bulletin.upstreams(CONFIG) == CONFIG.upstreams
    bulletin.note(backends_message("dyn", FOUND))
    bulletin.note(backends_message("api", FOUND))
    dyn = dataclasses.replace(CONFIG.upstreams["dyn"], backends=FOUND)
    assert bulletin.upstreams(CONFIG) == {**CONFIG.upstreams, "dyn": dyn}


def test_load_balancers_of_a_program_are_told_too() -> None:
    upstreams = LoadBalancer.try_from_iter(["10.0.0.1:80"])
    balancer = Balancer(CONFIG, FixedEnv())
    follower = Follower(CONFIG, balancer, {"own": upstreams})
    told = [
        Report("own", "10.0.0.1:80", False, "refused"),
        Report("other", "10.0.0.1:80", False, "refused"),
    ]
    for message in carried(health_messages(told)):
        follower.take(message, 0.0)
    assert upstreams.select(b"", 256) is None
    everything = Backend(
        target=Target("::1", 80), weight=3, backup=True, drain=True, max_connections=5
    )
    for message in carried([backends_message("own", [*LISTED, everything])]):
        follower.take(message, 0.0)
    assert upstreams.backends == (*LISTED, everything)
    assert not upstreams.ready("10.0.0.1:80")


def test_what_a_program_asks_about_is_kept() -> None:
    bulletin = Bulletin()
    report = Report("own", "10.0.0.1:80", False, "refused")
    for message in [*health_messages([report]), backends_message("own", LISTED)]:
        bulletin.note(message)
    bulletin.keep(CONFIG, ["own"])
    assert len(bulletin.messages()) == 2
    bulletin.keep(CONFIG)
    assert bulletin.messages() == []
