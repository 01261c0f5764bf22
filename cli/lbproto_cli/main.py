"""`lb`: decide, bind, tell, serve, tidy up."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from lbproto_cli.announce import warnings
from lbproto_cli.arguments import ExitStatus, Options, parser
from lbproto_cli.demo import demo_backends
from lbproto_cli.load import STDIN
from lbproto_cli.plan import DEMO_ADDRESS, Plan, plan, service_of_flags
from lbproto_cli.running import end, fail, outcome, serve
from lbproto_runtimes.contexts import Contexts

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = ["command", "main"]

DEMO = "demo"


def command() -> NoReturn:
    """Be the command `lb`."""
    end(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = Options()

    def run() -> int:
        parser().parse_args(argv, namespace=options)
        return _run(options)

    return outcome(run, options)


def _run(options: Options) -> int:
    contexts = Contexts()
    decided = plan(options, os.environ, contexts)
    if options.test:
        for warning, fields in warnings(decided, contexts):
            more = "".join(f", {name} {known!a}" for name, known in fields.items())
            print(f"lb: warning: {warning}{more}", file=sys.stderr)
        file = f"configuration file {options.conf}"
        what = "the command line" if options.conf is None else file
        print(f"lb: {what} is valid", file=sys.stderr)
        return ExitStatus.DONE
    if options.demo:
        return _demo(options, decided, contexts)
    if not decided.config.services:
        message = f"lb: {options.conf} has no services"
        hint = "expected some there, or --listen and --backend"
        return fail(ExitStatus.CONFIGURATION, f"{message}, {hint}")
    # Standard input has been read to its end.
    again = None if options.conf == STDIN else partial(plan, options, os.environ)
    return serve(options, decided, contexts, again)


def _demo(options: Options, decided: Plan, contexts: Contexts) -> int:
    with demo_backends(2) as backends:
        listen = options.listen or [DEMO_ADDRESS]
        service, upstream = service_of_flags(DEMO, listen, backends)
        config = replace(
            decided.config, services=(service,), upstreams={DEMO: upstream}
        )
        lines = [
            f"backend {number} listens on {target}"
            for number, target in enumerate(backends, 1)
        ]
        decided = replace(decided, config=config)
        return serve(options, decided, contexts, None, demo_lines=lines)
