"""The figures of a run as tables, as a page and as a chart."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from bench.chart import draw
from bench.report import Result, Results, into_page, summary, table

COST = Result(
    "small",
    "small <exchange>",
    "CPU µs/request",
    "at most 1.6 times nginx",
    False,
    {"lb, uvloop": [30.0, 20.0, 25.0], "nginx": [10.0, 12.5, 15.0]},
    {"lb, uvloop": {"per second": 9000.0}, "nginx": {"per second": 20000.0}},
)
GROWTH = Result(
    "backends", "growth", "times", "", True, {"nginx": [1.5]}, {"nginx": {}}
)
RUN = Results(
    {"cores": "2", "system": "Linux 6.1", "processor": "x", "python": "3.11.2"},
    {"lb, uvloop": "3.11.2", "nginx": "1.22.1"},
    3,
    2,
    [COST, GROWTH],
).plain()


def test_a_table_has_medians_ranges_and_ratios() -> None:
    rows = table(COST, "nginx").split("\n")
    assert "| lb, uvloop | 25.0 | 20.0 to 30.0 | 2.00 | 9000 |" in rows
    assert "| nginx | 12.5 | 10.0 to 15.0 | 1.00 | 20000 |" in rows
    assert "of nginx" not in table(GROWTH, "nginx")


def test_all_rows_are_multiples_of_the_base() -> None:
    rows = summary(RUN, "nginx").split("\n")
    assert rows[0] == "| | lb, uvloop | nginx |"
    assert "| small <exchange>, CPU µs/request | 2.00x | 12.5 |" in rows
    assert "| growth, times | - | 1.50 |" in rows


def test_a_page_keeps_what_is_around_its_marks() -> None:
    page = "a\n<!-- figures -->\nold\n<!-- end of figures -->\nb\n"
    found = into_page(page, RUN, "nginx")
    assert found.startswith("a\n<!-- figures -->\nLinux 6.1, 2 cores")
    assert found.endswith("|\n<!-- end of figures -->\nb\n")
    assert "old" not in found
    assert into_page(found, RUN, "nginx") == found
    with pytest.raises(ValueError, match="lacks"):
        into_page("no marks", RUN, "nginx")


def test_a_chart_is_xml_with_a_bar_for_each_proxy_and_no_multiples() -> None:
    svg = "{http://www.w3.org/2000/svg}"
    chart = ElementTree.fromstring(draw(RUN))
    panels = chart.findall(f"{svg}g")
    assert len(panels) == 1
    bars = panels[0].findall(f"{svg}rect")
    assert [bar.get("class") for bar in bars] == ["ours", "base"]
    ours, base = (float(bar.get("width", "")) for bar in bars)
    assert ours == pytest.approx(2 * base, abs=0.1)
    assert "prefers-color-scheme: dark" in draw(RUN)
