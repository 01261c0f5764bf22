"""A worker process: a runtime that serves, and the master's word in its ear.

The master speaks over a socket. A thread of the worker listens to it, whatever the
runtime is, and passes on what it hears; a server may be told to end from any thread.
When the master is gone, nobody could ever end the worker, so it drains by itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from lbproto.machine.effects import Level
from lbproto.machine.errors import LocalProtocolError
from lbproto.processes.channel import Kind, Message, MessageReader, encode
from lbproto_runtimes.logs import log_crash

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lbproto.config import Backend, Config
    from lbproto.processes.bulletin import Follower
    from lbproto.proxy.gateway import Gateway
    from lbproto_runtimes.api import Runtime, Serving
    from lbproto_runtimes.contexts import Contexts
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.share import Share

__all__ = ["IGNORED", "Setup", "portion", "work"]

IGNORED: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
)
"""The master's to answer; terminals and init systems send some to every process."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a generation of workers serves."""

    config: Config
    runtime: Runtime
    listeners: Sequence[Listener]
    contexts: Contexts
    read_backends: Callable[[str], tuple[Backend, ...]] | None = None
    """Reads the file of a `FileSource`; raises `LbError` if it is wrong."""


def portion(config: Config, workers: int) -> Config:
    """Return one worker's part of a configuration: the limits are of all together."""
    services = []
    for service in config.services:
        most = -(-service.limits.connections // workers)
        limits = replace(service.limits, connections=most)
        services.append(replace(service, limits=limits))
    return replace(config, services=tuple(services))


def work(
    setup: Setup,
    gateway: Gateway,
    follower: Follower,
    logs: Logs,
    channel: socket.socket,
    share: Share | None,
) -> int:
    """Serve in this process until the master says otherwise; return the status."""
    listeners = [replace(listener, share=share) for listener in setup.listeners]
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    ear = _Ear(gateway.config, follower, logs, channel)
    try:
        setup.runtime.serve(gateway, listeners, logs, ear.ready, setup.contexts)
    except BaseException as error:
        log_crash(logs, error)
        return 4
    return 0


class _Ear:
    """Listens to the master."""

    def __init__(
        self, config: Config, follower: Follower, logs: Logs, channel: socket.socket
    ) -> None:
        self._config = config
        self._follower = follower
        self._logs = logs
        self._channel = channel
        self._serving: Serving | None = None

    def ready(self, serving: Serving) -> None:
        """The server accepts: say so, and listen."""
        self._serving = serving
        with contextlib.suppress(OSError):  # the listener will notice
            self._channel.sendall(encode(Message(Kind.READY, {})))
        threading.Thread(target=self._listen, name="ear", daemon=True).start()

    def _listen(self) -> None:
        reader = MessageReader()
        while True:
            try:
                data = self._channel.recv(65536)
                orders = reader.receive(data)
            except (OSError, LocalProtocolError):
                data, orders = b"", []
            if not data:
                fields = {"pid": os.getpid()}
                self._logs.log(Level.WARNING, "the master is gone", fields)
                self._drain()
                return
            for order in orders:
                self._obey(order)

    def _obey(self, message: Message) -> None:
        serving = self._serving
        assert serving is not None, "nobody listens before that"
        match message.kind:
            case Kind.DRAIN:
                grace, timeout = message.fields["grace"], message.fields["timeout"]
                assert isinstance(grace, float | int)
                assert isinstance(timeout, float | int)
                serving.drain(float(grace), float(timeout))
            case Kind.STOP:
                serving.stop()
            case Kind.REOPEN:
                self._logs.reopen()
            case Kind.HEALTH | Kind.BACKENDS:
                self._follower.take(message, time.monotonic())
            case Kind.READY:
                pass  # a worker's word; no master says it

    def _drain(self) -> None:
        assert self._serving is not None, "nobody listens before that"
        config = self._config
        grace = config.grace_period_seconds
        self._serving.drain(grace, config.graceful_shutdown_timeout_seconds)
