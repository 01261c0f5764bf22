"""The error log: one line for each call, whatever is in it."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproto.machine.effects import AccessRecord, Level, Log, Target
from lbproto.machine.values import ConnId
from lbproto_runtimes.logs import Logs, LogsError

if TYPE_CHECKING:
    from pathlib import Path

STAMP = r"20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]\.[0-9]{3}Z"


def logged(path: Path, level: Level, message: str, fields: dict[str, object]) -> str:
    """Write one line and give what follows its time."""
    path.unlink(missing_ok=True)
    logs = Logs(str(path), Level.DEBUG)
    logs.log(level, message, fields)
    logs.close()
    line = path.read_bytes().decode("ascii")
    assert line.endswith("\n")
    assert re.match(STAMP + " ", line)
    return line[len("2026-11-23T08:00:00.123Z ") : -1]


def test_a_line_has_time_level_message_and_fields(tmp_path: Path) -> None:
    fields = {"address": Target("::1", 80), "weight": 1, "reused": True}
    assert logged(tmp_path / "log", Level.WARNING, "it happened", fields) == (
        "warning it happened address=[::1]:80 weight=1 reused=true"
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", '""'),
        ("a b", '"a b"'),
        ("a=b", '"a=b"'),
        ('a"b\\c', r'"a\x22b\x5cc"'),
        ("a\r\n\x00\x7f\x1b", r'"a\x0d\x0a\x00\x7f\x1b"'),
        ("é", r'"\xc3\xa9"'),
        ("\udcff", r'"\xed\xb3\xbf"'),
        (b"\xff", r'"\xff"'),
        (b"/a?b#c", "/a?b#c"),
        (None, "None"),
        (0.25, "0.25"),
        (3.0, "3"),
    ],
)
def test_a_value_with_anything_unusual_is_quoted(
    value: object, expected: str, tmp_path: Path
) -> None:
    assert (
        logged(tmp_path / "log", Level.INFO, "m", {"k": value})
        == f"info m k={expected}"
    )


VALUES = st.text(st.characters()) | st.binary() | st.integers() | st.floats()


@given(st.text(st.characters()), st.dictionaries(st.text(), VALUES, max_size=3))
def test_one_call_is_one_printable_line(
    tmp_path_factory: pytest.TempPathFactory, message: str, fields: dict[str, object]
) -> None:
    line = logged(tmp_path_factory.getbasetemp() / "log", Level.INFO, message, fields)
    assert "\n" not in line
    assert line.isprintable() or line == ""


def test_lines_below_the_level_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log"
    logs = Logs(str(path), Level.WARNING)
    logs.log(Level.INFO, "a", {})
    logs.perform(Log(Level.DEBUG, "b", {}))
    logs.perform(Log(Level.ERROR, "c", {"k": "v"}))
    logs.close()
    assert re.fullmatch(STAMP + " error c k=v\n", path.read_text())


def test_an_exchange_is_a_line_for_debug(tmp_path: Path) -> None:
    record = AccessRecord(
        conn=ConnId(7),
        peer="192.0.2.1",
        method="GET",
        target="/",
        authority="a",
        version="1.1",
        status=200,
        received=0,
        sent=5,
        started=1.0,
        duration=0.0125,
        backend="10.0.0.1:80",
        tries=1,
        reused=False,
        error="",
    )
    for level, expected in (
        (Level.INFO, ""),
        (
            Level.DEBUG,
            "debug exchange conn=7 peer=192.0.2.1 method=GET target=/ authority=a"
            " version=1.1 status=200 received=0 sent=5 duration=0.0125"
            ' backend=10.0.0.1:80 tries=1 reused=false error=""\n',
        ),
    ):
        path = tmp_path / level.name
        logs = Logs(str(path), level)
        logs.access(record)
        logs.close()
        assert path.read_text().partition(" ")[2] == expected


def test_reopening_follows_the_name(tmp_path: Path) -> None:
    path = tmp_path / "log"
    logs = Logs(str(path), Level.INFO)
    logs.log(Level.INFO, "before", {})
    path.rename(tmp_path / "old")
    logs.log(Level.INFO, "still", {})
    logs.reopen()
    logs.log(Level.INFO, "after", {})
    logs.close()
    old = (tmp_path / "old").read_text().splitlines()
    assert [line.split()[2] for line in old] == ["before", "still"]
    assert [line.split()[2] for line in path.read_text().splitlines()] == ["after"]


def test_a_failure_to_reopen_keeps_the_old_file_and_tells_it(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "log"
    logs = Logs(str(path), Level.INFO)
    folder.rename(tmp_path / "moved")
    logs.reopen()
    logs.log(Level.INFO, "after", {})
    logs.close()
    first, second = (tmp_path / "moved" / "log").read_text().splitlines()
    assert first.endswith(
        f" error cannot open error_log {path}: No such file or directory"
    )
    assert second.endswith(" info after")


def test_no_path_is_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    logs = Logs(None, Level.INFO)
    logs.log(Level.INFO, "here", {})
    logs.reopen()
    logs.close()
    logs.log(Level.INFO, "still here", {})
    lines = [line.partition(" ")[2] for line in capfd.readouterr().err.splitlines()]
    assert lines == ["info here", "info still here"]


def test_a_log_that_takes_nothing_stops_nobody() -> None:
    logs = Logs("/dev/full", Level.INFO)
    logs.log(Level.INFO, "lost", {})
    logs.close()


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogsError) as caught:
        Logs(str(tmp_path), Level.INFO)
    assert str(caught.value) == f"cannot open error_log {tmp_path}: Is a directory"


def test_a_fifo_without_a_reader_does_not_hold_up_the_start(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(LogsError, match="No such device or address"):
        Logs(str(path), Level.INFO)
