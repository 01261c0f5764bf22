"""What was measured, as tables and as plain data for JSON."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

__all__ = ["Result", "Results", "into_page", "summary", "table"]

BEGIN: Final = "<!-- figures -->"
END: Final = "<!-- end of figures -->"


class Result(NamedTuple):
    """All samples of one row."""

    key: str
    title: str
    unit: str
    goal: str
    multiple: bool
    """The figures are multiples already."""
    samples: dict[str, list[float]]
    notes: dict[str, dict[str, float]]

    def medians(self) -> dict[str, float]:
        """Return one figure of each proxy."""
        return {name: statistics.median(found) for name, found in self.samples.items()}


class Results(NamedTuple):
    """A whole run."""

    machine: dict[str, str]
    versions: dict[str, str]
    rounds: int
    seconds: float
    rows: list[Result]

    def plain(self) -> dict[str, object]:
        """Return it in dictionaries, with the medians."""
        rows = [{**row._asdict(), "medians": row.medians()} for row in self.rows]
        return {**self._asdict(), "rows": rows}


def summary(results: Mapping[str, Any], base: str) -> str:
    """Write all rows in one table: the base's figure, and multiples of it."""
    rows = results["rows"]
    names = [
        name
        for name in results["versions"]
        if any(name in row["medians"] for row in rows)
    ]
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for row in rows:
        found = row["medians"]
        cells = []
        for name in names:
            one, unit = found.get(name), found.get(base)
            if one is None:
                cells.append("-")
            elif row["multiple"] or unit is None or name == base:
                cells.append(figure(one))
            else:
                cells.append(f"{one / unit:.2f}x")
        lines.append(f"| {row['title']}, {row['unit']} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def into_page(page: str, results: Mapping[str, Any], base: str) -> str:
    """Put the figures into a page of Markdown, between its two marks."""
    before, mark, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise ValueError(f"the page lacks {BEGIN} or {END}")
    machine = results["machine"]
    versions = results["versions"].items()
    about = ", ".join(f"{name} {one}" for name, one in versions if "lb," not in name)
    lines = [
        f"Linux {machine['system'].split()[-1]}, {machine['cores']} cores, Python"
        f" {machine['python']}; {about}; {results['rounds']} rounds of"
        f" {results['seconds']:g} s.",
        "",
        summary(results, base),
    ]
    return before + BEGIN + "\n" + "\n".join(lines) + END + after


def figure(one: float) -> str:
    """Write a figure with about three digits."""
    return f"{one:.0f}" if one >= 100 else f"{one:.1f}" if one >= 10 else f"{one:.2f}"


def table(row: Result, base: str) -> str:
    """Write one row as a table of its own."""
    medians = row.medians()
    notes = sorted({note for found in row.notes.values() for note in found})
    heads = [row.unit, "lowest to highest", f"of {base}", *notes]
    if row.multiple:
        heads.remove(f"of {base}")
    lines = [f"### {row.title}", ""]
    if row.goal:
        lines += [f"Goal: {row.goal}.", ""]
    lines += ["| | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for name, one in medians.items():
        spread = sorted(row.samples[name])
        cells = [figure(one), f"{figure(spread[0])} to {figure(spread[-1])}"]
        if not row.multiple:
            unit = medians.get(base)
            cells.append("-" if unit is None else f"{one / unit:.2f}")
        cells += [figure(row.notes[name][note]) for note in notes]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])
