"""Processes that tests start."""

from __future__ import annotations

import os
import sys


def environment(**variables: str) -> dict[str, str]:
    """Where children find what is tested: where this process has it from."""
    found = {key: value for key, value in os.environ.items() if key != "LB_LOG"}
    # Not in the folder where they are started, which may have the sources.
    path = os.pathsep.join(filter(None, sys.path))
    return {**found, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", **variables}
