"""Make the seeds: what the catalogue of byte streams already knows to be interesting.

    python fuzz/make_seeds.py

writes `fuzz/seeds/<target>/`, one file for each distinct input, named after the
vector it comes from. Run it again when the catalogue has changed; it removes seeds
that it would not write any more.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# Run as a script, this knows only its own folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.fuzz_chunked import LIMITS
from fuzz.fuzz_events import CLIENT_WORDS, SERVER_WORDS, STEPS
from fuzz.fuzz_handover import STARTS, WORDS, script
from fuzz.fuzz_response import ENDS, REQUESTS
from lbproto.framing.proxy_protocol import Endpoint, encode_v1, encode_v2

__all__ = ["main"]

ROOT: Final = Path(__file__).parents[1]
VECTORS: Final = ROOT / "tests" / "scenario" / "data" / "vectors.jsonl"
SEEDS: Final = Path(__file__).with_name("seeds")
MOST: Final = 150
LONGEST: Final = 2048

Vector = dict[str, object]


def octets(vector: Vector, side: str) -> bytes:
    """Return what one side of a vector sends."""
    encoded = vector.get(f"{side}_bytes_b64")
    if isinstance(encoded, str):
        return base64.b64decode(encoded)
    return str(vector.get(f"{side}_text", "")).encode("latin-1")


def requests(vectors: list[Vector]) -> Iterator[tuple[str, bytes]]:
    """Yield the clients' streams."""
    for vector in vectors:
        yield str(vector["id"]), octets(vector, "client")


def responses(vectors: list[Vector]) -> Iterator[tuple[str, bytes]]:
    """Yield the backends' answers, behind the byte that chooses the request."""
    ends = {"keep": "keep", "close": "close", "reset": "abort"}
    for vector in vectors:
        answer = octets(vector, "backend")
        if not answer:
            continue
        asked = octets(vector, "client")
        kind = 0
        if asked.startswith(b"HEAD"):
            kind = 1
        elif b"HTTP/1.0\r\n" in asked:
            kind = 2
        elif b"100-continue" in asked.lower():
            kind = 3
        elif b"upgrade:" in asked.lower():
            kind = 4
        end = ends[str(vector.get("backend_then", "keep"))]
        choice = kind + len(REQUESTS) * ENDS.index(end)
        yield str(vector["id"]), bytes([choice]) + answer


CHUNKED: Final = re.compile(rb"(?i)transfer-encoding:[^\n]*chunked")


def bodies(vectors: list[Vector]) -> Iterator[tuple[str, bytes]]:
    """Yield what follows heads with Transfer-Encoding, behind the byte for limits."""
    for vector in vectors:
        for side in ("client", "backend"):
            head, _, body = octets(vector, side).partition(b"\r\n\r\n")
            if CHUNKED.search(head) and body:
                yield f"{vector['id']}", bytes([len(body) % len(LIMITS)]) + body


def cookies(_: list[Vector]) -> Iterator[tuple[str, bytes]]:
    """Yield lines of Cookie; the bytes 1 to 3 stand for values."""
    for number in (1, 2, 3):
        yield f"alone-{number}", b"lb=%c" % number
        yield f"among-{number}", b"a=b; lb=%c; c=d" % number
        yield f"quoted-{number}", b'lb="%c"' % number
    yield "both", b"lb=\x02; lb=\x01"
    yield "lines", b"a=b\nlb=\x03;lb=\x02\n\nc=d"
    yield "blanks", b" lb \t= \x01 ;; ; lb"
    yield "names", b"xlb=\x01; lbx=\x01; LB=\x01; lb==\x01; =lb; lb="
    yield "longer", b"lb=\x01\x02; lb=x\x01"
    yield "comma", b"lb=\x01, lb=\x02"
    yield "empty", b";"


def step(name: str, *numbers: int) -> bytes:
    """Write one step of an event script."""
    names = [step.__name__ for step in STEPS]
    return bytes([names.index(name), *numbers])


def events(_: list[Vector]) -> Iterator[tuple[str, bytes]]:
    """Yield every pair of words, and a script for every step."""
    for number in range(len(CLIENT_WORDS)):
        yield f"ask-{number}", step("ask", number, 0) + step("answer", 0, 0)
    for number in range(len(SERVER_WORDS)):
        for asked in (0, 7, 11):
            words = step("ask", asked, 0) + step("answer", number, 0)
            yield f"answer-{asked}-{number}", words + step("answer", 13, 0)
    busy = step("ask", 0, 0) + step("answer", 4, 0)
    for number in range(8):
        yield f"wait-{number}", step("ask", 0, 0) + step("wait", number)
        yield f"refuse-{number}", step("refuse", number, 0) + step("ask", 0, 0)
        yield f"drain-{number}", busy + step("drain", number, 3) + step("wait", 6)
    for name in ("finish", "leave", "reset"):
        for side in (0, 1):
            yield f"{name}-{side}", busy + step(name, side, 0)
    slow = busy + step("pause", 1, 0) + step("answer", 16, 0) + step("answer", 16, 0)
    yield "slow", slow + step("resume", 1, 1, 0) + step("resume", 0, 1, 0)
    yield (
        "tunnel",
        (
            step("ask", 11, 0)
            + step("answer", 7, 0)
            + step("spell", 1, 0, 4)
            + b"\x81\x03abc"
            + step("finish", 0, 0)
        ),
    )


def configs(_: list[Vector]) -> Iterator[tuple[str, bytes]]:
    """Yield small files: right ones, wrong ones, and some that are no YAML."""
    web = "services: [{listen: ['127.0.0.1:1'], upstream: {backends: ['127.0.0.1:2']}}]"
    files = {
        "empty": "",
        "inline": web,
        "named": web.replace("{backends: ['127.0.0.1:2']}", "web")
        + "\nupstreams: {web: {backends: [{address: 'h:1', weight: 2}]}}",
        "pingora": "---\nversion: 1\nthreads: 2\npid_file: /tmp/lb.pid\n"
        "error_log: /tmp/lb.log\nupgrade_sock: /tmp/lb.sock\n",
        "durations": "services:\n- timeouts: {connect: 250ms, tunnel: 1h, send: -1}\n",
        "sizes": "services:\n- limits: {header_size: 64KiB, body_size: 1e9}\n",
        "rules": "services:\n- request_headers: {set: {Host: a}, remove: [b, 'c d']}\n",
        "unknown": "runtme: uvloop\nservices: []\n",
        "twice": "version: 1\nversion: 2\n",
        "anchors": "a: &a [*a]\nservices: *a\n",
        "merge": "a: &a {x: 1}\nb: {<<: *a}\n",
        "tag": "services: !!python/object:os.system {}\n",
        "traps": "daemon: yes\nversion: 0x1\nthreads: 1:30\nrun: 2001-01-01\n",
        "broken": "services: [\n",
        "control": "a: '\x07'\n",
        "unix": "services: [{listen: ['unix:/x', '[::1]:80', ':8080', 'a:b']}]\n",
        "example": (ROOT / "examples" / "conf.yaml").read_text("utf-8"),
    }
    for name, text in files.items():
        yield name, text.encode("utf-8")
    yield "utf16", web.encode("utf-16")
    yield "latin1", b"a: \xff\n"


def proxy_headers(_: list[Vector]) -> Iterator[tuple[str, bytes]]:
    """Yield PROXY headers, right and wrong, and what stands in their place."""
    four, other = Endpoint("192.0.2.1", 56324), Endpoint("198.51.100.255", 443)
    six, mapped = Endpoint("2001:db8::1", 65535), Endpoint("::ffff:192.0.2.1", 0)
    pairs = {"tcp4": (four, other), "tcp6": (six, mapped), "mixed": (four, six)}
    for name, pair in pairs.items():
        yield f"v1-{name}", encode_v1(*pair) + b"GET / HTTP/1.1\r\n\r\n"
        yield f"v2-{name}", encode_v2(*pair) + b"GET / HTTP/1.1\r\n\r\n"
    yield "none", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    yield "tls", b"\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03"
    yield "twice", encode_v1(four, other) + encode_v2(six, six)
    for name, line in proxy_lines().items():
        yield f"v1-{name}", b"PROXY " + line
    for name, block in proxy_blocks(encode_v2(four, other)[16:]).items():
        yield f"v2-{name}", encode_v2(None, None)[:12] + block


def proxy_lines() -> dict[str, bytes]:
    """Return what may follow `PROXY` in version 1."""
    return {
        "unknown": b"UNKNOWN\r\n",
        "unknown-rest": b"UNKNOWN ::1 ::1 1 2\r\n",
        "unknown-long": b"UNKNOWN ".ljust(99, b"f") + b"\r\n",
        "unknown-lf": b"UNKNOWN a\n",
        "tcp4-lf": b"TCP4 192.0.2.1 192.0.2.2 1 2\n",
        "tcp4-cr": b"TCP4 192.0.2.1 192.0.2.2 1 2\rG",
        "tcp4-zero": b"TCP4 192.0.2.1 192.0.2.02 1 2\r\n",
        "tcp4-port": b"TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
        "tcp4-spaces": b"TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
        "tcp6-zone": b"TCP6 fe80::1%lo fe80::2 1 2\r\n",
        "tcp6-dotted": b"TCP6 1:2:3:4:5:6:7.8.9.10 64:ff9b::1.2.3.4 1 2\r\n",
        "udp4": b"UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
    }


def proxy_blocks(addresses: bytes) -> dict[str, bytes]:
    """Return what may follow the signature in version 2; addresses are of IPv4."""
    return {
        "unspec": b"\x21\x00\x00\x00",
        "local": b"\x20\x00\x00\x00",
        "local-block": b"\x20\xff\x00\x05hello",
        "unix": b"\x21\x31\x00\xd8" + bytes(216),
        "udp4": b"\x21\x12\x00\x0c" + addresses,
        "short": b"\x21\x11\x00\x0b" + addresses,
        "huge": b"\x21\x11\xff\xff" + addresses,
        "alpn": b"\x21\x11\x00\x11" + addresses + b"\x01\0\x02h2",
        "noops": b"\x21\x11\x00\x13" + addresses + b"\x04\0\0\x04\0\x01\0",
        "past": b"\x21\x11\x00\x11" + addresses + b"\x01\0\x03h2",
        "stub": b"\x21\x11\x00\x0e" + addresses + b"\x01\0",
        "crc": b"\x20\x00\x00\x07\x03\x00\x04\xa9\xb8~\x8f",
        "crc-right": b"\x21\x11\x00\x16\x7f\0\0\x01\x7f\0\0\x01\xd6\xa8\xd8\xaf"
        b"\x03\x00\x04 \x94b\xfd\x05\x00\x00",
        "crc-wrong": b"\x21\x11\x00\x13" + addresses + b"\x03\0\x04abcd",
    }


def handovers(_: list[Vector]) -> Iterator[tuple[str, bytes]]:
    """Yield every word at every step, and each step's words in a row."""
    for start in range(len(STARTS)):
        yield f"silent-{start}", script(start, (b"?", 0, True))
        for number, (word, fds) in enumerate(WORDS):
            yield f"say-{start}-{number}", script(start, (word, fds, False))
    offer, fds, commit, idle, done = (WORDS[number] for number in (2, 4, 7, 8, 9))
    row = [(*word, False) for word in (offer, fds, commit, idle, done)]
    yield "row", script(4, *row)
    yield "row-late", script(4, *row[:2], (*commit, True), (*idle, True))
    yield "few-fds", script(5, (fds[0], 1, False))
    yield "many-fds", script(7, (idle[0], 2, False), (*idle, False))
    yield "late-fds", script(5, (fds[0][:9], 0, False), (fds[0][9:], 2, False))
    table = WORDS[11][0]
    yield "table-cut", script(4, (table[:5], 2, False), (table[5:], 0, False))
    yield "table-short", script(4, (table, 1, True))
    long = b"LBI\0\0\1\0\1", b"LBI\0\0\1\0\0"
    yield "too-long", script(7, (long[0], 1, False))
    yield "long", script(7, (long[1] + b"[" * 200, 1, False))
    yield "twice", script(5, (b'LBF\0\0\0\0\x17{"keys":[],"keys":[]  }', 0, False))


def write(target: str, found: Iterator[tuple[str, bytes]]) -> int:
    """Write the seeds of a target, evenly chosen if there are too many."""
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    distinct = {seed: name for name, seed in found if 0 < len(seed) < LONGEST}
    stride = max(1.0, len(distinct) / (MOST - 1))
    places = range(min(len(distinct), MOST - 1))
    chosen = [list(distinct.items())[int(place * stride)] for place in places]
    for seed, name in chosen:
        (folder / name).write_bytes(seed)
    return len(chosen)


def main() -> None:
    """Write the seeds of every target."""
    vectors = [
        json.loads(line) for line in VECTORS.read_text("utf-8").split("\n") if line
    ]
    makers = {
        "request": requests,
        "chunked": bodies,
        "affinity": cookies,
        "response": responses,
        "events": events,
        "config": configs,
        "proxy_protocol": proxy_headers,
        "handover": handovers,
    }
    for target, maker in makers.items():
        print(f"{target}: {write(target, maker(vectors))} seeds")


if __name__ == "__main__":
    main()
