"""How this library runs: compiled, or as Python.

A wheel that was built where there is a C compiler has the modules that every request
runs through twice, and Python prefers the compiled ones. They do the same for a quarter
of the CPU time; but their classes cannot be subclassed, and what they are given is
checked against the annotations.
"""

from __future__ import annotations

from typing import Final

__all__ = ["COMPILED"]

COMPILED: Final[bool] = not __file__.endswith((".py", ".pyc"))
"""Whether the modules that every request runs through are compiled."""
