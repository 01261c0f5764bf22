"""What the documents say is what the program does."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from lbproto_cli.load import parse
from tests.children import environment
from tests.packaging import http_page, sizes

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_readme_shows_the_help_as_it_is() -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "lbproto_cli", "--help"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(COLUMNS="80"),
    ).stdout
    assert help_text in blocks(README, "text")
    assert max(map(len, help_text.splitlines())) < 80


def test_the_readmes_program_runs_as_it_stands() -> None:
    (program,) = blocks(README, "python")
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(program, "README.md", "exec"), {})
    promised = re.findall(r"print\(.*\)  # (.*)", program)
    printed = out.getvalue().splitlines()
    assert len(printed) == len(promised) == 2
    for line, promise in zip(printed, promised, strict=True):
        assert promise.startswith(line)


def test_the_walk_through_is_the_example() -> None:
    program = blocks((ROOT / "docs" / "library.md").read_text("utf-8"), "python")[0]
    example = (ROOT / "examples" / "load_balancer.py").read_text("utf-8")
    assert program in example


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_configurations_on_the_pages_are_valid(page: Path) -> None:
    for block in blocks(page.read_text("utf-8"), "yaml"):
        if block.startswith("version:"):
            parse(block.encode("utf-8"), page.name, ("asyncio", "uvloop"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("mark", ["run", "test"])
def test_the_readme_has_its_two_commands_on_one_line_each(mark: str) -> None:
    (command,) = re.findall(rf"<!-- {mark} -->\n```sh\n(.*?)```", README, re.DOTALL)
    assert command.count("\n") == 1


def test_the_manual_has_every_flag() -> None:
    manual = (ROOT / "docs" / "lb.1").read_text("utf-8").replace("\\-", "-")
    (usage,) = [text for text in blocks(README, "text") if text.startswith("usage:")]
    for flag in re.findall(r"--[a-z-]+", usage):
        assert flag in manual, flag


def test_the_page_about_http_is_what_the_tables_say() -> None:
    assert http_page.page() == http_page.PAGE.read_text("utf-8"), (
        "stale: run python -m tests.packaging.http_page"
    )


def test_the_sizes_of_runtimes_are_counted() -> None:
    assert sizes.table() in sizes.PAGE.read_text("utf-8"), (
        "stale: run python -m tests.packaging.sizes"
    )
