"""The process that probes and finds backends, as the master sees it.

There is one for the configuration that serves, if that has something to probe. What
it finds is kept here, so that a successor, and every new worker, begins with what is
known. It is started again if it dies; workers go on with what they have heard last.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Final, NoReturn

from lbproto.machine.effects import Level
from lbproto.machine.errors import LocalProtocolError
from lbproto.processes.bulletin import Bulletin
from lbproto.processes.channel import Kind, Message, MessageReader, encode
from lbproto_runtimes import fdpass
from lbproto_runtimes.signals import HANDLED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.watch import Watch
    from lbproto_runtimes.worker import Setup

__all__ = ["Prober"]

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
"""Seconds between a death and the next start; twice as long after each short life."""
SHORT_LIFE: Final = 1.0

PATIENCE: Final = 2.0
"""Seconds that background services of a program have to end."""


class Prober:
    """One process at a time."""

    def __init__(
        self,
        watch: Watch,
        logs: Logs,
        tell: Callable[[Message], object],
        private: Callable[[], Iterable[int]],
    ) -> None:
        """`tell` gets what workers must hear; `private`: what no child may keep."""
        self._watch = watch
        self._logs = logs
        self._tell = tell
        self._private = private
        self._setup: Setup | None = None
        self._channel: socket.socket | None = None
        self._reader = MessageReader()
        self._pid = 0
        self._end = -1
        self._started = -math.inf
        self._pause = 0.0
        self.bulletin = Bulletin()
        """All that was found; a worker that is forked takes it along."""
        self.deadline = math.inf
        """When to call `tick`, on the monotonic clock."""

    def serve(self, setup: Setup) -> None:
        """Probe what this configuration asks for, and nothing else."""
        self.end()
        self._setup = setup
        self._pause = 0.0
        self.bulletin.keep(setup.config, setup.program.background)
        if _has_work(setup):
            self._start()

    def tick(self) -> None:
        """Time has passed."""
        if self.deadline <= time.monotonic():
            self.deadline = math.inf
            self._start()

    def reopen(self) -> None:
        """Have it open its logs anew."""
        if self._channel is not None:
            with contextlib.suppress(OSError):  # it is dying
                self._channel.send(encode(Message(Kind.REOPEN, {})))

    def end(self) -> None:
        """End the process, if there is one, and start none."""
        self.deadline = math.inf
        if self._pid:
            self._let_end()
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._forget()

    def _let_end(self) -> None:
        """Let what runs there for the program end by itself."""
        assert self._setup is not None, "it serves"
        if self._channel is None or not self._setup.program.tasks:
            return
        with contextlib.suppress(OSError):  # it is dying
            self._channel.shutdown(socket.SHUT_WR)
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        poll.poll(1000 * (PATIENCE + 1.0))

    def _start(self) -> None:
        assert self._setup is not None, "it serves"
        self._started = time.monotonic()
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self._again(f"not started: {error.strerror}")
            return
        # A signal of the child's must not run the master's handler in it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            pid = os.fork()
            if pid == 0:
                private = [ours.fileno(), *self._private()]
                _be_prober(self._setup, self._logs, theirs, private, self.bulletin)
        except OSError as error:
            ours.close()
            theirs.close()
            self._again(f"not started: {error.strerror}")
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        ours.setblocking(False)
        self._channel, self._reader, self._pid = ours, MessageReader(), pid
        self._end = os.pidfd_open(pid)
        self._watch.add(ours.fileno(), self._hear)
        self._watch.add(self._end, self._ended)
        self._logs.log(Level.INFO, "prober started", {"prober_pid": pid})

    def _hear(self, mask: int) -> None:
        channel = self._channel
        assert channel is not None, "it is watched"
        try:
            data = channel.recv(65536)
            messages = self._reader.receive(data)
        except BlockingIOError:
            return
        except (OSError, LocalProtocolError):
            data, messages = b"", []
        for message in messages:
            self.bulletin.note(message)
            self._tell(message)
        if not data:  # it ends, or is broken: it is of no use
            self._watch.remove(channel.fileno())
            os.kill(self._pid, signal.SIGKILL)

    def _ended(self, mask: int) -> None:
        _, status = os.waitpid(self._pid, 0)
        self._forget()
        code = os.waitstatus_to_exitcode(status)
        self._again(f"status {code}" if code >= 0 else signal.Signals(-code).name)

    def _again(self, how: str) -> None:
        """It died: start another one in a while."""
        self._logs.log(Level.ERROR, "prober died", {"how": how})
        now = time.monotonic()
        lived = now - self._started
        self._pause = 0.0 if lived >= SHORT_LIFE else 2 * self._pause
        self._pause = min(max(self._pause, FIRST_PAUSE), LONGEST_PAUSE)
        self.deadline = now + self._pause

    def _forget(self) -> None:
        """Close what there was for a process that is over."""
        self._watch.remove(self._end)
        os.close(self._end)
        if self._channel is not None:
            self._watch.remove(self._channel.fileno())
            self._channel.close()
        self._channel, self._pid, self._end = None, 0, -1


def _has_work(setup: Setup) -> bool:
    upstreams = setup.config.upstreams.values()
    probed = any(it.health_check or it.source for it in upstreams)
    return probed or bool(setup.program.background)


def _be_prober(
    setup: Setup,
    logs: Logs,
    channel: socket.socket,
    private: Iterable[int],
    bulletin: Bulletin,
) -> NoReturn:
    """Go on as the prober."""
    status = 4
    try:
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(-1)
        for number in HANDLED:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        fdpass.close_all(private)
        # Not before: the master has no use for an event loop.
        from lbproto_runtimes.prober_work import serve_probes

        status = serve_probes(setup, logs, channel, bulletin, PATIENCE)
    finally:
        os._exit(status)
