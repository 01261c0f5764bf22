"""Pingora's message, both ways."""

from __future__ import annotations

import pytest

from lbproto.handover.keys import FdToken, ListenerKey, listener_key
from lbproto.handover.pingora import (
    MAX_FDS,
    Table,
    TableReader,
    Unfit,
    address,
    encode,
    key,
)

FOUR = listener_key("tcp:0.0.0.0:6188")
SIX = listener_key("tcp:[::]:6188")
PATH = listener_key("unix:/tmp/lb.uds")
LINE = b"0.0.0.0:6188 [::]:6188 /tmp/lb.uds"
FDS = (FdToken(7), FdToken(8), FdToken(9))


def read(data: bytes, *fds: FdToken) -> Table | Unfit:
    reader = TableReader()
    assert reader.receive(data, fds) is None
    return reader.finish()


def test_addresses_are_joined_by_single_spaces() -> None:
    assert encode([FOUR, SIX, PATH]) == LINE
    assert encode([FOUR]) == b"0.0.0.0:6188"


@pytest.mark.parametrize("one", [FOUR, SIX, PATH, listener_key("tcp:localhost:80")])
def test_an_address_is_spelled_without_its_kind(one: ListenerKey) -> None:
    assert key(address(one)) == one


def test_a_set_that_fits_exactly_is_sent() -> None:
    keys = [listener_key(f"unix:/{number:062}") for number in range(MAX_FDS)]
    data = encode(keys)
    assert isinstance(data, bytes)
    assert len(data) == 32 * 63 + 31 == 2047


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        ([], "no listener"),
        ([listener_key(f"tcp:0.0.0.0:{port}") for port in range(33)], "33 listeners"),
        ([listener_key(f"unix:/{n:0100}") for n in range(21)], "2141 bytes"),
        ([listener_key("unix:/a b")], "space"),
    ],
)
def test_a_set_that_does_not_fit_is_no_message(
    keys: list[ListenerKey], wrong: str
) -> None:
    found = encode(keys)
    assert isinstance(found, Unfit)
    assert wrong in found.reason


def test_a_message_is_read_however_it_is_cut() -> None:
    wanted = Table(((FOUR, FDS[0]), (SIX, FDS[1]), (PATH, FDS[2])))
    assert read(LINE, *FDS) == wanted
    for size in range(1, len(LINE)):
        reader = TableReader()
        assert reader.receive(LINE[:size], FDS) is None
        assert reader.receive(LINE[size:], ()) is None
        assert reader.finish() == wanted
        assert reader.unclaimed() == ()


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        (LINE + b" ", "no list"),
        (b" " + LINE, "no list"),
        (LINE.replace(b" ", b"  "), "no list"),
        (b"0.0.0.0:1 0.0.0.0:1 /a", "no list"),
        (b"0.0.0.0:99999 /a /b", "no list"),
        (b"/a\0/b /c /d", "no list"),
        (b"/a /b\n /c", "no list"),
        (b"\xff /b /c", "UTF-8"),
        (b"/a /b", "3 descriptors for 2"),
        (b"/a /b /c /d", "3 descriptors for 4"),
    ],
)
def test_what_is_no_list_of_as_many_addresses_is_refused(
    data: bytes, wrong: str
) -> None:
    reader = TableReader()
    assert reader.receive(data, FDS) is None
    found = reader.finish()
    assert isinstance(found, Unfit)
    assert wrong in found.reason
    assert reader.unclaimed() == FDS


def test_a_receiver_has_more_room_than_pingora() -> None:
    paths = [f"/{number:0100}" for number in range(253)]
    tokens = tuple(map(FdToken, range(253)))
    found = read(" ".join(paths).encode(), *tokens)
    assert isinstance(found, Table)
    assert [token for _, token in found.fds] == list(tokens)


def test_a_receiver_has_not_all_the_room_there_is() -> None:
    reader = TableReader()
    assert reader.receive(b"x", tuple(map(FdToken, range(253)))) is None
    assert reader.receive(b"x", (FdToken(253),)) is not None
    assert len(reader.unclaimed()) == 254
    assert TableReader().receive(b"x" * 65537, ()) is not None
