"""How a value of a configuration is shown in a message about it."""

from __future__ import annotations

import json
from typing import Final

__all__ = ["SHOWN", "shown"]

SHOWN: Final = 64
"""Characters of a text that are shown at most."""


def shown(value: object) -> str:
    """Show a value of the file in a message: short, quoted, printable ASCII."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str():
            # JSON leaves DEL alone.
            text = json.dumps(value[:SHOWN]).replace("\x7f", "\\u007f")
            return f"{text}..." if len(value) > SHOWN else text
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case _:
            return f"a {type(value).__name__}"
