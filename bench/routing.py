"""What it costs to find a route, by how many there are.

    python bench/routing.py [--rounds N]

One request for the last host of a table, in µs of process time: with exact hosts, a
thousand routes may cost at most 5 µs more than one. The other rows show what is not
indexed: routes that a host shares are asked one after the other.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Final

# Run as a script, this knows only its own folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from lbproto.config import Match, Route, Service
from lbproto.framing.headers import Headers
from lbproto.framing.messages import NO_BODY, RequestHead, Version
from lbproto.routing.table import RouteTable

__all__ = ["cost"]

LOOKS: Final = 2000
TARGET: Final = b"/api/v1/users/12345?full=1"


def request(host: str) -> RequestHead:
    """Make a request as it comes out of the gate."""
    return RequestHead(
        stream=1,
        method=b"GET",
        target=TARGET,
        authority=host.encode(),
        scheme=b"http",
        headers=Headers(b"Host: " + host.encode() + b"\r\n"),
        body=NO_BODY,
        version=Version.HTTP11,
    )


def cost(table: RouteTable, head: RequestHead, rounds: int) -> float:
    """Return µs for one request, the median of some rounds."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        for _ in range(LOOKS):
            path = table.path(head.target)
            assert path is not None
            assert table.find(head, path) is not None
        times.append((time.process_time() - started) / LOOKS * 1e6)
    return statistics.median(times)


def table(matches: list[Match]) -> RouteTable:
    """Make a table with a route for each."""
    routes = tuple(Route(match=match, upstream="web") for match in matches)
    return RouteTable(Service(name="web", routes=routes))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print(f"{'routes':34} {'1':>9} {'10':>9} {'1000':>9}  µs")
    for name, make in (
        ("exact hosts", lambda n: Match(hosts=(f"h{n}.example",))),
        ("exact hosts and a prefix", _prefixed),
        ("wildcard hosts", lambda n: Match(hosts=(f"*.h{n}.example",))),
        ("prefixes of one host", lambda n: Match(path_prefix=f"/{n or 'api'}")),
    ):
        row = []
        for count in (1, 10, 1000):
            # The request is for number 0, the last.
            one = table([make(n) for n in reversed(range(count))])
            host = "x.h0.example" if "wildcard" in name else "h0.example"
            row.append(cost(one, request(host), rounds))
        print(f"{name:34}" + "".join(f" {each:9.2f}" for each in row))


def _prefixed(number: int) -> Match:
    return Match(hosts=(f"h{number}.example",), path_prefix="/api")


if __name__ == "__main__":
    main()
