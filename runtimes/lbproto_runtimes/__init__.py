"""Runtimes: what carries out the effects of the pure core.

A runtime is found by name among the entry points of the group `lbproto.runtimes`,
so anyone may add one; the built-in ones are known also where lbproto runs from its
source tree. Nothing of a runtime is imported before it is asked for.

Programs that bring services of their own begin here, too: `Server` and what goes with
it. It is the command's master and workers, so `lbproto_cli` has it.
"""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, cast

from lbproto.machine.errors import LbError
from lbproto_runtimes.api import Runtime

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lbproto_cli.running import ServiceError
    from lbproto_cli.server import Opt, Server
    from lbproto_cli.services import background_service, http_proxy_service
    from lbproto_runtimes.upkeep import Upkeep

__all__ = [
    "Opt",
    "Runtime",
    "RuntimeUnavailable",
    "Server",
    "ServiceError",
    "Upkeep",
    "background_service",
    "http_proxy_service",
    "load",
    "names",
    "require",
]

GROUP: Final = "lbproto.runtimes"

_BUILT_IN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "asyncio": "lbproto_runtimes.aio:AsyncioRuntime",
        "uvloop": "lbproto_runtimes.aio:UvloopRuntime",
        "gevent": "lbproto_runtimes.greenlets:GeventRuntime",
        "threads": "lbproto_runtimes.threads:ThreadsRuntime",
    }
)
_NEEDS: Final[Mapping[str, str]] = MappingProxyType(
    {"uvloop": "uvloop", "gevent": "gevent"}
)
"""The package that a built-in runtime needs beside the standard library."""

_ELSEWHERE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Opt": "lbproto_cli.server",
        "Server": "lbproto_cli.server",
        "ServiceError": "lbproto_cli.running",
        "Upkeep": "lbproto_runtimes.upkeep",
        "background_service": "lbproto_cli.services",
        "http_proxy_service": "lbproto_cli.services",
    }
)
"""What is offered here and read when it is asked for: it needs much, or a loop."""


class RuntimeUnavailable(LbError):
    """There is no such runtime, or it cannot be imported."""


def __getattr__(name: str) -> object:
    where = _ELSEWHERE.get(name)
    if where is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(importlib.import_module(where), name)
    return found


def _found() -> dict[str, EntryPoint]:
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    for name, value in _BUILT_IN.items():
        # The built-in ones win: a name must not change its meaning by an install.
        found[name] = EntryPoint(name, value, GROUP)
    return found


def names() -> tuple[str, ...]:
    """List the runtimes that may be asked for, in alphabetical order."""
    return tuple(sorted(_found()))


def require(name: str) -> None:
    """Check that a runtime is there, and what it needs, without loading it.

    Raises:
        RuntimeUnavailable: it is not.
    """
    if name not in _found():
        raise RuntimeUnavailable(f"there is no runtime named {name!a}")
    needed = _NEEDS.get(name)
    if needed is None:
        return
    try:
        importlib.import_module(needed)
    except ImportError:
        message = f"{name} is not installed (pip install 'lbproto[{name}]')"
        raise RuntimeUnavailable(message) from None


def load(name: str) -> Runtime:
    """Import a runtime and make an instance of it.

    Raises:
        RuntimeUnavailable: there is none of this name, or it cannot be imported.
    """
    require(name)
    try:
        return cast("Runtime", _found()[name].load()())
    except (ImportError, AttributeError) as error:
        message = f"the runtime {name!a} cannot be imported: {error}"
        raise RuntimeUnavailable(message) from None
