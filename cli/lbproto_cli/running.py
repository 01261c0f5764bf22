"""Running what was decided, in the foreground or behind it, and how it ended.

The command comes here, and so does a program that brings its own services. Whatever
goes wrong ends in one line on stderr and an exit status; a traceback is for
`--log-level debug`.
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
from lbproto_cli.daemon import Detached, detach, open_streams
from lbproto_cli.govern import Governor, located
from lbproto_cli.load import STDIN, Unreadable
from lbproto_cli.plan import Usage
from lbproto_cli.problems import ConfigProblems
from lbproto_runtimes import load
from lbproto_runtimes.descriptors import raise_descriptor_limit
from lbproto_runtimes.listen import BindError
from lbproto_runtimes.master import UpgradeFailed
from lbproto_runtimes.program import NOTHING, Program
from lbproto_runtimes.signals import HANDLED
from lbproto_runtimes.upgrade_sock import UpgradeSockError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lbproto.config import Config
    from lbproto_cli.plan import Plan
    from lbproto_runtimes.contexts import Contexts

__all__ = ["ServiceError", "check_upgrade", "end", "fail", "outcome", "serve"]


class ServiceError(LbError):
    """A service that a program has added does not work."""


def end(status: int) -> NoReturn:
    """End the process."""
    # It is over; a signal that comes now must not make it look like a failure.
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(status)


def outcome(do: Callable[[], int], options: Options) -> int:
    """Do it, and return the exit status; say what went wrong."""
    open_streams()
    try:
        return do()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else ExitStatus.OTHER
    except KeyboardInterrupt:
        return 128 + 2  # as a shell says it of SIGINT
    except Usage as error:
        usage = parser().format_usage() if error.ask else ""
        return fail(ExitStatus.USAGE, f"{usage}lb: {error}")
    except ConfigProblems as error:
        return fail(ExitStatus.CONFIGURATION, str(error))
    except (Unreadable, ServiceError) as error:
        return fail(ExitStatus.CONFIGURATION, f"lb: {error}")
    except (BindError, UpgradeFailed, UpgradeSockError) as error:
        return fail(ExitStatus.LISTEN, f"lb: {error}")
    except LbError as error:
        return fail(ExitStatus.OTHER, f"lb: {error}")
    except Exception as error:
        if _wants_traceback(options):
            traceback.print_exc()
        what = f"{type(error).__name__}: {error}".encode("ascii", "backslashreplace")
        line = " ".join(what.decode().split())
        return fail(ExitStatus.OTHER, f"lb: internal error: {line}")


def fail(status: ExitStatus, text: str) -> int:
    """Say why, and return the status."""
    _say(text)
    return status


def _say(text: str) -> None:
    # Nobody may be left to read it.
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def check_upgrade(options: Options, config: Config) -> int:
    """Say if an upgrade has no meeting place; return the status."""
    if options.upgrade and config.upgrade_sock is None:
        message = "lb: --upgrade needs upgrade_sock in the configuration"
        return fail(ExitStatus.CONFIGURATION, message)
    return ExitStatus.DONE


def _wants_traceback(options: Options) -> bool:
    level = getattr(options, "log_level", None)
    if level is None:
        with contextlib.suppress(ValueError):
            level = level_of(os.environ.get("LB_LOG", ""))
    return level is Level.DEBUG


def serve(
    options: Options,
    decided: Plan,
    contexts: Contexts,
    decide: Callable[[Contexts], Plan] | None,
    program: Program = NOTHING,
    demo_lines: Sequence[str] = (),
) -> int:
    """Serve what was decided; return the exit status.

    `decide` does it again, for a reload; None: there is nothing to read again.

    Raises:
        LbError: it does not work.
    """
    here = _here()
    config = located(decided.config, here)
    raise_descriptor_limit()
    if status := check_upgrade(options, config):
        return status
    with Governor(
        replace(decided, config=config),
        contexts,
        load(decided.runtime),
        here,
        upgrade=options.upgrade,
        decide=decide,
        program=program,
        demo_lines=demo_lines,
    ) as govern:
        if not options.upgrade:
            govern.bind()
        if options.daemon or config.daemon:
            if config.error_log is None:
                _say("lb: without error_log nobody will read the log of the daemon")
            return _in_background(options, govern.run)
        return govern.run(None)


def _here() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/"  # it was removed; a daemon goes there, too


def _in_background(options: Options, govern: Callable[[Detached], int]) -> int:
    """Go on as a daemon; return the status of the caller once it is known."""
    if options.conf not in (None, STDIN):
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
