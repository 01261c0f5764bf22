"""Worker processes, as the master sees them: forked, spoken with, buried.

Each has a socket to the master and a place in the ledger. A child closes what is
its parent's alone: were it to keep a copy of the parent's sockets, nobody could
notice by them that the parent is gone.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import socket
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn, Protocol

from lbproto.machine.effects import Level
from lbproto.machine.errors import LocalProtocolError
from lbproto.processes.bulletin import Bulletin, Follower
from lbproto.processes.channel import Message, MessageReader, encode
from lbproto.proxy.gateway import Gateway
from lbproto_runtimes import fdpass
from lbproto_runtimes.courier import Courier
from lbproto_runtimes.share import Ledger, Share
from lbproto_runtimes.signals import HANDLED
from lbproto_runtimes.worker import Setup, portion, work

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from lbproto.processes.facts import WorkerId
    from lbproto_runtimes.listen import Listener
    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.watch import Watch

__all__ = ["Children", "Parent", "worker_count"]


def worker_count(threads: int) -> int:
    """Return how many workers a configuration wants; 0 is one for each core."""
    return threads or len(os.sched_getaffinity(0))


class Parent(Protocol):
    """Who wants to know of workers."""

    def told(self, worker: WorkerId, message: Message) -> None:
        """A worker has said something; its descriptors are the parent's now."""
        ...

    def exited(self, worker: WorkerId, how: str, clean: bool) -> None:
        """A worker's process is gone."""
        ...

    def private(self, kept: Sequence[Listener]) -> Iterable[int]:
        """Descriptors that a child may not keep; it keeps these listeners."""
        ...


class _Child:
    """One worker."""

    __slots__ = ("courier", "end", "leaving", "pid", "place", "reader")

    def __init__(self, pid: int, place: int | None) -> None:
        self.pid = pid
        self.place = place
        self.reader = MessageReader()
        self.courier: Courier | None = None
        self.leaving: list[int] = []
        """Descriptors that have not left for it yet."""
        self.end = os.pidfd_open(pid)
        """Readable when the process is over (pidfd_open(2))."""


class Children:
    """All workers of a master."""

    def __init__(self, parent: Parent, watch: Watch, logs: Logs, places: int) -> None:
        """Have places in the ledger for so many; further ones do without."""
        self._parent = parent
        self._watch = watch
        self._logs = logs
        self._ledger = Ledger(places)
        self._children: dict[WorkerId, _Child] = {}

    @property
    def alive(self) -> list[WorkerId]:
        """All whose end is not known."""
        return list(self._children)

    @property
    def clients(self) -> int:
        """How many clients all of them have."""
        return self._ledger.total

    def start(
        self, worker: WorkerId, setup: Setup, held: Collection[str], known: Bulletin
    ) -> None:
        """Fork a worker, which does not accept on the listeners `held`.

        It begins with what is `known` of backends.
        """
        place = self._ledger.take()
        try:
            self._fork(worker, setup, place, held, known)
        except OSError as error:  # no process or no descriptor is left
            self._ledger.give_back(place)
            self._parent.exited(worker, f"not started: {error.strerror}", clean=False)

    def tell(self, worker: WorkerId, message: Message) -> None:
        """Say something to a worker; the descriptors are closed once they have left."""
        child = self._children.get(worker)
        if child is None or child.courier is None or not child.courier.open:
            fdpass.close_all(message.fds)
            return
        leaving, fds = child.leaving, message.fds

        def sent() -> None:
            fdpass.close_all(fds)
            del leaving[: len(fds)]

        leaving += fds
        child.courier.send(encode(message), fds, sent)

    def kill(self, worker: WorkerId) -> None:
        """End a worker's process, whatever it does."""
        child = self._children.get(worker)
        if child is not None:
            os.kill(child.pid, signal.SIGKILL)

    def _fork(
        self,
        worker: WorkerId,
        setup: Setup,
        place: int | None,
        held: Collection[str],
        known: Bulletin,
    ) -> None:
        ours, theirs = socket.socketpair()
        gc.collect()  # what is garbage now would be copied in every worker
        gc.freeze()
        # A signal of the child's must not run the master's handler in it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            pid = os.fork()
            if pid == 0:
                share = None if place is None else Share(self._ledger, place)
                private = [ours.fileno(), *self._parent.private(setup.listeners)]
                _be_worker(setup, self._logs, theirs, share, held, known, private)
        except OSError:
            ours.close()
            theirs.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        gc.unfreeze()
        theirs.close()
        child = self._children[worker] = _Child(pid, place)

        def heard(data: bytes, fds: tuple[int, ...]) -> None:
            self._hear(worker, child, data, fds)

        child.courier = Courier(ours, self._watch, heard, lambda detail: None)
        self._watch.add(child.end, lambda mask: self._bury(worker, child))
        fields = {"worker": worker, "worker_pid": pid}
        self._logs.log(Level.INFO, "worker started", fields)

    def _hear(
        self, worker: WorkerId, child: _Child, data: bytes, fds: tuple[int, ...]
    ) -> None:
        try:
            messages = child.reader.receive(data, fds)
        except LocalProtocolError as error:  # it drains once it hears no more of us
            fields = {"worker": worker, "detail": str(error)}
            self._logs.log(Level.ERROR, "a worker is not understood", fields)
            fdpass.close_all(child.reader.unclaimed())
            assert child.courier is not None, "it has just spoken"
            child.courier.close(flush=False)
            return
        for message in messages:
            self._parent.told(worker, message)

    def pid(self, worker: WorkerId) -> int:
        """Return the process of a worker."""
        return self._children[worker].pid

    def _bury(self, worker: WorkerId, child: _Child) -> None:
        self._watch.remove(child.end)
        _, status = os.waitpid(child.pid, 0)
        os.close(child.end)
        if child.courier is not None:
            child.courier.read_out()  # what it said last is not lost
        fdpass.close_all([*child.leaving, *child.reader.unclaimed()])
        del self._children[worker]
        self._ledger.give_back(child.place)
        code = os.waitstatus_to_exitcode(status)
        how = f"status {code}" if code >= 0 else signal.Signals(-code).name
        self._parent.exited(worker, how, clean=code == 0)


def _be_worker(
    setup: Setup,
    logs: Logs,
    channel: socket.socket,
    share: Share | None,
    held: Collection[str],
    known: Bulletin,
    private: list[int],
) -> NoReturn:
    """Go on as a worker."""
    status = 4
    try:
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(-1)
            for number in HANDLED:
                signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        # The objects around them live on in the frames below, and are never used.
        fdpass.close_all(private)
        config = portion(setup.config, worker_count(setup.config.threads))
        program = setup.program
        gateway = Gateway(config, setup.runtime.env(), program.applications)
        for one in program.load_balancers:
            # Clients may have threads, and the master is heard in one of its own.
            one.use(threading.RLock(), random.random)
        listeners = [
            replace(it, share=share, held=it.key in held) for it in setup.listeners
        ]
        follower = Follower(config, gateway.balancer, program.looked_after)
        for message in known.messages():
            follower.take(message, time.monotonic())
        setup = replace(setup, listeners=listeners)
        status = work(setup, gateway, follower, logs, channel)
    finally:
        os._exit(status)
