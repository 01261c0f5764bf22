"""Make the seeds: what the catalogue of byte streams already knows to be interesting.

    python fuzz/make_seeds.py

writes `fuzz/seeds/<target>/`, one file for each distinct input, named after the
vector it comes from. Run it again when the catalogue has changed; it removes seeds
that it would not write any more.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# Run as a script, this knows only its own folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.fuzz_events import CLIENT_WORDS, SERVER_WORDS, STEPS
from fuzz.fuzz_response import ENDS, REQUESTS

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
        "response": responses,
        "events": events,
        "config": configs,
    }
    for target, maker in makers.items():
        print(f"{target}: {write(target, maker(vectors))} seeds")


if __name__ == "__main__":
    main()
