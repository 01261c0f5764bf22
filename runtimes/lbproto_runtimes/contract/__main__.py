"""Check a runtime from the command line: one line a check, exit status 0 or 1.

    python -m lbproto_runtimes.contract NAME [--cert FILE --key FILE] [WORD ...]

NAME is a runtime that is installed, or MODULE:CLASS. With words, only checks that
have one of them in their name are run.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import unittest
from typing import TYPE_CHECKING, cast

from lbproto.machine.errors import LbError
from lbproto.machine.tls import Certificate
from lbproto_runtimes import load
from lbproto_runtimes.contract import CHECKS, Serves

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lbproto_runtimes.contract import Check


def find(name: str) -> Serves:
    """Return the runtime of this name.

    Raises:
        LbError: there is none.
    """
    module, colon, attribute = name.partition(":")
    if not colon:
        return load(name)
    try:
        made = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError) as error:
        raise LbError(f"{name} cannot be imported: {error}") from None
    return cast("Serves", made)


def report(check: Check, runtime: Serves, certificate: Certificate | None) -> bool:
    """Run a check and say how it went; tell whether it did not fail."""
    head = f"{check.clause:2} {check.name}"
    try:
        check.run(runtime, certificate)
    except unittest.SkipTest as why:
        print(f"skipped {head}: {why}", flush=True)
    except AssertionError as error:
        story = "\n".join("    " + line for line in str(error).splitlines())
        print(f"FAILED  {head}\n{story}", flush=True)
        return False
    else:
        print(f"ok      {head}", flush=True)
    return True


def main(arguments: Sequence[str]) -> int:
    """Run what the command line asks for; return the exit status."""
    flags = argparse.ArgumentParser(
        prog="python -m lbproto_runtimes.contract",
        description="Check that a runtime keeps the contract.",
    )
    flags.add_argument("name", metavar="NAME", help="a runtime, or MODULE:CLASS")
    flags.add_argument("words", metavar="WORD", nargs="*", help="run checks with it")
    flags.add_argument("--cert", help="PEM file of a certificate, for checks of TLS")
    flags.add_argument("--key", help="PEM file of its key")
    options = flags.parse_args(arguments)
    certificate = None
    if (options.cert is None) is not (options.key is None):
        flags.error("--cert and --key belong together")
    if options.cert is not None:
        certificate = Certificate(cert=options.cert, key=options.key)
    try:
        runtime = find(options.name)
    except LbError as error:
        flags.error(str(error))
    words = options.words or [""]
    wanted = [one for one in CHECKS if any(word in one.name for word in words)]
    if not wanted:
        flags.error("no check has one of these words in its name")
    results = [report(check, runtime, certificate) for check in wanted]
    failed = results.count(False)
    if failed:
        print(f"{failed} of {len(results)} checks failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
