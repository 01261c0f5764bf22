"""How large a runtime is: lines of code, counted.

python -m tests.packaging.sizes    writes the table into docs/architecture.md
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
RUNTIMES = ROOT / "runtimes" / "lbproto_runtimes"

PARTS = {
    "shared by all": (
        "perform",
        "channel",
        "wire",
        "polled_dial",
        "polls",
        "accept",
        "dial",
        "env",
    ),
    "TLS, shared by all": ("tls_channel", "contexts", "subject"),
    "one thread for all clients": ("hub", "alarms", "server"),
    "a thread or greenlet for each": ("attend", "polled"),
    "asyncio and uvloop alone": ("aio", "awaiting"),
    "threads alone": ("threads",),
    "gevent alone": ("greenlets",),
}
EXAMPLE = ROOT / "examples" / "selectors_runtime.py"

TABLE = re.compile(r"<!-- sizes -->\n(?:\|.*\n)*")


def code_lines(file: Path) -> int:
    """Count the lines that hold code: neither blank, comment nor docstring."""
    text = file.read_text("utf-8")
    lines = {
        number
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.strip().startswith("#")
    }
    for node in ast.walk(ast.parse(text)):
        # A string that stands alone documents something.
        alone = node.value if isinstance(node, ast.Expr) else None
        if isinstance(alone, ast.Constant) and isinstance(alone.value, str):
            lines -= set(range(alone.lineno, (alone.end_lineno or 0) + 1))
    return len(lines)


def table() -> str:
    rows = ["| part | modules | lines of code |", "|---|---|---|"]
    for part, names in PARTS.items():
        files = [RUNTIMES / f"{name}.py" for name in names]
        modules = ", ".join(f"`{name}`" for name in names)
        rows.append(f"| {part} | {modules} | {sum(map(code_lines, files))} |")
    count = code_lines(EXAMPLE)
    rows.append(f"| a fifth runtime, an example | `selectors_runtime` | {count} |")
    return "<!-- sizes -->\n" + "\n".join(rows) + "\n"


def main() -> None:
    text = PAGE.read_text("utf-8")
    PAGE.write_text(TABLE.sub(lambda _: table(), text), "utf-8")


if __name__ == "__main__":
    main()
