"""The chart of a run, as SVG: a panel for each row, a bar for each proxy.

    python -m bench.chart RESULTS.json CHART.svg

It has a background of its own and follows the reader's choice of light or dark.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.sax.saxutils import escape

__all__ = ["draw", "main"]

BASE: Final = "nginx"
SHOWN: Final = (
    "small",
    "few",
    "response",
    "upload",
    "chunked",
    "connect",
    "websocket",
)
COLUMNS: Final = 2
WIDTH: Final = 440
"""Of a panel; names are to the left of its bars, figures to their right."""
NAMES: Final = 88
FIGURES: Final = 92
BAR: Final = 15
HEAD: Final = 46
GAP: Final = 20
TOP: Final = 58
STYLE: Final = """\
  svg { --ground: #ffffff; --text: #1f2328; --faint: #656d76; --line: #d0d7de;
        --ours: #0969da; --base: #8250df; --other: #afb8c1; }
  @media (prefers-color-scheme: dark) {
    svg { --ground: #0d1117; --text: #e6edf3; --faint: #8d96a0; --line: #30363d;
          --ours: #4493f8; --base: #ab7df8; --other: #6e7681; } }
  text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif;
         fill: var(--text); }
  .title { font-size: 16px; font-weight: 600; } .head { font-weight: 600; }
  .faint { fill: var(--faint); font-size: 11px; }
  .ground { fill: var(--ground); } .ours { fill: var(--ours); }
  .base { fill: var(--base); } .other { fill: var(--other); }
  .one { stroke: var(--base); stroke-dasharray: 3 3; }
"""


class Bar(NamedTuple):
    """One proxy in a panel."""

    name: str
    value: float
    ratio: float | None


def figure(one: float) -> str:
    """Write a figure with about three digits."""
    return f"{one:,.0f}" if one >= 100 else f"{one:.1f}"


def kind(name: str) -> str:
    """Choose the colour of a bar."""
    return "ours" if name.startswith("lb,") else "base" if name == BASE else "other"


def panel(row: Mapping[str, Any], names: Sequence[str], left: int, top: int) -> str:
    """Draw one row of the benchmark; the longest bar fills the panel."""
    medians: Mapping[str, float] = row["medians"]
    unit = medians.get(BASE)
    bars = [
        Bar(name, medians[name], medians[name] / unit if unit else None)
        for name in names
        if name in medians
    ]
    room = WIDTH - NAMES - FIGURES
    scale = room / max(bar.value for bar in bars)
    parts = [
        f'<g transform="translate({left} {top})">',
        f'<text class="head" y="12">{escape(row["title"])}</text>',
        f'<text class="faint" y="28">{escape(row["unit"])}; times {BASE}</text>',
    ]
    for number, bar in enumerate(bars):
        y = HEAD - 8 + number * BAR
        length = max(1.0, bar.value * scale)
        times = f" ({bar.ratio:.2f}x)" if bar.ratio is not None else ""
        parts += [
            f'<text x="{NAMES - 6}" y="{y + 10}" text-anchor="end">'
            f"{escape(bar.name)}</text>",
            f'<rect class="{kind(bar.name)}" x="{NAMES}" y="{y + 1}"'
            f' width="{length:.1f}" height="{BAR - 4}" rx="2"/>',
            f'<text class="faint" x="{NAMES + length + 5:.1f}" y="{y + 10}">'
            f"{figure(bar.value)}{times}</text>",
        ]
    if unit:
        x = NAMES + unit * scale
        bottom = HEAD - 8 + len(bars) * BAR
        parts.append(
            f'<line class="one" x1="{x:.1f}" x2="{x:.1f}" y1="{HEAD - 8}"'
            f' y2="{bottom}"/>'
        )
    return "\n".join([*parts, "</g>"])


def draw(results: Mapping[str, Any]) -> str:
    """Draw the rows that are costs; times and multiples are left out."""
    rows = [row for row in results["rows"] if row["key"] in SHOWN and row["medians"]]
    names = list(results["versions"])
    height = HEAD + len(names) * BAR + GAP
    lines = (len(rows) + COLUMNS - 1) // COLUMNS
    width = COLUMNS * (WIDTH + GAP) + GAP
    total = TOP + lines * height + GAP
    about = ", ".join(
        f"{name} {number}"
        for name, number in results["versions"].items()
        if not name.startswith("lb,")
    )
    machine = results["machine"]
    where = f"{machine['system']}, {machine['cores']} cores, Python {machine['python']}"
    label = "CPU time of the proxy for each kind of work, shorter is better"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {total}"'
        f' width="{width}" height="{total}" role="img" aria-label="{label}">',
        f"<style>\n{STYLE}</style>",
        f'<rect class="ground" width="{width}" height="{total}" rx="8"/>',
        f'<text class="title" x="{GAP}" y="26">CPU time of the proxy: shorter is'
        " better</text>",
        f'<text class="faint" x="{GAP}" y="44">{escape(where)}; {escape(about)}</text>',
    ]
    for number, row in enumerate(rows):
        line, column = divmod(number, COLUMNS)
        left, top = GAP + column * (WIDTH + GAP), TOP + 8 + line * height
        parts.append(panel(row, names, left, top))
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    """Draw the chart of a run that was written as JSON."""
    source, target = (Path(one) for one in sys.argv[1:])
    target.write_text(draw(json.loads(source.read_text("utf-8"))), "utf-8")


if __name__ == "__main__":
    main()
