"""`lb`: decide, bind, tell, serve, tidy up.

Whatever goes wrong ends in one line on stderr and an exit status; a traceback is
for `--log-level debug`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from lbproto.machine.effects import Level
from lbproto.machine.errors import LbError
from lbproto_cli.arguments import ExitStatus, Options, level_of, parser
from lbproto_cli.daemon import Detached, detach
from lbproto_cli.demo import demo_backends
from lbproto_cli.govern import Governor, located
from lbproto_cli.load import Unreadable
from lbproto_cli.plan import DEMO_ADDRESS, Plan, Usage, plan, service_of_flags
from lbproto_cli.problems import ConfigProblems
from lbproto_runtimes import load
from lbproto_runtimes.contexts import Contexts
from lbproto_runtimes.descriptors import raise_descriptor_limit
from lbproto_runtimes.listen import BindError
from lbproto_runtimes.master import UpgradeFailed
from lbproto_runtimes.signals import HANDLED
from lbproto_runtimes.upgrade_sock import UpgradeSockError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


__all__ = ["command", "main"]

DEMO = "demo"


def command() -> NoReturn:
    """Be the command `lb`."""
    status = main()
    # It is over; a signal that comes now must not make it look like a failure.
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(status)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = Options()
    try:
        parser().parse_args(argv, namespace=options)
        return _run(options)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else ExitStatus.OTHER
    except KeyboardInterrupt:
        return 128 + 2  # as a shell says it of SIGINT
    except Usage as error:
        usage = parser().format_usage() if error.ask else ""
        return _fail(ExitStatus.USAGE, f"{usage}lb: {error}")
    except ConfigProblems as error:
        return _fail(ExitStatus.CONFIGURATION, str(error))
    except Unreadable as error:
        return _fail(ExitStatus.CONFIGURATION, f"lb: {error}")
    except (BindError, UpgradeFailed, UpgradeSockError) as error:
        return _fail(ExitStatus.LISTEN, f"lb: {error}")
    except LbError as error:
        return _fail(ExitStatus.OTHER, f"lb: {error}")
    except Exception as error:
        if _wants_traceback(options):
            traceback.print_exc()
        what = f"{type(error).__name__}: {error}".encode("ascii", "backslashreplace")
        line = " ".join(what.decode().split())
        return _fail(ExitStatus.OTHER, f"lb: internal error: {line}")


def _fail(status: ExitStatus, text: str) -> int:
    # Nobody may be left to read it.
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)
    return status


def _wants_traceback(options: Options) -> bool:
    level = getattr(options, "log_level", None)
    if level is None:
        with contextlib.suppress(ValueError):
            level = level_of(os.environ.get("LB_LOG", ""))
    return level is Level.DEBUG


def _run(options: Options) -> int:
    contexts = Contexts()
    decided = plan(options, os.environ, contexts)
    if options.test:
        if options.conf is not None:
            print(f"lb: configuration file {options.conf} is valid", file=sys.stderr)
        return ExitStatus.DONE
    if options.demo:
        return _demo(options, decided, contexts)
    if not decided.config.services:
        message = f"lb: {options.conf} has no services"
        hint = "expected some there, or --listen and --backend"
        return _fail(ExitStatus.CONFIGURATION, f"{message}, {hint}")
    return _serve(options, decided, contexts, [])


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
        return _serve(options, replace(decided, config=config), contexts, lines)


def _serve(
    options: Options, decided: Plan, contexts: Contexts, demo_lines: Sequence[str]
) -> int:
    here = os.getcwd()
    config = located(decided.config, here)
    decided = replace(decided, config=config)
    raise_descriptor_limit()
    govern = Governor(
        options, decided, contexts, load(decided.runtime), here, demo_lines
    )
    if options.upgrade and config.upgrade_sock is None:
        message = "lb: --upgrade needs upgrade_sock in the configuration"
        return _fail(ExitStatus.CONFIGURATION, message)
    with govern:
        if not options.upgrade:
            govern.bind()
        if options.daemon or config.daemon:
            return _in_background(options, govern.run)
        return govern.run(None)


def _in_background(options: Options, govern: Callable[[Detached], int]) -> int:
    """Go on as a daemon; return the status of the caller once it is known."""
    if options.conf is not None and options.conf != "-":
        options.conf = os.path.abspath(options.conf)
    detached = detach()
    if isinstance(detached, int):
        return detached
    status, reason = ExitStatus.OTHER, ""
    try:
        status = ExitStatus(govern(detached))
        reason = "lb: it did not start; error_log tells why"
    except (BindError, UpgradeFailed, UpgradeSockError) as error:
        status, reason = ExitStatus.LISTEN, f"lb: {error}"
    except LbError as error:
        reason = f"lb: {error}"
    except Exception as error:
        reason = f"lb: internal error: {type(error).__name__}: {error}"
    finally:
        detached.fail(status, reason)
        os._exit(status)
