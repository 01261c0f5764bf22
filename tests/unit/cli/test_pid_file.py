"""The pid file: whole or absent, and gone with its process."""

from __future__ import annotations

import errno
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from lbproto_cli.pid_file import PidFile, PidFileError

if TYPE_CHECKING:
    from pathlib import Path


def test_it_names_the_process_and_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "lb.pid"
    path.write_text("1\n")
    with PidFile(str(path)) as ours:
        ours.claim()
        assert path.read_text() == f"{os.getpid()}\n"
        assert os.listdir(tmp_path) == ["lb.pid"]
    assert os.listdir(tmp_path) == []


def test_the_file_of_a_successor_stays(tmp_path: Path) -> None:
    path = tmp_path / "lb.pid"
    with PidFile(str(path)) as ours:
        ours.claim()
        path.unlink()
        path.write_text("1\n")
    assert path.read_text() == "1\n"


def test_a_file_that_somebody_removed_is_no_trouble(tmp_path: Path) -> None:
    path = tmp_path / "lb.pid"
    with PidFile(str(path)) as ours:
        ours.claim()
        path.unlink()
    assert not path.exists()


def test_no_path_means_no_file() -> None:
    with PidFile(None) as none:
        none.claim()
        none.leave()


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "lb.pid"
    path.symlink_to(victim)
    (tmp_path / f"lb.pid.{os.getpid()}").symlink_to(victim)
    with PidFile(str(path)) as ours:
        ours.claim()
        assert not path.is_symlink()
    assert victim.read_text() == "precious"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none" / "lb.pid"
    with pytest.raises(PidFileError) as caught, PidFile(str(path)) as ours:
        ours.claim()
    assert str(caught.value) == (
        f"cannot write pid_file {path}: No such file or directory"
    )


def test_one_that_was_left_to_another_process_stays(tmp_path: Path) -> None:
    path = tmp_path / "lb.pid"
    with PidFile(str(path)) as ours:
        ours.claim()
        ours.leave()
    assert path.read_text() == f"{os.getpid()}\n"


def test_it_is_taken_from_a_process_that_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lb.pid"
    holder = os.fork()
    if not holder:
        PidFile(str(path)).claim()
        signal.pause()
    while not path.exists():
        time.sleep(0.001)
    with PidFile(str(path)) as ours:
        with pytest.raises(PidFileError, match=f"belongs to process {holder}"):
            ours.claim()
        ours.take()
        assert path.read_text() == f"{os.getpid()}\n"
    assert not path.exists()
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)


def test_in_a_folder_of_roots_it_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lb.pid"
    path.write_text("1234567\n")
    inode = path.stat().st_ino
    real = os.open

    def refused(name: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(name, flags, mode)

    monkeypatch.setattr(os, "open", refused)
    with PidFile(str(path)) as ours:
        ours.take()
        assert path.read_text() == f"{os.getpid()}\n"
        assert path.stat().st_ino == inode
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(PidFileError, match="Permission denied"):
        PidFile(str(tmp_path / "link")).take()
