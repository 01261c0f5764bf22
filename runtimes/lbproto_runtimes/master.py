"""The master process: carries out what the `Supervisor` decides.

It holds the listening sockets and never touches what comes over them. It waits for
signals, for what workers say and for their end; everything it knows it tells the
supervisor, and it does what comes back. It has no thread and no event loop, so that
it may fork at any time.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

from lbproto.machine.effects import Level, Log
from lbproto.machine.errors import LbError, LocalProtocolError
from lbproto.processes.bulletin import Bulletin, Follower
from lbproto.processes.channel import Kind, Message, MessageReader, encode
from lbproto.processes.facts import (
    Deed,
    Down,
    Exit,
    Exited,
    Fact,
    Interrupted,
    Kill,
    Ready,
    Renewed,
    Reopened,
    Start,
    Started,
    Tell,
    Terminated,
    Terms,
    Tick,
    Up,
    WorkerId,
)
from lbproto.processes.supervisor import Supervisor
from lbproto.proxy.gateway import Gateway
from lbproto_runtimes.listen import unlink
from lbproto_runtimes.prober import Prober
from lbproto_runtimes.share import Ledger, Share
from lbproto_runtimes.worker import Setup, portion, work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lbproto_runtimes.logs import Logs

__all__ = ["Master", "worker_count"]

LONGEST: Final = 3600.0
"""Seconds; poll(2) counts milliseconds in 32 bits."""

HANDLED: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
)


def worker_count(threads: int) -> int:
    """Return how many workers a configuration wants; 0 is one for each core."""
    return threads or len(os.sched_getaffinity(0))


def terms_of(setup: Setup) -> Terms:
    """Say what the supervisor has to know of a configuration."""
    config = setup.config
    return Terms(
        worker_count(config.threads),
        config.grace_period_seconds,
        config.graceful_shutdown_timeout_seconds,
    )


class _Child:
    """A worker, as its parent sees it."""

    __slots__ = ("channel", "end", "pid", "place", "reader")

    def __init__(self, pid: int, channel: socket.socket, place: int | None) -> None:
        self.pid = pid
        self.place = place
        self.channel = channel
        self.reader = MessageReader()
        self.end = os.pidfd_open(pid)
        """Readable when the process is over (pidfd_open(2))."""


class Master:
    """Starts workers and answers signals, until all is over; a context manager."""

    def __init__(
        self,
        setup: Setup,
        logs: Logs,
        renew: Callable[[Setup], Setup] | None = None,
        up: Callable[[], None] | None = None,
    ) -> None:
        """`renew` makes the next setup, or raises `LbError`; `up` is called once."""
        self._setups = {1: setup}
        self._newest = 1
        self._logs = logs
        self._renew = renew
        self._up = up
        self._supervisor = Supervisor(terms_of(setup))
        self._children: dict[WorkerId, _Child] = {}
        self._poll = select.poll()
        self._calls: dict[int, Callable[[int], None]] = {}
        self._prober = Prober(self, logs, self._tell_all, self._private)
        self._status: int | None = None
        self._stack = contextlib.ExitStack()
        self._woken = -1
        # Room for several generations at a time; without a place one goes without.
        self._ledger = Ledger(4 * terms_of(setup).workers + 16)

    def __enter__(self) -> Master:
        """Take note of signals from now on; `run` answers them."""
        woken, waker = os.pipe()
        self._woken = woken
        self._poll.register(woken, select.POLLIN)
        self._stack.callback(os.close, woken)
        self._stack.callback(os.close, waker)
        self._stack.enter_context(_signals(waker))
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()
        self._prober.end()
        self._close_listeners()
        for setup in self._setups.values():
            unlink(setup.listeners)

    def run(self) -> int:
        """Serve until a signal ends it; return the exit status."""
        self._tell(Started())
        while self._status is None:
            self._turn()
        return self._status

    def _turn(self) -> None:
        until = min(self._supervisor.deadline, self._prober.deadline)
        patience = until - time.monotonic()
        limit = max(0.0, min(patience, LONGEST))
        found = [one for one, _ in self._poll.poll(int(limit * 1000) + 1)]
        if self._woken in found:
            for number in os.read(self._woken, 4096):
                self._signalled(number)
        for worker, child in list(self._children.items()):
            if child.channel.fileno() in found:
                self._hear(worker, child)
            if child.end in found:
                self._bury(worker, child)
        for descriptor in found:
            call = self._calls.get(descriptor)
            if call is not None:
                call(select.POLLIN)
        if self._supervisor.deadline <= time.monotonic():
            self._tell(Tick())
        self._prober.tick()

    # -- what the prober asks for --------------------------------------------

    def add(self, fd: int, call: Callable[[int], None]) -> None:
        """Call whenever there is something to read."""
        self._calls[fd] = call
        self._poll.register(fd, select.POLLIN)

    def remove(self, fd: int) -> None:
        """Call no more."""
        if self._calls.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def _tell_all(self, message: Message) -> None:
        for worker in self._children:
            self._do(Tell(worker, message))

    def _private(self) -> Iterator[int]:
        yield self._woken
        for child in self._children.values():
            yield from (child.channel.fileno(), child.end)
        for setup in self._setups.values():
            yield from (listener.socket.fileno() for listener in setup.listeners)

    # -- facts ---------------------------------------------------------------

    def _signalled(self, number: int) -> None:
        match number:
            case signal.SIGTERM:
                self._tell(Terminated())
                self._close_listeners()
            case signal.SIGINT:
                self._tell(Interrupted())
                self._close_listeners()
            case signal.SIGUSR1:
                self._logs.reopen()
                self._prober.reopen()
                self._tell(Reopened())
            case signal.SIGHUP:
                self._reload()
            case signal.SIGQUIT:
                self._logs.log(Level.WARNING, "upgrade is not supported yet", {})

    def _reload(self) -> None:
        if self._renew is None:
            self._logs.log(Level.WARNING, "there is no file to reload", {})
            return
        try:
            setup = self._renew(self._setups[max(self._setups)])
        except LbError as error:
            detail = {"detail": str(error)}
            self._logs.log(Level.ERROR, "the configuration stays as it is", detail)
            return
        self._newest += 1
        self._setups[self._newest] = setup
        self._tell(Renewed(terms_of(setup)))

    def _bury(self, worker: WorkerId, child: _Child) -> None:
        _, status = os.waitpid(child.pid, 0)
        self._deafen(child)
        self._poll.unregister(child.end)
        os.close(child.end)
        child.channel.close()
        del self._children[worker]
        self._ledger.give_back(child.place)
        code = os.waitstatus_to_exitcode(status)
        how = f"status {code}" if code >= 0 else signal.Signals(-code).name
        self._tell(Exited(worker, how, code == 0))

    def _deafen(self, child: _Child) -> None:
        with contextlib.suppress(KeyError):
            self._poll.unregister(child.channel)

    def _hear(self, number: WorkerId, child: _Child) -> None:
        try:
            data = child.channel.recv(65536)
            messages = child.reader.receive(data)
        except BlockingIOError:
            return
        except (OSError, LocalProtocolError):
            data, messages = b"", []
        if not data:
            self._deafen(child)  # it ends, or is broken: its process tells
            return
        for message in messages:
            if message.kind is Kind.READY:
                fields = {"worker": number, "worker_pid": child.pid}
                self._logs.log(Level.INFO, "worker ready", fields)
                self._tell(Ready(number))

    # -- deeds ---------------------------------------------------------------

    def _tell(self, fact: Fact) -> None:
        for deed in self._supervisor.handle(fact, time.monotonic()):
            self._do(deed)

    def _do(self, deed: Deed) -> None:
        match deed:
            case Start(worker, generation):
                self._start(worker, self._setups[generation])
            case Tell(worker, message):
                child = self._children.get(worker)
                if child is not None:
                    with contextlib.suppress(OSError):  # it is dying
                        child.channel.sendall(encode(message))
            case Kill(worker):
                child = self._children.get(worker)
                if child is not None:
                    os.kill(child.pid, signal.SIGKILL)
            case Up(generation):
                self._is_up(generation)
            case Down(generation):
                self._drop([generation])
            case Log():
                self._logs.perform(deed)
            case Exit(status):
                self._status = status

    def _start(self, worker: WorkerId, setup: Setup) -> None:
        place = self._ledger.take()
        try:
            self._fork(worker, setup, place)
        except OSError as error:  # no process or no descriptor is left
            self._ledger.give_back(place)
            how = f"not started: {error.strerror}"
            self._tell(Exited(worker, how, clean=False))

    def _fork(self, worker: WorkerId, setup: Setup, place: int | None) -> None:
        ours, theirs = socket.socketpair()
        gc.collect()  # what is garbage now would be copied in every worker
        gc.freeze()
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            share = None if place is None else Share(self._ledger, place)
            for descriptor in self._prober.descriptors:
                os.close(descriptor)
            known = self._prober.bulletin
            others = [ours, *self._channels()]
            _be_worker(setup, self._logs, theirs, share, others, known)
        gc.unfreeze()
        theirs.close()
        ours.setblocking(False)
        child = self._children[worker] = _Child(pid, ours, place)
        self._poll.register(ours, select.POLLIN)
        self._poll.register(child.end, select.POLLIN)
        fields = {"worker": worker, "worker_pid": pid}
        self._logs.log(Level.INFO, "worker started", fields)

    def _channels(self) -> list[socket.socket]:
        return [child.channel for child in self._children.values()]

    def _is_up(self, generation: int) -> None:
        up, self._up = self._up, None
        if up is not None:
            up()
        self._drop([number for number in self._setups if number < generation])
        fields = {"generation": generation}
        self._logs.log(Level.INFO, "generation serves", fields)
        self._prober.serve(self._setups[generation])

    def _drop(self, generations: list[int]) -> None:
        """Forget configurations, and close the listeners that no other one has."""
        dropped = [self._setups.pop(number) for number in generations]
        kept = [it.socket for one in self._setups.values() for it in one.listeners]
        for setup in dropped:
            gone = [it for it in setup.listeners if it.socket not in kept]
            for listener in gone:
                listener.socket.close()
            unlink(gone)

    def _close_listeners(self) -> None:
        """Leave the sockets to the workers, who see to what waits in their queues."""
        for setup in self._setups.values():
            for listener in setup.listeners:
                listener.socket.close()


@contextlib.contextmanager
def _signals(waker: int) -> Iterator[None]:
    """Have the numbers of signals written to a pipe; only a main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    os.set_blocking(waker, False)
    before = {number: signal.signal(number, _noted) for number in HANDLED}
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)


def _noted(signum: int, frame: object) -> None:
    """The number is in the pipe."""


def _be_worker(
    setup: Setup,
    logs: Logs,
    channel: socket.socket,
    share: Share | None,
    others: list[socket.socket],
    known: Bulletin,
) -> None:
    """Go on as a worker; this never returns."""
    status = 4
    try:
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(-1)
        for other in others:
            other.close()
        config = portion(setup.config, worker_count(setup.config.threads))
        gateway = Gateway(config, setup.runtime.env())
        follower = Follower(config, gateway.balancer)
        for message in known.messages():
            follower.take(message, time.monotonic())
        status = work(setup, gateway, follower, logs, channel, share)
    finally:
        os._exit(status)
