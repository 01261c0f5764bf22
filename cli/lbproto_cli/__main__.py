"""`python -m lbproto_cli` is `lb`."""

from __future__ import annotations

import sys

from lbproto_cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
