"""What it costs to choose a backend: every policy, alone and with its lease.

    python bench/selection.py [--picks N] [--rounds N]

`pick` is the policy alone; `lease` is `Balancer.lease` and `release` with all that
goes with them: the guard, the counters, the feedback. One of 1,000 out: the same
with a backend that is unhealthy. Microseconds of process time, the least of the
rounds, since everything else in them is noise. Nothing is sent anywhere.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Final, get_args

# Run as a script, this knows only its own folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from lbproto import Backend, Balancer, Config, Outcome, Target, Upstream
from lbproto.config import PolicyName
from lbproto.selection.backend import BackendId, BackendState
from lbproto.selection.policies import make_policy
from lbproto.testing.sim import FixedEnv

__all__ = ["main"]

MICROSECONDS: Final = 1e6
KEYS: Final = [b"198.51.100.%d" % number for number in range(100, 200)]
"""Of 14 bytes: addresses of clients."""


def random() -> Callable[[], float]:
    """Return the generator that a worker has."""
    from random import Random

    return Random(1).random


def target(number: int) -> Target:
    return Target(f"10.0.{number // 250}.{number % 250}", 8080)


def policy_cost(name: PolicyName, weights: list[int], out: int, picks: int) -> float:
    """Return µs of a pick, with so many of the backends out."""
    backends = [
        BackendState(BackendId(at), "web", target(at), weight)
        for at, weight in enumerate(weights)
    ]
    policy = make_policy(name, backends, random())
    for backend in backends:
        if name == "peak_ewma":
            policy.observe(backend, 0.01, 0.0, failed=False)
    for backend in backends[:out]:
        policy.leave(backend)
    keys = list(islice(cycle(KEYS), picks))
    started = time.process_time()
    for key in keys:
        policy.pick(key, 1.0)
    return (time.process_time() - started) / picks * MICROSECONDS


def lease_cost(name: PolicyName, weights: list[int], out: int, picks: int) -> float:
    """Return µs of a lease and its release."""
    backends = tuple(
        Backend(target=target(at), weight=weight) for at, weight in enumerate(weights)
    )
    upstream = Upstream(name="web", backends=backends, policy=name)
    env = FixedEnv()
    env.random = random()  # type: ignore[method-assign]
    balancer = Balancer(Config(services=(), upstreams={"web": upstream}), env)
    for number in range(out):
        balancer.set_health(BackendId(number), False, 0.0, "bench")
    keys = list(islice(cycle(KEYS), picks))
    started = time.process_time()
    for key in keys:
        lease = balancer.lease("web", (), 1.0, key)
        assert lease is not None
        balancer.release(lease, Outcome.OK, 1.0)
    return (time.process_time() - started) / picks * MICROSECONDS


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--picks", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    settings: list[tuple[str, list[int], int]] = [
        ("10", [1] * 10, 0),
        ("10, weights 1-10", list(range(1, 11)), 0),
        ("1,000", [1] * 1000, 0),
        ("1,000, weights 1-10", [1 + at % 10 for at in range(1000)], 0),
        ("1,000, one out", [1] * 1000, 1),
    ]
    print("| policy | backends | pick, µs | lease and release, µs |")
    print("|---|---|---:|---:|")
    for name in get_args(PolicyName):
        for text, weights, out in settings:
            figures = [
                min(cost(name, weights, out, options.picks) for _ in range(rounds))
                for cost, rounds in (
                    (policy_cost, options.rounds),
                    (lease_cost, options.rounds),
                )
            ]
            print(f"| {name} | {text} | {figures[0]:.2f} | {figures[1]:.2f} |")


if __name__ == "__main__":
    main()
