"""What every test with real sockets needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lbproto.config import Config, Listen, Service
from lbproto.machine.effects import Level, Target
from lbproto.phases.http import ProxyHttp
from lbproto.proxy.gateway import Gateway
from lbproto_runtimes import load
from lbproto_runtimes.listen import bind
from lbproto_runtimes.logs import Logs
from tests.runtimes.embedded import Embedded
from tests.runtimes.origins import OK, Origin, Script, answers
from tests.runtimes.process import Lb, Settings, settings

RUNTIMES = ("asyncio", "uvloop", "gevent", "threads")
"""Every runtime of the command; a new one is added here."""

LbFactory = Callable[..., Lb]
OriginFactory = Callable[..., Origin]
Conducted = Callable[[ProxyHttp[Any]], str]


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    if request.param in ("uvloop", "gevent"):
        pytest.importorskip(request.param)
    return str(request.param)


@pytest.fixture
def start(runtime: str, tmp_path: Path) -> Iterator[LbFactory]:
    """Start `lb` with a whole file of settings."""
    started: list[Lb] = []

    def launch(wanted: Settings, *args: str, **keys: Any) -> Lb:
        conf = tmp_path / f"conf{len(started)}.yaml"
        started.append(Lb(runtime, conf, wanted, *args, **keys))
        return started[-1]

    yield launch
    for one in started:
        one.finish()


@pytest.fixture
def lb(start: LbFactory) -> LbFactory:
    """Start `lb` with one service in front of some backends."""

    def launch(*backends: Origin | str | Settings, **keys: Any) -> Lb:
        where = [b.address if isinstance(b, Origin) else b for b in backends]
        return start(settings(*where, **keys))

    return launch


@pytest.fixture
def origin() -> Iterator[OriginFactory]:
    """Start backends that play a script."""
    made: list[Origin] = []

    def launch(script: Script | bytes = OK, **keys: Any) -> Origin:
        play = answers(script) if isinstance(script, bytes) else script
        made.append(Origin(play, **keys))
        return made[-1]

    yield launch
    for one in made:
        one.close()
    errors = [error for one in made for error in one.errors]
    assert not errors, errors


@pytest.fixture
def conducted(runtime: str) -> Iterator[Conducted]:
    """Serve for an application, in a thread of this process; return the address."""
    started: list[Embedded] = []

    def launch(application: ProxyHttp[Any]) -> str:
        listen = Listen(target=Target("127.0.0.1", 0))
        service = Service(name="web", listen=(listen,))
        config = Config(services=(service,), upstreams={})
        gateway = Gateway(config, load(runtime).env(), {"web": application})
        logs = Logs(None, Level.INFO)
        started.append(Embedded(runtime, gateway, bind(config), logs))
        return started[0].address

    yield launch
    for one in started:
        one.stop()
