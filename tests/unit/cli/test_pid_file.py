"""The pid file: whole or absent, and gone with its process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from lbproto_cli.pid_file import PidFileError, pid_file

if TYPE_CHECKING:
    from pathlib import Path


def test_it_names_the_process_and_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "lb.pid"
    path.write_text("1\n")
    with pid_file(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
        assert os.listdir(tmp_path) == ["lb.pid"]
    assert os.listdir(tmp_path) == []


def test_the_file_of_a_successor_stays(tmp_path: Path) -> None:
    path = tmp_path / "lb.pid"
    with pid_file(str(path)):
        path.unlink()
        path.write_text("1\n")
    assert path.read_text() == "1\n"


def test_a_file_that_somebody_removed_is_no_trouble(tmp_path: Path) -> None:
    path = tmp_path / "lb.pid"
    with pid_file(str(path)):
        path.unlink()
    assert not path.exists()


def test_no_path_means_no_file() -> None:
    with pid_file(None):
        pass


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "lb.pid"
    path.symlink_to(victim)
    (tmp_path / f"lb.pid.{os.getpid()}").symlink_to(victim)
    with pid_file(str(path)):
        assert not path.is_symlink()
    assert victim.read_text() == "precious"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none" / "lb.pid"
    with pytest.raises(PidFileError) as caught, pid_file(str(path)):
        pass
    assert str(caught.value) == (
        f"cannot write pid_file {path}: No such file or directory"
    )
