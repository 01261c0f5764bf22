from __future__ import annotations

from lbproto.testing import cuts


def test_every_way_of_cutting_keeps_the_bytes() -> None:
    for pieces in cuts.segmentations(b"hello"):
        assert b"".join(pieces) == b"hello"
        assert all(pieces)
    assert len(list(cuts.segmentations(b"hello"))) == 2 + 4
    assert len(list(cuts.segmentations(b"hello", every=2))) == 2 + 2


def test_nothing_has_no_pieces() -> None:
    assert cuts.whole(b"") == []
    assert cuts.bytewise(b"") == []
    assert cuts.at(b"", [0, 1]) == []
    assert list(cuts.two_way(b"")) == []


def test_cuts_outside_of_the_data_do_not_count() -> None:
    assert cuts.at(b"abc", [-1, 0, 1, 1, 3, 9]) == [b"a", b"bc"]


def test_two_way_finds_every_place() -> None:
    assert list(cuts.two_way(b"abc")) == [[b"a", b"bc"], [b"ab", b"c"]]
