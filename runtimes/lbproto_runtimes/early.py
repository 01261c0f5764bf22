"""Modules that Python imports at first use, imported before that.

A process that gives up its rights may not be allowed to read the files of Python any
more: an installation in somebody's home directory is enough. So what a worker or the
prober may want later is read while it surely can be.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING, Final

from lbproto_runtimes.program import NOTHING, Program

if TYPE_CHECKING:
    from lbproto.config import Config

__all__ = ["import_early"]

ALWAYS: Final = (
    "concurrent.futures.thread",
    "encodings.idna",  # every look at a host name
    "linecache",
    "traceback",
)
OF_RUNTIMES: Final = {
    "gevent": (
        "gevent.lock",
        "gevent.monkey",
        "gevent.pool",
        "gevent.queue",
        "gevent.resolver.thread",
        "gevent.threadpool",
        "gevent.util",
        "logging",
        "pprint",
    ),
}
OF_PROBER: Final = ("asyncio", "lbproto_runtimes.prober_work")
OF_DNS: Final = ("dns.asyncbackend", "dns._asyncio_backend", "dns.asyncresolver")


def import_early(config: Config, runtime: str, program: Program = NOTHING) -> None:
    """Import what may be wanted later; what is not installed is not wanted."""
    modules = [*ALWAYS, *OF_RUNTIMES.get(runtime, ())]
    upstreams = config.upstreams.values()
    if program.background or any(it.health_check or it.source for it in upstreams):
        modules += OF_PROBER
    if any(it.source for it in upstreams):
        modules += OF_DNS
        with contextlib.suppress(ImportError):
            importlib.import_module("dns.rdata").load_all_types()
    for module in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
