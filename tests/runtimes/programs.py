"""Programs that bring services of their own to a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtimes.process import Lb, Settings

__all__ = ["BEGIN", "END", "ProgramFactory", "program"]

ProgramFactory = Callable[..., Lb]

BEGIN = """
import os
from dataclasses import replace
from lbproto import *
from lbproto_runtimes import *

BACKENDS = os.environ.get("BACKENDS", "").split()
server = Server(Opt.parse_args())
server.bootstrap()

class To(ProxyHttp):
    def __init__(self, upstreams):
        self.upstreams = upstreams

    def upstream_peer(self, session, ctx):
        return HttpPeer(self.upstreams.select(b"", 256))

def proxy(application, *listen):
    made = http_proxy_service(server.configuration, application)
    for address in listen or ("127.0.0.1:0",):
        made.add_tcp(address)
    return made
"""
"""What nearly all of them begin with."""

END = "\nserver.run_forever()\n"


@pytest.fixture
def program(runtime: str, tmp_path: Path) -> Iterator[ProgramFactory]:
    """Start a program, with a file and the addresses of some backends."""
    started: list[Lb] = []

    def launch(
        text: str,
        *args: str,
        backends: tuple[str, ...] = (),
        wanted: Settings | None = None,
        runtime: str = runtime,
        **variables: Any,
    ) -> Lb:
        path = tmp_path / f"program{len(started)}.py"
        path.write_text(text, "utf-8")
        conf = tmp_path / f"conf{len(started)}.yaml"
        told = {"BACKENDS": " ".join(backends), **variables}
        started.append(
            Lb(runtime, conf, wanted or {}, *args, program=path, variables=told)
        )
        return started[-1]

    yield launch
    for one in started:
        one.finish()
