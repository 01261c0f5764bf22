"""What `lb` says when it starts: one line for each thing it does."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from lbproto.machine.compilation import COMPILED
from lbproto.machine.effects import Level
from lbproto_cli.certificates import expired, exposed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lbproto_cli.plan import Plan
    from lbproto_runtimes.contexts import Contexts
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs

__all__ = ["tell", "tell_demo", "warnings"]


def tell(
    decided: Plan, listeners: Sequence[Listener], contexts: Contexts, logs: Logs
) -> None:
    """Log what runs, one line for each thing."""
    config = decided.config
    about = {
        "pid": os.getpid(),
        "runtime": decided.runtime,
        "threads": config.threads,
        "core": "compiled" if COMPILED else "python",
    }
    logs.log(Level.INFO, "starting", about)
    for warning, fields in warnings(decided, contexts):
        logs.log(Level.WARNING, warning, fields)
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


def warnings(
    decided: Plan, contexts: Contexts
) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield what is no mistake and yet hardly meant, with what else is known of it."""
    for note in decided.notes:
        yield note, {}
    for certificate, end in expired(decided.config, contexts, time.time()):
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end))
        yield "certificate has expired", {"cert": certificate.cert, "expired": since}
    for key, mode in exposed(decided.config):
        yield "key is not its owner's alone", {"key": key, "mode": f"{mode:04o}"}


def tell_demo(lines: Sequence[str], listeners: Sequence[Listener]) -> None:
    said = list(lines)
    for listener in listeners:
        target = listener.target
        if target.path:
            said.append(f"try: curl --unix-socket {target.path} http://localhost/")
            continue
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(target.host, target.host)
        said.append(f"try: curl http://{replace(target, host=host)}/")
    try:
        print(*said, "stop with Ctrl-C", sep="\n", flush=True)
    except OSError:
        # Nobody reads it. What waits in the buffer must not fail at the end, too.
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
