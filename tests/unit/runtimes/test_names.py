"""Runtimes by name."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import lbproto_runtimes
from lbproto_runtimes import RuntimeUnavailable, load, names, require
from tests.children import environment

if TYPE_CHECKING:
    from pathlib import Path


def install(folder: Path, entries: str) -> None:
    info = folder / "some_runtime-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[lbproto.runtimes]\n{entries}\n")


def test_the_built_in_ones_are_there() -> None:
    assert {"asyncio", "uvloop"} <= set(names())
    assert list(names()) == sorted(names())
    assert load("asyncio").name == "asyncio"


def test_one_may_be_added_but_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "other = other_runtime:Other\nasyncio = other_runtime:Other")
    (tmp_path / "other_runtime.py").write_text("class Other:\n    name = 'other'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "other" in names()
    assert load("other").name == "other"
    assert load("asyncio").name == "asyncio"


def test_one_that_cannot_be_imported_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "broken = no_such_module:Runtime\nempty = json:Runtime")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("broken", "empty"):
        with pytest.raises(RuntimeUnavailable, match=f"'{name}' cannot be imported"):
            load(name)


def test_an_unknown_one_is_unavailable() -> None:
    with pytest.raises(RuntimeUnavailable, match="there is no runtime named 'tokio'"):
        load("tokio")


def test_uvloop_that_is_not_installed_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(RuntimeUnavailable, match="uvloop is not installed"):
        require("uvloop")
    require("asyncio")


def test_the_package_loads_no_event_loop() -> None:
    code = (
        "import sys, lbproto_runtimes; "
        "print([m for m in ('asyncio', 'uvloop', 'gevent') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
    assert lbproto_runtimes.__all__ == sorted(lbproto_runtimes.__all__)
