"""Run a target under atheris, with the flags of libFuzzer.

Seeds and regressions are the corpus unless folders are named; what is new and
interesting goes to `fuzz/corpus/<target>/`, and what crashes to the folder one is in.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

__all__ = ["run"]

HERE = Path(__file__).parent
OURS = ("lbproto", "lbproto_cli", "h11", "fuzz")
MEASURED = ["lbproto", "lbproto_cli", "h11"]


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
    atheris.Setup(arguments(target, sys.argv), one_input)
    atheris.Fuzz()


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
    http = name not in ("config", "handover", "proxy_protocol")
    if http and not any(one.startswith("-dict=") for one in argv):
        found.append(f"-dict={HERE / 'http.dict'}")
    return found
