from __future__ import annotations

import pytest

from lbproto.machine.effects import HalfClose, Park, Target
from lbproto.machine.values import ConnId


def test_records_of_different_kinds_are_never_equal() -> None:
    assert HalfClose(ConnId(1)) != Park(ConnId(1))
    assert HalfClose(ConnId(1)) == HalfClose(ConnId(1))


def test_records_have_no_room_for_other_fields() -> None:
    with pytest.raises(AttributeError):
        HalfClose(ConnId(1)).other = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Target("10.0.0.1", 80), "10.0.0.1:80"),
        (Target("::1", 8080), "[::1]:8080"),
        (Target("backend.example", 443), "backend.example:443"),
        (Target("", 0, "/run/app.sock"), "unix:/run/app.sock"),
    ],
)
def test_a_target_prints_as_it_is_written_in_a_configuration(
    target: Target, text: str
) -> None:
    assert str(target) == text
