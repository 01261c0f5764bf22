"""`python -m lbproto_cli` is `lb`."""

from __future__ import annotations

from lbproto_cli.main import command

__all__: list[str] = []

if __name__ == "__main__":
    command()
