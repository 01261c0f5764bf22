"""Cookies of affinity: the input is the lines of Cookie that a client sends.

Lines are ended by LF. The bytes 1, 2 and 3 stand for the values of two backends and
of one that is gone, which no fuzzer could guess. Whatever comes: nothing raises; a
backend is chosen only by a value that it was given; nobody behind us sees our cookie;
all other cookies stay, in order; and other fields are not touched.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

# Run as a script, this knows only its own folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from lbproto.config import Secret, Sticky
from lbproto.framing.headers import Headers
from lbproto.machine.effects import Target
from lbproto.proxy.affinity import Affinity
from lbproto.selection.backend import BackendId
from lbproto.selection.balancer import Members

__all__ = ["one_input"]

HERE: Members = (
    (BackendId(7), Target("10.0.0.1", 80)),
    (BackendId(9), Target("10.0.0.2", 80)),
)
GONE = Target("10.0.0.3", 80)
NAME = b"lb"
AFFINITY = Affinity(Sticky(cookie=NAME, secret=Secret(b"secret")))
FORBIDDEN = re.compile(rb"[^\t\x20-\x7e\x80-\xff]")
"""The grammar lets none of these into a field."""


def value(target: Target) -> bytes:
    """Return the value that a backend is given."""
    return AFFINITY.cookie(target, secure=False).split(b";")[0].partition(b"=")[2]


VALUES = {value(target): backend for backend, target in HERE}
WORDS = (value(HERE[0][1]), value(HERE[1][1]), value(GONE))


def lines(data: bytes) -> list[bytes]:
    """Return the values of Cookie fields, as the grammar lets them in."""
    for number, word in enumerate(WORDS, 1):
        data = data.replace(bytes([number]), word)
    return [FORBIDDEN.sub(b"", line).strip(b" \t") for line in data.split(b"\n")]


def pairs(fields: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Return the values of our cookie, and all other cookies."""
    ours, others = [], []
    for pair in b";".join(fields).split(b";"):
        name, mark, text = pair.partition(b"=")
        if mark and name.strip(b" \t") == NAME:
            ours.append(text.strip(b' \t"'))
        elif pair.strip(b" \t"):
            others.append(pair.strip(b" \t"))
    return ours, others


def one_input(data: bytes) -> None:
    """Check the fields of one request."""
    fields = lines(data)
    ours, others = pairs(fields)
    cookies = b"".join(b"Cookie: %b\r\n" % field for field in fields)
    before = b"Host: a\r\n" + cookies + b"X-Other: lb=1\r\n"
    headers = Headers(before)
    chosen = AFFINITY.take(headers, HERE)
    known = [VALUES[one] for one in ours if one in VALUES]
    assert chosen == (known[0] if known else None), "not the backend of the first value"
    left = headers.get_all(b"cookie")
    if not ours:
        assert left == fields, "somebody else's cookies have changed"
    else:
        assert pairs(left)[0] == [], "our cookie goes on"
        assert left == ([b"; ".join(others)] if others else []), "a cookie is lost"
    assert headers.get_all(b"x-other") == [b"lb=1"]
    wire = headers.wire()
    assert wire.startswith(b"Host: a\r\n"), "another field has moved"
    assert wire.count(b"\r\n") == 2 + len(left), "the head has split"
    again = Headers(wire)
    assert AFFINITY.take(again, HERE) is None, "our cookie is there twice"
    assert again.wire() == wire


if __name__ == "__main__":
    from fuzz import engine

    engine.run("fuzz_affinity")
