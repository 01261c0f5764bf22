"""Which language an incumbent speaks."""

from __future__ import annotations

import pytest

from lbproto.handover.dialect import Inbox
from lbproto.handover.keys import FdToken, listener_key
from lbproto.handover.messages import Commit, Fds
from lbproto.handover.pingora import Table
from lbproto.handover.wire import Broken, Received, encode
from lbproto.testing import cuts

ONE = (FdToken(1),)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9])
def test_frames_are_known_by_their_header(size: int) -> None:
    inbox = Inbox()
    data = encode(Commit())
    assert inbox.receive(data[:size], ()) == []
    assert inbox.buffered == size
    assert not inbox.pingora
    assert inbox.receive(data[size:], ()) == [Received(Commit(), ())]
    assert inbox.buffered == 0


def test_descriptors_of_a_frame_are_kept_while_it_is_not_known() -> None:
    inbox = Inbox()
    data = encode(Fds((listener_key("unix:/a"),)))
    found = []
    for number, octet in enumerate(cuts.bytewise(data)):
        found += inbox.receive(octet, () if number else ONE)
    assert found == [Received(Fds((listener_key("unix:/a"),)), ONE)]


@pytest.mark.parametrize("text", ["/a", "L:1", "LB", "LBX:80", "LB:1", "LBUP"])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_what_comes_with_descriptors_and_is_no_frame_is_pingoras(
    text: str, size: int
) -> None:
    inbox = Inbox()
    data = text.encode()
    inbox.receive(data[:size], ONE)
    inbox.receive(data[size:], ())
    if text == "LB":
        assert not inbox.pingora  # it may still become a frame
        assert inbox.unclaimed() == ONE
        assert inbox.unclaimed() == ()
        return
    assert inbox.pingora
    assert inbox.buffered == 0
    key = listener_key(f"tcp:{text}" if ":" in text else f"unix:{text}")
    assert inbox.finish() == Table(((key, ONE[0]),))


def test_what_comes_without_descriptors_and_is_no_frame_is_rubbish() -> None:
    inbox = Inbox()
    assert inbox.receive(b"/a", ()) == [Broken("no frame begins with this")]
    assert inbox.receive(b"/b", ONE) == []
    assert inbox.unclaimed() == ONE


def test_a_message_of_pingoras_that_is_wrong_breaks_the_channel() -> None:
    inbox = Inbox()
    assert inbox.receive(b"/a /b", ONE) == []
    found = inbox.finish()
    assert isinstance(found, Broken)
    assert "1 descriptors for 2" in found.reason
    assert inbox.unclaimed() == ONE
    (broken,) = inbox.receive(b"x" * 70_000, ())
    assert isinstance(broken, Broken)
    assert "more than" in broken.reason
