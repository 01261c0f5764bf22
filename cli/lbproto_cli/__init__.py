"""The command `lb`: arguments, the configuration file, and starting up.

The file becomes a tree of plain values with positions (`positions`), the tree is
held against the file's schema (`schema`) and against itself (`references`), and
what passes becomes a `lbproto.config.Config` (`load`). All problems are reported
at once, each with its line and column.
"""

from __future__ import annotations

__all__: list[str] = []
