"""What is written down twice in the repository is the same both times."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import lbproto_runtimes

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
CHECKS = ROOT / ".ci" / "run"


def test_the_manual_is_of_this_version() -> None:
    title = (ROOT / "docs" / "lb.1").read_text("utf-8").split("\n", 1)[0]
    assert f'"lbproto {PROJECT["project"]["version"]}"' in title


def test_the_declared_runtimes_are_the_built_in_ones() -> None:
    declared = PROJECT["project"]["entry-points"]["lbproto.runtimes"]
    # Not `names()`: where lbproto is installed, that reads the declaration itself.
    assert declared == dict(lbproto_runtimes._BUILT_IN)


def test_the_checks_are_a_valid_script() -> None:
    subprocess.run(["bash", "-n", str(CHECKS)], check=True)


@pytest.mark.parametrize("mark", ["run", "test"])
def test_the_checks_do_not_retype_the_readmes_commands(mark: str) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    (command,) = re.findall(rf"<!-- {mark} -->\n```sh\n(.*?)\n```", readme)
    script = CHECKS.read_text("utf-8")
    assert f"command_of {mark}" in script
    assert command not in script


def test_the_checks_install_the_linters_that_are_declared() -> None:
    script = CHECKS.read_text("utf-8")
    (line,) = [line for line in script.split("\n") if "types-PyYAML" in line]
    for requirement in PROJECT["dependency-groups"]["lint"]:
        assert requirement in line


def test_the_forge_runs_the_same_checks() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert "bash .ci/run" in [step.get("run") for step in steps]


def test_the_licence_is_the_one_that_is_declared() -> None:
    assert PROJECT["project"]["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
