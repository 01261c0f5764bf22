"""The fixtures of the tests with real sockets."""

from __future__ import annotations

from tests.runtimes.fixtures import lb, origin, runtime, start

__all__ = ["lb", "origin", "runtime", "start"]
