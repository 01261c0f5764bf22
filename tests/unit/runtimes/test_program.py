"""What a program brings along."""

from __future__ import annotations

from lbproto import LoadBalancer, ProxyHttp
from lbproto_runtimes.program import NOTHING, Program


def balancer() -> LoadBalancer:
    return LoadBalancer.try_from_iter(["10.0.0.1:80"])


class Holder:
    __slots__ = ("held",)

    def __init__(self, held: object) -> None:
        self.held = held


class App(ProxyHttp[None]):
    def __init__(self, *held: object) -> None:
        self.held = held


def test_load_balancers_are_found_wherever_an_application_holds_them() -> None:
    direct, listed, named, slotted, watched = (balancer() for _ in range(5))
    app = App(direct, [listed], {"a": named}, Holder(slotted), "text", 5, App, direct)
    app.held = (*app.held, app)
    program = Program({"web": app}, {"checks": watched, "clock": Holder(direct)})
    found = program.load_balancers
    assert {id(one) for one in found} == {
        id(one) for one in (direct, listed, named, slotted, watched)
    }
    assert len(found) == 5
    assert program.looked_after == {"checks": watched}
    assert list(program.tasks) == ["clock"]


def test_they_are_not_looked_for_without_end() -> None:
    deep: object = balancer()
    for _ in range(10):
        deep = [deep]
    assert Program({"web": App(deep)}).load_balancers == []
    assert NOTHING.load_balancers == []
