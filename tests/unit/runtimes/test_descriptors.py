from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import resource, sys
sys.path[:0] = {path!r}
from lbproto_runtimes.descriptors import raise_descriptor_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
print(raise_descriptor_limit(), resource.getrlimit(resource.RLIMIT_NOFILE))
print(raise_descriptor_limit())
"""


def test_the_soft_limit_becomes_the_hard_one() -> None:
    program = PROGRAM.format(path=sys.path)
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "200 (200, 200)\n200\n"
