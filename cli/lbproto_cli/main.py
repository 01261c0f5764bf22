"""`lb`: decide, bind, tell, serve, tidy up.

Whatever goes wrong ends in one line on stderr and an exit status; a traceback is
for `--log-level debug`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from lbproto.machine.effects import Level
from lbproto.machine.errors import LbError
from lbproto_cli.arguments import ExitStatus, Options, level_of, parser
from lbproto_cli.certificates import expired
from lbproto_cli.changes import changes
from lbproto_cli.daemon import Detached, detach
from lbproto_cli.demo import demo_backends
from lbproto_cli.load import Unreadable
from lbproto_cli.pid_file import pid_file
from lbproto_cli.plan import DEMO_ADDRESS, Plan, Usage, plan, service_of_flags
from lbproto_cli.problems import ConfigProblems
from lbproto_runtimes import load
from lbproto_runtimes.contexts import Contexts
from lbproto_runtimes.descriptors import raise_descriptor_limit
from lbproto_runtimes.listen import (
    BindError,
    Listener,
    bind,
    handed_over,
    unlink,
)
from lbproto_runtimes.logs import Logs
from lbproto_runtimes.master import Master
from lbproto_runtimes.notify import Notify, inherited
from lbproto_runtimes.privileges import Identity, become, identity
from lbproto_runtimes.worker import Setup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lbproto.config import Config


__all__ = ["main"]

DEMO = "demo"


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
    except BindError as error:
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
    config = _located(decided.config, here)
    decided = replace(decided, config=config)
    raise_descriptor_limit()
    who = identity(config.user, config.group)
    runtime = load(decided.runtime)
    sockets = [handed_over(sock) for sock in inherited(os.environ)]
    listeners = bind(config, sockets)
    for spare in sockets:
        if all(spare.socket is not one.socket for one in listeners):
            spare.socket.close()  # of a socket unit that the file does not name
    try:
        setup = Setup(config, runtime, listeners, contexts)
        govern = partial(_govern, options, decided, setup, who, here, demo_lines)
        if options.daemon or config.daemon:
            return _in_background(options, govern)
        return govern(None)
    finally:
        for listener in listeners:
            listener.socket.close()


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
    except LbError as error:
        reason = f"lb: {error}"
    except Exception as error:
        reason = f"lb: internal error: {type(error).__name__}: {error}"
    finally:
        detached.fail(status, reason)
        os._exit(status)


def _located(config: Config, folder: str) -> Config:
    """Name files so that it does not matter where the process is."""

    def whole(path: str | None) -> str | None:
        return None if path is None else os.path.join(folder, path)

    error_log, pid = whole(config.error_log), whole(config.pid_file)
    return replace(config, error_log=error_log, pid_file=pid)


def _govern(
    options: Options,
    decided: Plan,
    setup: Setup,
    who: Identity,
    here: str,
    demo_lines: Sequence[str],
    detached: Detached | None,
) -> int:
    """Be the master."""
    config = setup.config
    logs = Logs(config.error_log, decided.level)
    sys.unraisablehook = partial(_note, logs)
    notify = Notify(os.environ)

    def up() -> None:
        notify.ready()
        if detached is not None:
            detached.up()

    try:
        with _stopped_early(), pid_file(config.pid_file):
            for path in (config.error_log, config.pid_file):
                who.own(path)
            become(who)
            renew = partial(_renew, options, logs, notify, here)
            with Master(setup, logs, None if options.demo else renew, up) as master:
                _tell(decided, setup.listeners, setup.contexts, logs)
                if demo_lines:
                    _tell_demo(demo_lines, setup.listeners)
                return master.run()
    finally:
        notify.stopping()
        unlink(setup.listeners)
        logs.close()


def _renew(
    options: Options, logs: Logs, notify: Notify, here: str, old: Setup
) -> Setup:
    """Read the file again; nothing has changed if this raises."""
    notify.reloading()
    try:
        contexts = Contexts()
        decided = plan(options, os.environ, contexts)
        config = _located(decided.config, here)
        if not config.services:
            raise Usage("the file has no services any more")
        runtime = load(decided.runtime)
        listeners = bind(config, old.listeners)
    finally:
        notify.ready()
    for what, before, after in changes(old.config, config):
        logs.log(Level.INFO, "changed", {"key": what, "from": before, "to": after})
    for key in ("pid_file", "error_log", "user", "group"):
        if getattr(config, key) != getattr(old.config, key):
            logs.log(Level.WARNING, f"{key} changes with a restart only", {})
    return Setup(config, runtime, listeners, contexts)


def _note(logs: Logs, found: sys.UnraisableHookArgs) -> None:
    """Log an error that Python could only print, in one line.

    The ssl module meets one in the handshake of a client whose server name is not
    ASCII; the handshake fails then, which has a line of its own.
    """
    strange_name = isinstance(found.exc_value, UnicodeError)
    level = Level.DEBUG if strange_name else Level.ERROR
    detail = f"{type(found.exc_value).__name__}: {found.exc_value}"
    logs.log(level, "error in a callback", {"detail": detail})


@contextlib.contextmanager
def _stopped_early() -> Iterator[None]:
    """End well on a signal that comes before the runtime handles them."""

    def stop(signum: int, frame: object) -> None:
        raise SystemExit(ExitStatus.DONE)

    if threading.current_thread() is not threading.main_thread():
        yield  # signals are somebody else's
        return
    handled = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, stop) for number in handled]
    try:
        yield
    finally:
        for number, handler in zip(handled, before, strict=True):
            signal.signal(number, handler)


def _tell(
    decided: Plan, listeners: Sequence[Listener], contexts: Contexts, logs: Logs
) -> None:
    """Log what runs, one line for each thing."""
    config = decided.config
    about = {"pid": os.getpid(), "runtime": decided.runtime, "threads": config.threads}
    logs.log(Level.INFO, "starting", about)
    for note in decided.notes:
        logs.log(Level.WARNING, note, {})
    for certificate, end in expired(config, contexts, time.time()):
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end))
        fields = {"cert": certificate.cert, "expired": since}
        logs.log(Level.WARNING, "certificate has expired", fields)
    for listener in listeners:
        where = {"service": listener.service.name, "address": listener.target}
        opens = {
            "tls": listener.listen.tls is not None,
            "proxy_protocol": listener.listen.proxy_protocol,
        }
        on = {name: True for name, given in opens.items() if given}
        logs.log(Level.INFO, "listening", {**where, **on})
    for service in config.services:
        for name in service.upstreams:
            for backend in config.upstreams[name].backends:
                about = {
                    "service": service.name,
                    "upstream": name,
                    "address": backend.target,
                    "weight": backend.weight,
                }
                logs.log(Level.INFO, "backend", about)


def _tell_demo(lines: Sequence[str], listeners: Sequence[Listener]) -> None:
    for line in lines:
        print(line)
    for listener in listeners:
        target = listener.target
        if target.path:
            print(f"try: curl --unix-socket {target.path} http://localhost/")
            continue
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(target.host, target.host)
        print(f"try: curl http://{replace(target, host=host)}/")
    print("stop with Ctrl-C", flush=True)
