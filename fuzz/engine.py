"""Run a target under atheris, with the flags of libFuzzer.

Seeds and regressions are the corpus unless folders are named; what is new and
interesting goes to `fuzz/corpus/<target>/`, and what crashes to the folder one is in.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

from fuzz.mutators import mutated

__all__ = ["mutator", "run"]

HERE = Path(__file__).parent
OURS = ("lbproto", "lbproto_cli", "h11", "fuzz")
MEASURED = ["lbproto", "lbproto_cli", "h11"]
SPEAKS_HTTP = ("fuzz_request", "fuzz_response", "fuzz_chunked")
"""Targets whose inputs are HTTP, if for a byte in front that chooses something."""


def run(target: str) -> None:
    """Fuzz `one_input` of a target until libFuzzer has enough; this does not return."""
    try:
        import atheris  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        sys.exit(
            f"{target} needs atheris: pip install atheris\n"
            "without it, `pytest tests/fuzz` still replays the seeds"
        )
    # The script has imported everything already, but without counting branches.
    for name in list(sys.modules):
        if name.split(".")[0] in OURS:
            del sys.modules[name]
    with atheris.instrument_imports(include=MEASURED):
        one_input = importlib.import_module(f"fuzz.{target}").one_input
    if target in SPEAKS_HTTP:
        prefix = 0 if target == "fuzz_request" else 1
        # Which function `Mutate` is, only `Fuzz` decides.
        mutate = mutator(lambda data, most: atheris.Mutate(data, most), prefix)
        atheris.Setup(arguments(target, sys.argv), one_input, custom_mutator=mutate)
    else:
        atheris.Setup(arguments(target, sys.argv), one_input)
    atheris.Fuzz()


def mutator(
    usual: Callable[[bytes, int], bytes], prefix: int
) -> Callable[[bytes, int, int], bytes]:
    """Make what changes inputs: half the time as libFuzzer does, half as attackers do.

    `prefix` bytes in front are no HTTP, and only libFuzzer changes them.
    """

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        if seed % 2 or most <= prefix:
            return bytes(usual(data, most))
        front = data[:prefix]
        return front + mutated(data[prefix:], most - len(front), seed)

    return mutate


def arguments(target: str, argv: list[str]) -> list[str]:
    """Add the corpus and the dictionary unless the command line names some."""
    name = target.removeprefix("fuzz_")
    found = list(argv)
    if not any(not one.startswith("-") for one in argv[1:]):
        corpus = HERE / "corpus" / name
        corpus.mkdir(parents=True, exist_ok=True)
        found.append(str(corpus))
        folders = [HERE / kind / name for kind in ("seeds", "regressions")]
        found += [str(folder) for folder in folders if folder.is_dir()]
    http = target in (*SPEAKS_HTTP, "fuzz_events")
    if http and not any(one.startswith("-dict=") for one in argv):
        found.append(f"-dict={HERE / 'http.dict'}")
    return found
