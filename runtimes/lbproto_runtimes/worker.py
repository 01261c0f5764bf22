"""A worker process: a runtime that serves, and the master's word in its ear.

The master speaks over a socket. A thread of the worker listens to it, whatever the
runtime is, and passes on what it hears; a server may be told anything from any
thread. When the master is gone, nobody could ever end the worker, so it drains by
itself.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from lbproto.machine.effects import Level
from lbproto.machine.errors import LocalProtocolError
from lbproto.processes.channel import Kind, Message, MessageReader, encode
from lbproto_runtimes import fdpass
from lbproto_runtimes.logs import log_crash
from lbproto_runtimes.moved import BATCH, LOST, claim, disclaim, message, unpack
from lbproto_runtimes.program import NOTHING, Program

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from lbproto.config import Backend, Config
    from lbproto.processes.bulletin import Follower
    from lbproto.proxy.gateway import Gateway
    from lbproto_runtimes.api import Runtime, Serving
    from lbproto_runtimes.contexts import Contexts
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.moved import Moved

__all__ = ["Setup", "portion", "work"]

ORPHAN_GRACE: Final = 5.0
"""Seconds that idle clients may still speak when the master is gone."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a generation of workers serves."""

    config: Config
    runtime: Runtime
    listeners: Sequence[Listener]
    contexts: Contexts
    read_backends: Callable[[str], tuple[Backend, ...]] | None = None
    """Reads the file of a `FileSource`; raises `LbError` if it is wrong."""
    program: Program = NOTHING


def portion(config: Config, workers: int) -> Config:
    """Return one worker's part of a configuration: the limits are of all together."""
    services = []
    for service in config.services:
        most = service.limits.connections
        if most is not None:
            limits = replace(service.limits, connections=-(-most // workers))
            service = replace(service, limits=limits)
        services.append(service)
    return replace(config, services=tuple(services))


def work(
    setup: Setup,
    gateway: Gateway,
    follower: Follower,
    logs: Logs,
    channel: socket.socket,
) -> int:
    """Serve in this process until the master says otherwise; return the status."""
    ear = _Ear(setup.config, follower, logs, channel)
    try:
        setup.runtime.serve(gateway, setup.listeners, logs, ear.ready, setup.contexts)
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
        self._lock = threading.Lock()
        self._serving: Serving | None = None

    def ready(self, serving: Serving) -> None:
        """The server accepts: say so, and listen."""
        self._serving = serving
        self._say(Message(Kind.READY, {}))
        threading.Thread(target=self._listen, name="ear", daemon=True).start()

    def _say(self, told: Message) -> bool:
        """Tell the master, from any thread; false if that did not work."""
        data, fds = encode(told), told.fds
        with self._lock:
            while data:
                try:
                    count = fdpass.send(self._channel, data, fds)
                except OSError:  # the listener will notice, if it is the master
                    return False
                data, fds = data[count:], ()
        return True

    def _listen(self) -> None:
        reader = MessageReader()
        while True:
            try:
                parcel = fdpass.receive(self._channel, 65536)
                # A read ends with the one descriptor of a message, at the latest.
                fds = parcel.fds or ((LOST,) if parcel.cut else ())
                data, orders = parcel.data, reader.receive(parcel.data, fds)
            except (OSError, LocalProtocolError):
                data, orders = b"", []
            if not data:
                fdpass.close_all(reader.unclaimed())
                fields = {"pid": os.getpid()}
                self._logs.log(Level.WARNING, "the master is gone", fields)
                self._drain()
                return
            for order in orders:
                self._obey(order)

    def _obey(self, order: Message) -> None:
        serving = self._serving
        assert serving is not None, "nobody listens before that"
        fields = order.fields
        match order.kind:
            case Kind.DRAIN:
                grace, timeout = fields["grace"], fields["timeout"]
                assert isinstance(grace, float | int)
                assert isinstance(timeout, float | int)
                serving.drain(float(grace), float(timeout))
            case Kind.STOP:
                serving.stop()
            case Kind.REOPEN:
                self._logs.reopen()
            case Kind.HEALTH | Kind.BACKENDS:
                self._follower.take(order, time.monotonic())
            case Kind.HOLD:
                serving.hold(_keys(fields), partial(self._say, Message(Kind.HELD, {})))
            case Kind.ACCEPT:
                serving.accept(_keys(fields))
            case Kind.COLLECT:
                most = fields["most"]
                assert isinstance(most, int)
                serving.collect(_keys(fields), most, self._collected)
            case Kind.IDLE:
                self._take(unpack(order))
            case _:
                pass  # a worker's word; no master says it

    def _collected(self, found: Sequence[Moved], left: int) -> None:
        """Give idle connections to the master, and tell how many clients stay."""
        assert self._serving is not None, "it was asked"
        for at in range(0, len(found), BATCH):
            batch = list(found[at : at + BATCH])
            for one in batch:
                disclaim(one.sock)
            if self._say(message(batch)):
                for one in batch:
                    one.sock.close()
            else:  # too many are on their way already, or the master is gone
                self._take(batch)
                left += len(batch)
        self._say(Message(Kind.COLLECTED, {"left": left}))

    def _take(self, moved: list[Moved]) -> None:
        """Serve those that nobody else does."""
        assert self._serving is not None, "nobody has clients before that"
        ours = []
        for one in moved:
            if claim(one.sock):
                ours.append(one)
            else:
                one.sock.close()
        self._serving.take(ours)

    def _drain(self) -> None:
        assert self._serving is not None, "nobody listens before that"
        config = self._config
        # Another process may serve on, so clients are in no hurry.
        grace = max(ORPHAN_GRACE, config.grace_period_seconds)
        self._serving.drain(grace, config.graceful_shutdown_timeout_seconds)


def _keys(fields: dict[str, object]) -> frozenset[str]:
    keys = fields["keys"]
    assert isinstance(keys, list)
    return frozenset(keys)
