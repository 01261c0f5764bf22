"""Mutations that know what HTTP/1 looks like: those of people who smuggle requests.

Bytes are what libFuzzer changes well. Here lines, fields, ends of lines, numbers that
frame, and whole messages are put in, doubled, moved and broken; the list is that of
HTTP Garden with those that attack framing. Each takes the randomness it may use, so
that a run with a seed can be repeated.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Final

__all__ = ["MUTATIONS", "mutated"]

FIELDS: Final = (
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Content-Length : 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding:\tchunked\r\n",
    b"Transfer-Encoding: chunked\r\n\tx\r\n",
    b"Transfer_Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: content-length\r\n",
    b"Expect: 100-continue\r\n",
    b"Host: b.example\r\n",
    b"Upgrade: h2c\r\nConnection: upgrade\r\n",
)
MESSAGE: Final = b"GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"
WORDS: Final = (
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\0",
    b";",
    b":",
    b",",
    b"0\r\n\r\n",
)
NUMBER: Final = re.compile(rb"[0-9A-Fa-f]+")

Mutation = Callable[[random.Random, bytes], bytes]


def lines(data: bytes) -> list[bytes]:
    """Divide at LF, which stays."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + [parts[-1]]


def put_byte(rng: random.Random, data: bytes) -> bytes:
    """Put a byte in."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + bytes([rng.randrange(256)]) + data[at:]


def change_byte(rng: random.Random, data: bytes) -> bytes:
    """Change a byte."""
    at = rng.randrange(len(data))
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


def drop_bytes(rng: random.Random, data: bytes) -> bytes:
    """Leave some bytes out."""
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.randint(1, 8) :]


def put_word(rng: random.Random, data: bytes) -> bytes:
    """Put a word in that means something between other words."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(WORDS) + data[at:]


def put_field(rng: random.Random, data: bytes) -> bytes:
    """Put a field that frames behind some line."""
    parts = lines(data)
    parts.insert(rng.randrange(1, len(parts) + 1), rng.choice(FIELDS))
    return b"".join(parts)


def double_line(rng: random.Random, data: bytes) -> bytes:
    """Write a line twice."""
    parts = lines(data)
    at = rng.randrange(len(parts))
    parts.insert(at, parts[at])
    return b"".join(parts)


def drop_line(rng: random.Random, data: bytes) -> bytes:
    """Leave a line out."""
    parts = lines(data)
    del parts[rng.randrange(len(parts))]
    return b"".join(parts)


def move_line(rng: random.Random, data: bytes) -> bytes:
    """Put a line elsewhere."""
    parts = lines(data)
    line = parts.pop(rng.randrange(len(parts)))
    parts.insert(rng.randrange(len(parts) + 1), line)
    return b"".join(parts)


def change_end(rng: random.Random, data: bytes) -> bytes:
    """Give a line another end."""
    parts = lines(data)
    at = rng.randrange(len(parts))
    end = rng.choice((b"\n", b"\r", b"\r\r\n", b"\r\n ", b"\n\r\n", b""))
    parts[at] = parts[at].rstrip(b"\r\n") + end
    return b"".join(parts)


def change_number(rng: random.Random, data: bytes) -> bytes:
    """Write a number otherwise, or another number: lengths, sizes, versions."""
    found = list(NUMBER.finditer(data))
    if not found:
        return data
    one = rng.choice(found)
    text, size = one[0], int(one[0], 16)
    other = rng.choice(
        (
            b"0" + text,
            b"+" + text,
            b"-" + text,
            b"0x" + text,
            text + b" ",
            text + b"0",
            text.swapcase(),
            b"%x" % (size + 1),
            b"%x" % max(0, size - 1),
            b"%d" % (size & 0xFFFF),
            b"ffffffffffffffff",
            b"18446744073709551616",
        )
    )
    return data[: one.start()] + other + data[one.end() :]


def change_case(rng: random.Random, data: bytes) -> bytes:
    """Write some letters in the other case."""
    at = rng.randrange(len(data))
    end = at + rng.randint(1, 12)
    return data[:at] + data[at:end].swapcase() + data[end:]


def move_boundary(rng: random.Random, data: bytes) -> bytes:
    """Move the end of a head, so that bytes of it are content, or the reverse."""
    at = data.find(b"\r\n\r\n", rng.randrange(len(data)))
    if at < 0:
        return data
    rest = data[:at] + data[at + 4 :]
    place = max(0, min(len(rest), at + rng.randint(-16, 16)))
    return rest[:place] + b"\r\n\r\n" + rest[place:]


def double_message(rng: random.Random, data: bytes) -> bytes:
    """Say all of it again, perhaps before the end."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + data


def put_message(rng: random.Random, data: bytes) -> bytes:
    """Put a whole message in."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + MESSAGE + data[at:]


def join_messages(rng: random.Random, data: bytes) -> bytes:
    """Leave out what is between two ends of heads, so that two messages are one."""
    first = data.find(b"\r\n\r\n")
    last = data.rfind(b"\r\n\r\n")
    at = rng.choice((first + 2, first + 4, first))
    return data[:at] + data[last:] if 0 <= first < last else data


def split_message(rng: random.Random, data: bytes) -> bytes:
    """End a message early and begin another with the rest."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + b"\r\n\r\n" + data[at:]


MUTATIONS: Final[tuple[Mutation, ...]] = (
    put_byte,
    change_byte,
    drop_bytes,
    put_word,
    put_field,
    double_line,
    drop_line,
    move_line,
    change_end,
    change_number,
    change_case,
    move_boundary,
    double_message,
    put_message,
    join_messages,
    split_message,
)


def mutated(data: bytes, most: int, seed: int) -> bytes:
    """Change a stream in one to three places; the result has `most` bytes at most."""
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 3)):
        if not data:
            return MESSAGE[:most]
        data = rng.choice(MUTATIONS)(rng, data)
    return data[:most]
