"""What is in the wheel, and that it works where nothing else of the tree is."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"lbproto", "lbproto_runtimes", "lbproto_cli"}

pytest.importorskip("hatchling", reason="it builds the wheel")


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Run a program without a trace of the tree; return what it printed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    result = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,  # to compile takes a minute
        cwd=cwd,
        env={**kept, **environment},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module", params=["pure", "compiled"])
def compiled(request: pytest.FixtureRequest) -> bool:
    kept = any((ROOT / "build" / "compiled").glob("*"))
    if request.param == "compiled" and not kept and find_spec("mypyc") is None:
        pytest.skip("nothing compiles it")
    return request.param == "compiled"


@pytest.fixture(scope="module")
def wheel(compiled: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(
        *(sys.executable, "-m", "hatchling", "build", "--target", "wheel"),
        *("--directory", str(folder)),
        cwd=ROOT,
        LBPROTO_COMPILE=str(int(compiled)),
    )
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed") / "site"
    run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
        *("--no-index", "--disable-pip-version-check", "--no-warn-script-location"),
        *("--target", str(folder), str(wheel)),
        cwd=wheel.parent,
    )
    return folder


def test_the_wheel_has_three_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if "." not in name} == PACKAGES
    (info,) = {name for name in top if name.endswith(".dist-info")}
    assert top <= {*PACKAGES, info, info.replace(".dist-info", ".data")}
    assert not [name for name in names if "__pycache__" in name]


def test_it_says_for_which_python_it_is(wheel: Path, compiled: bool) -> None:
    assert wheel.name.endswith("-py3-none-any.whl") != compiled
    found = [n for n in zipfile.ZipFile(wheel).namelist() if n.endswith(".so")]
    assert bool(found) == compiled


def test_every_module_of_the_tree_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for root in (ROOT, ROOT / "runtimes", ROOT / "cli"):
        for package in PACKAGES:
            for file in (root / package).rglob("*.py"):
                assert file.relative_to(root).as_posix() in names


def test_all_packages_are_typed(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for package in PACKAGES:
        assert f"{package}/py.typed" in names


def test_the_manual_and_the_licence_come_along(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.endswith("share/man/man1/lb.1")]
    assert [name for name in names if name.endswith("licenses/LICENSE")]


def entry_points(wheel: Path) -> configparser.ConfigParser:
    archive = zipfile.ZipFile(wheel)
    (name,) = [n for n in archive.namelist() if n.endswith("entry_points.txt")]
    parsed = configparser.ConfigParser()
    parsed.read_string(archive.read(name).decode("utf-8"))
    return parsed


def test_the_entry_points_are_there_and_lead_somewhere(
    wheel: Path, installed: Path
) -> None:
    points = entry_points(wheel)
    assert points["console_scripts"]["lb"] == "lbproto_cli.main:command"
    runtimes = points["lbproto.runtimes"]
    assert {"asyncio", "uvloop"} <= set(runtimes)
    values = [points["console_scripts"]["lb"], *runtimes.values()]
    program = (
        "import sys; from importlib.metadata import EntryPoint\n"
        "for value in sys.argv[1:]: EntryPoint('x', value, 'y').load()"
    )
    values = [value for value in values if "Uvloop" not in value]
    run(
        sys.executable, "-c", program, *values, cwd=Path("/"), PYTHONPATH=str(installed)
    )


def test_lb_says_its_version_from_anywhere(installed: Path) -> None:
    declared = re.search(
        r'^version = "([^"]+)"$',
        (ROOT / "pyproject.toml").read_text("utf-8"),
        re.MULTILINE,
    )
    assert declared is not None
    said = run(
        *(sys.executable, str(installed / "bin" / "lb"), "--version"),
        cwd=Path("/"),
        PYTHONPATH=str(installed),
    )
    assert said.split()[-1] == declared[1]


def test_what_is_imported_is_what_was_installed(
    installed: Path, compiled: bool
) -> None:
    program = (
        "import lbproto, lbproto_runtimes, lbproto_cli\n"
        "from lbproto.machine.compilation import COMPILED\n"
        "print(COMPILED)\n"
        "print(lbproto.__file__, lbproto_runtimes.__file__, lbproto_cli.__file__)"
    )
    said = run(sys.executable, "-c", program, cwd=Path("/"), PYTHONPATH=str(installed))
    how, *places = said.split()
    assert how == str(compiled)
    for place in places:
        assert Path(place).is_relative_to(installed)
