from __future__ import annotations

from lbproto.framing.messages import Body, End
from lbproto.proxy.held import HELD_LIMIT, MOST_PIECES, HeldContent

HALF = Body(1, b"x" * (HELD_LIMIT // 2))


def test_pieces_are_taken_once_and_in_order() -> None:
    held = HeldContent()
    held.add(Body(1, b"a"))
    held.add(Body(1, b"b"))
    assert held.take_unsent() == [Body(1, b"ab")]
    held.add(End(1))
    assert held.take_unsent() == [End(1)]
    assert held.take_unsent() == []
    assert held.complete
    assert held.received == 2


def test_what_fits_can_be_sent_again() -> None:
    held = HeldContent()
    held.add(HALF)
    held.add(End(1))
    held.take_unsent()
    assert held.intact
    held.rewind()
    assert held.take_unsent() == [HALF, End(1)]


def test_what_does_not_fit_is_dropped_once_it_was_sent() -> None:
    held = HeldContent()
    held.add(HALF)
    assert not held.overfull
    held.add(HALF)
    assert held.overfull
    held.add(Body(1, b"x"))
    assert held.size == HELD_LIMIT + 1
    held.take_unsent()
    assert not held.intact
    assert not held.overfull
    assert held.size == 0


def test_content_that_was_sent_does_not_pause_the_client() -> None:
    held = HeldContent()
    held.add(HALF)
    held.add(HALF)
    held.take_unsent()
    assert held.intact
    assert not held.overfull


def test_after_forgetting_nothing_is_held_any_more() -> None:
    held = HeldContent()
    held.add(Body(1, b"a"))
    held.take_unsent()
    held.add(Body(1, b"bc"))
    held.forget_sent()
    assert held.size == 2
    assert held.take_unsent() == [Body(1, b"bc")]
    assert held.size == 0
    assert held.received == 3


def test_pieces_are_few_however_small_they_are() -> None:
    held = HeldContent()
    content = bytes(range(256)) * 8
    for octet in content:
        held.add(Body(1, bytes((octet,))))
    assert len(held._pieces) <= MOST_PIECES
    assert held.size == held.received == len(content)
    held.add(End(1))
    assert [*held.take_unsent()] == [Body(1, content), End(1)]
    assert held.intact


def test_pieces_that_are_joined_stay_sent_or_unsent() -> None:
    held, sent = HeldContent(), b""
    for number in range(1000):
        held.add(Body(1, b"%d," % number))
        if number % 300 < 100:
            sent += b"".join(piece.data for piece in held.take_unsent())
    left = b"".join(piece.data for piece in held.take_unsent())
    whole = b"".join(b"%d," % number for number in range(1000))
    assert sent + left == whole
    held.rewind()
    assert b"".join(piece.data for piece in held.take_unsent()) == whole
