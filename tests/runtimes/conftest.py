"""The fixtures of the tests with real sockets."""

from __future__ import annotations

from tests.runtimes.fixtures import conducted, lb, origin, runtime, start

__all__ = ["conducted", "lb", "origin", "runtime", "start"]
