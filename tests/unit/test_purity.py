"""Nothing under `lbproto/` reaches the outside: three nets.

The first reads the source: an allow-list of imports, no call that does I/O, folders
in their order, no loop straight over a set. An allow-list, because a list of what is
forbidden always misses one. The second runs `pure_run.py` where every door to the
system raises. The third runs it under two hash seeds and compares every effect.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.children import environment

ROOT = Path(__file__).parents[2]
CORE = ROOT / "lbproto"
PROGRAM = Path(__file__).with_name("pure_run.py")

# fmt: off
ALLOWED = frozenset([
    "__future__", "abc", "base64", "bisect", "collections", "contextlib",
    "dataclasses", "enum", "functools", "hashlib", "heapq", "hmac", "ipaddress",
    "itertools", "json", "math", "operator", "re", "struct", "types", "typing", "zlib",
    "h11", "lbproto",
    "mypy_extensions",  # types of the compiler, imported for the type checker alone
])
# fmt: on
FORBIDDEN = frozenset(
    ["open", "print", "input", "exec", "eval", "__import__", "breakpoint"]
)
FOLDERS = [
    "machine",
    "framing",
    "rewriting",
    "routing",
    "selection",
    "health",
    "discovery",
    "phases",
    "handover",
    "processes",
    "proxy",
    "testing",
]

# -- the first net: the source ------------------------------------------------


def imported(node: ast.Import | ast.ImportFrom, package: list[str]) -> list[str]:
    """The full names that a statement imports, relative ones resolved."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = package[: len(package) - node.level + 1] if node.level else []
    base = [*base, *(node.module or "").split(".")] if node.module else base
    if len(base) == 1 and base[0] == "lbproto":
        return [f"lbproto.{alias.name}" for alias in node.names]
    return [".".join(base)]


def misplaced(name: str, folder: str) -> str | None:
    """Say why a file in this folder may not import that name of lbproto."""
    target = name.split(".")[1] if "." in name else ""
    if target == "config":
        return "machine imports config" if folder == "machine" else None
    if target not in FOLDERS:
        return f"imports {name}, which is in no folder"
    if folder == "config":
        return None if target == "machine" else f"config imports {target}"
    if folder not in FOLDERS:
        return f"{folder} is no folder of the core"
    late = FOLDERS.index(target) > FOLDERS.index(folder)
    return f"{folder} imports {target}, which comes after it" if late else None


def bad_import(name: str, path: str) -> str | None:
    root = name.split(".")[0]
    folder = path.split("/")[1].removesuffix(".py")
    if root == "hypothesis" and folder == "testing":
        return None
    if root not in ALLOWED:
        return f"imports {name}"
    if root == "lbproto" and folder != "__init__":
        return misplaced(name, folder)
    return None


def is_set(node: ast.expr) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("set", "frozenset")
    )


def complaints(node: ast.AST, path: str) -> Iterator[str]:
    match node:
        case ast.Import() | ast.ImportFrom():
            for name in imported(node, path.split("/")[:-1]):
                complaint = bad_import(name, path)
                if complaint is not None:
                    yield complaint
        case ast.Name(id=name) if name in FORBIDDEN or name == "importlib":
            yield f"uses {name}"
        case ast.For(iter=loop) | ast.comprehension(iter=loop) if is_set(loop):
            yield "loops straight over a set"
        case _:
            pass


def violations(source: str, path: str) -> list[str]:
    """Everything impure in a file; `path` starts with `lbproto/`."""
    return [
        f"{path}:{getattr(node, 'lineno', '?')}: {complaint}"
        for node in ast.walk(ast.parse(source))
        for complaint in complaints(node, path)
    ]


def test_the_core_is_pure() -> None:
    files = sorted(CORE.rglob("*.py"))
    assert len(files) > 30
    found = [
        violation
        for file in files
        for violation in violations(
            file.read_text("utf-8"), file.relative_to(ROOT).as_posix()
        )
    ]
    assert found == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("proxy/x.py", "import socket"),
        ("proxy/x.py", "import os.path"),
        ("proxy/x.py", "from time import monotonic"),
        ("proxy/x.py", "import secrets, re"),
        ("proxy/x.py", "import importlib"),
        ("proxy/x.py", "def late():\n    import logging"),
        ("proxy/x.py", "if TYPE_CHECKING:\n    import asyncio"),
        ("proxy/x.py", "import lbproto_runtimes"),
        ("proxy/x.py", "from hypothesis import given"),
        ("proxy/x.py", "import lbproto.testing.sim"),
        ("proxy/x.py", "from lbproto import Gateway"),
        ("proxy/x.py", "import lbproto"),
        ("proxy/x.py", "from lbproto.elsewhere import x"),
        ("framing/x.py", "from lbproto.proxy.gateway import Gateway"),
        ("framing/x.py", "from ..proxy import gateway"),
        ("framing/x.py", "from lbproto.rewriting.rules import edit"),
        ("selection/x.py", "from lbproto.handover import frames"),
        ("machine/x.py", "from lbproto.config import Config"),
        ("machine/x.py", "from lbproto import config"),
        ("config/x.py", "from lbproto.framing.head import Head"),
        ("elsewhere/x.py", "from lbproto.machine.values import ConnId"),
        ("proxy/x.py", "open('/etc/passwd')"),
        ("proxy/x.py", "print(1)"),
        ("proxy/x.py", "input()"),
        ("proxy/x.py", "exec('1')"),
        ("proxy/x.py", "eval('1')"),
        ("proxy/x.py", "__import__('os')"),
        ("proxy/x.py", "breakpoint()"),
        ("proxy/x.py", "say = print\nsay(1)"),
        ("proxy/x.py", "for x in {1, 2}: pass"),
        ("proxy/x.py", "for x in set(y): pass"),
        ("proxy/x.py", "for x in frozenset(y): pass"),
        ("proxy/x.py", "for x in {z for z in y}: pass"),
        ("proxy/x.py", "xs = [x for x in {1, 2}]"),
    ],
)
def test_the_net_catches(path: str, source: str) -> None:
    assert len(violations(source, f"lbproto/{path}")) >= 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("proxy/x.py", "from collections.abc import Sequence\nimport h11"),
        ("proxy/x.py", "from lbproto.config import Config"),
        ("proxy/x.py", "from lbproto.framing.head import read"),
        ("proxy/x.py", "from .exchange import Exchange"),
        ("proxy/x.py", "from ..machine import timers"),
        ("framing/x.py", "from lbproto import config"),
        ("testing/x.py", "from hypothesis import strategies"),
        ("testing/x.py", "from lbproto.testing import cuts"),
        ("config/x.py", "from lbproto.machine.effects import Target"),
        ("config/x.py", "from lbproto.config.rules import HeaderRules"),
        ("__init__.py", "from lbproto.proxy.gateway import Gateway"),
        ("proxy/x.py", "for x in sorted({1, 2}): pass"),
        ("proxy/x.py", "found = 1 in {1, 2}"),
        ("proxy/x.py", "self.open = True\nself.open()"),
    ],
)
def test_the_net_lets_through(path: str, source: str) -> None:
    assert violations(source, f"lbproto/{path}") == []


# -- the second and third nets: a run -----------------------------------------


@cache
def run(seed: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(PYTHONHASHSEED=seed),
    )


def test_a_whole_day_of_traffic_needs_nothing_of_the_system() -> None:
    result = run("0")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("\n") > 100


@pytest.mark.parametrize(
    "door", ["open", "socket", "subprocess", "listdir", "clock", "random", "urandom"]
)
def test_the_run_is_watched(door: str) -> None:
    result = run("0", door)
    assert result.returncode != 0
    assert "Impure" in result.stderr


def test_the_effects_do_not_depend_on_the_hash_seed() -> None:
    assert run("0").stdout == run("1").stdout
