"""Messages between a master and its workers."""

from __future__ import annotations

import pytest

from lbproto.machine.errors import LocalProtocolError
from lbproto.processes.channel import MAX_FRAME, Kind, Message, MessageReader, encode

MESSAGES = [
    Message(Kind.READY, {}),
    Message(Kind.DRAIN, {"grace": 0.5, "timeout": 300}),
    Message(Kind.STOP, {"any": [["tcp:127.0.0.1:80", "203.0.113.7", 51000]]}),
]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_messages_come_out_as_they_went_in(size: int) -> None:
    data = b"".join(map(encode, MESSAGES))
    reader, found = MessageReader(), []
    for at in range(0, len(data), size):
        found += reader.receive(data[at : at + size])
    assert found == MESSAGES


def test_descriptors_come_with_the_message_that_counts_them() -> None:
    some = Message(Kind.IDLE, {"peers": []}, (7, 8))
    more = Message(Kind.IDLE, {}, (9,))
    data = encode(some) + encode(MESSAGES[0]) + encode(more)
    reader = MessageReader()
    assert reader.receive(data[:1], (7, 8)) == []
    assert reader.receive(data[1:-2], (9,)) == [some, MESSAGES[0]]
    assert reader.receive(data[-2:]) == [more]
    assert reader.unclaimed() == []


@pytest.mark.parametrize("count", ["2", "-1", "true", "[]"])
def test_descriptors_that_did_not_come_are_a_bug(count: str) -> None:
    body = f'{{"fds":{count}}}'.encode()
    reader = MessageReader()
    with pytest.raises(LocalProtocolError, match="1 descriptors came"):
        reader.receive(b"I" + len(body).to_bytes(4, "big") + body, (5,))
    assert reader.unclaimed() == [5]


@pytest.mark.parametrize(
    "data",
    [
        b"?\0\0\0\x02{}",
        b"R\0\0\0\x01{",
        b"R" + (MAX_FRAME + 1).to_bytes(4, "big"),
        b"R\0\0\0\x02\xff\xff",
        b"R\0\0\0\x02[]",
    ],
)
def test_anything_else_is_a_bug(data: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        MessageReader().receive(data)


def test_a_message_has_an_end() -> None:
    with pytest.raises(LocalProtocolError, match="a message of"):
        encode(Message(Kind.STOP, {"any": "x" * MAX_FRAME}))
