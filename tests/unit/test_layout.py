"""How the house is built: small modules that say what they are."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [
    ROOT / "lbproto",
    ROOT / "runtimes" / "lbproto_runtimes",
    ROOT / "cli" / "lbproto_cli",
]
MODULES = sorted(file for package in PACKAGES for file in package.rglob("*.py"))
MAX_LINES = 400
VAGUE = re.compile(r"(?:^|_)(utils?|helpers?|managers?|common|misc)(?:_|$)")

GENERATED = {"build", "corpus", "dist", "htmlcov", "__pycache__"}
HIDDEN_BUT_OURS = {".ci", ".github"}
# In two parts, or this file would find itself.
SOMEBODYS_MACHINE = re.compile(
    r"(?<![\w.$}*-])/(?:"
    + "|".join(["wo" + "rk/", "tmp/ve" + "nv", "ro" + "ot/", r"ho" + r"me/\w"])
    + ")"
)


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def files_of_the_repository() -> Iterator[Path]:
    for folder, inside, names in os.walk(ROOT):
        inside[:] = [
            name
            for name in inside
            if name in HIDDEN_BUT_OURS
            or not (name.startswith(".") or name in GENERATED or name.endswith("-info"))
        ]
        for name in names:
            file = Path(folder, name)
            if not name.startswith(".coverage") and not file.is_symlink():
                yield file


def test_modules_are_found() -> None:
    assert len(MODULES) > 60
    assert all(package.is_dir() for package in PACKAGES)


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_a_module_has_one_idea(file: Path) -> None:
    lines = file.read_text("utf-8").count("\n")
    assert lines < MAX_LINES, f"{name_of(file)} has {lines} lines"
    assert not VAGUE.search(file.stem), f"{name_of(file)} has a name without a meaning"


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_a_module_says_what_it_is_and_what_it_offers(file: Path) -> None:
    tree = ast.parse(file.read_text("utf-8"))
    docstring = ast.get_docstring(tree)
    assert docstring, f"{name_of(file)} has no docstring"
    assert docstring.split("\n")[0].endswith((".", ":", "?"))
    if file.stem in ("__init__", "__main__"):
        return
    offered = [
        node
        for node in tree.body
        if isinstance(node, ast.Assign)
        and [target.id for target in node.targets if isinstance(target, ast.Name)]
        == ["__all__"]
    ]
    assert len(offered) == 1, f"{name_of(file)} has no __all__"
    assert ast.literal_eval(offered[0].value), f"{name_of(file)} offers nothing"


def test_folders_have_names_with_a_meaning() -> None:
    folders = {folder for package in PACKAGES for folder in package.rglob("*/")}
    assert [folder for folder in sorted(folders) if VAGUE.search(folder.name)] == []


def test_no_file_knows_a_developers_machine() -> None:
    found = []
    for file in files_of_the_repository():
        text = file.read_bytes().decode("utf-8", "replace")
        found += [
            f"{name_of(file)}: {line.strip()[:80]}"
            for line in text.split("\n")
            if SOMEBODYS_MACHINE.search(line)
        ]
    assert found == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("cd /wo" + "rk/main", True),
        ('"/tmp/ve' + 'nv/bin/python"', True),
        ("(/ro" + "ot/.cache)", True),
        ('b"GET /wo' + 'rk HTTP/1.1"', False),
        ("$dir/wo" + "rk/x", False),
        ("/tmp/load_balancer.sock", False),
    ],
)
def test_what_counts_as_a_path_of_a_machine(line: str, found: bool) -> None:
    assert bool(SOMEBODYS_MACHINE.search(line)) is found
