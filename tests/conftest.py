"""Settings for every test.

With `LBPROTO_INSTALLED=1` the packages are tested as they are installed, with the core
compiled if it was; without it the sources of this tree, whatever is installed.
"""

from __future__ import annotations

import filecmp
import os
import sys
import sysconfig
from pathlib import Path

from hypothesis import settings

ROOT = Path(__file__).parents[1]

# A machine under load is slow, and no test here judges speed.
settings.register_profile("default", deadline=None, max_examples=100)
settings.register_profile("nightly", deadline=None, max_examples=5000)
settings.load_profile("default")


def prefer_the_installed() -> None:
    """Find what is installed before the sources, here and in children."""
    place = Path(sysconfig.get_path("purelib"))
    for root in (ROOT, ROOT / "runtimes", ROOT / "cli"):
        for source in root.glob("lbproto*/**/*.py"):
            copy = place / source.relative_to(root)
            if not copy.exists() or not filecmp.cmp(source, copy, shallow=False):
                raise SystemExit(f"{copy} is not {source}: install again")
    sys.path.insert(0, str(place))


# Not in a hook: other conftests import what is tested before those are called.
if os.environ.get("LBPROTO_INSTALLED") == "1":
    prefer_the_installed()
