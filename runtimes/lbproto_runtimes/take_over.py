"""Taking over: carries out what the `Successor` of an upgrade orders.

Descriptors that came are held here under their tokens, until the machine says what
each of them is: a listener, a client, or nothing that anybody wants.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Protocol, assert_never

from lbproto.handover import effects as do
from lbproto.handover.events import (
    Bytes,
    PeerClosed,
    PeerConnected,
    Requested,
    Sent,
    SuccessorEvent,
    WorkersFailed,
)
from lbproto.handover.keys import ListenerKey
from lbproto.handover.successor import Successor
from lbproto.machine.effects import Level
from lbproto.machine.errors import LbError, LocalProtocolError
from lbproto_runtimes import fdpass, upgrade_sock
from lbproto_runtimes.courier import Courier
from lbproto_runtimes.moved import Moved
from lbproto_runtimes.sequence import Sequence
from lbproto_runtimes.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from lbproto.handover.times import Times
    from lbproto.machine.events import PeerInfo
    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.upgrade_sock import Meeting
    from lbproto_runtimes.watch import Watch

__all__ = ["Heir", "TakeOver"]


class Heir(Protocol):
    """The master that is to serve."""

    def start(self, received: list[tuple[ListenerKey, socket.socket]]) -> None:
        """Bind what was not received, and start workers.

        Raises:
            LbError: that does not work.
        """
        ...

    def adopt(self, moved: Moved) -> None:
        """Have a worker serve a client."""
        ...

    def take_service(self) -> None:
        """The service is ours."""
        ...

    def stop(self, signal: str) -> None:
        """Do what a signal asks for."""
        ...

    def fail(self, reason: str) -> None:
        """End: the other process goes on."""
        ...


class TakeOver:
    """One upgrade, at the process that is to serve."""

    def __init__(
        self,
        heir: Heir,
        watch: Watch,
        logs: Logs,
        meeting: Meeting,
        users: Collection[int],
        keys: list[ListenerKey],
        times: Times,
    ) -> None:
        """`users`: who else than this one and root may hand over to us."""
        self._heir = heir
        self._watch = watch
        self._logs = logs
        self._meeting = meeting
        self._users = users
        self.machine = Successor(keys, pid=os.getpid(), generation=0, times=times)
        self.sequence: Sequence[SuccessorEvent] = Sequence(self.machine, self._perform)
        self._courier: Courier | None = None
        self._new: socket.socket | None = None
        """Who has just connected."""
        self._tokens = Tokens()
        self._received: list[tuple[ListenerKey, int]] = []

    def begin(self) -> None:
        """Wait for the process that serves."""
        self._watch.add(self._meeting.socket.fileno(), self._somebody)
        self._feed(Requested())

    def private(self) -> Iterable[int]:
        """Descriptors that no child may keep."""
        return self._tokens.descriptors

    def close(self) -> None:
        """Give back what is held, whatever the machine thinks."""
        self._part()
        if self._courier is not None:
            self._courier.close(flush=False)
        self._tokens.close()

    def tick(self) -> None:
        """Tell the machine the time, if it waits for that."""
        if self.sequence.deadline < float("inf"):
            self.sequence.tick()
            self._look()

    def _feed(self, event: SuccessorEvent) -> None:
        self.sequence.feed(event)
        self._look()

    def _look(self) -> None:
        if not self.machine.busy:
            self._part()  # the next upgrade may have its path

    def _part(self) -> None:
        if self._meeting.socket.fileno() >= 0:
            self._watch.remove(self._meeting.socket.fileno())
            self._meeting.close()

    def _perform(self, effect: do.Effect) -> None:
        heir = self._heir
        match effect:
            case do.Log():
                self._logs.perform(effect)
            case do.SendBytes(data):
                self._channel().send(data, (), lambda: self._feed(Sent()))
            case do.Hangup(flush):
                self._channel().close(flush=flush)
            case do.TurnAway(data):
                self._turn_away(data)
            case do.BindFd(token, key):
                self._received.append((key, self._tokens.claim(token)))
            case do.AdoptConn(token, key, peer):
                self._adopt(self._tokens.claim(token), key, peer)
            case do.DropFd(token):
                self._tokens.drop(token)
            case do.StartWorkers():
                self._start()
            case do.TakeService():
                heir.take_service()
            case do.Stop(signal):
                heir.stop(signal)
            case do.Exit(_, reason):
                heir.fail(reason)
            case (
                do.Dial()
                | do.Accepting()
                | do.YieldService()
                | do.CollectIdle()
                | do.LetGo()
                | do.Resume()
                | do.Reclaim()
                | do.BeginDrain()
                | do.CloseListeners()
            ):
                raise LocalProtocolError(f"{effect!r}: an incumbent's")
            case _ as never:
                assert_never(never)

    def _start(self) -> None:
        fds, self._received = self._received, []
        received: list[tuple[ListenerKey, socket.socket]] = []
        try:
            while fds:
                key, fd = fds[0]
                received.append((key, socket.socket(fileno=fd)))
                del fds[0]
            self._heir.start(received)
        except LbError as error:
            self.sequence.feed(WorkersFailed(str(error)))
        except OSError:  # whatever it is, it is no socket
            fdpass.close_all(fd for _, fd in fds)
            for _, sock in received:
                sock.close()
            reason = f"what was handed over as {fds[0][0]} is no socket"
            self.sequence.feed(WorkersFailed(reason))

    def _adopt(self, fd: int, key: ListenerKey, peer: PeerInfo) -> None:
        try:
            sock = socket.socket(fileno=fd)
        except OSError:
            fdpass.close_all([fd])
        else:
            self._heir.adopt(Moved(key, peer, bool(peer.local), sock))

    # -- the channel ---------------------------------------------------------

    def _somebody(self, mask: int) -> None:
        sock = self._meeting.accept()
        if sock is None:
            return
        if not upgrade_sock.welcome(sock, self._users):
            about = {"uid": upgrade_sock.peer_uid(sock)}
            self._logs.log(Level.WARNING, "upgrade: a stranger was refused", about)
            sock.close()
            return
        self._new = sock
        self._feed(PeerConnected())

    def _channel(self) -> Courier:
        new, self._new = self._new, None
        if new is not None:
            self._courier = Courier(new, self._watch, self._heard, self._ended)
        assert self._courier is not None, "nobody has connected"
        return self._courier

    def _turn_away(self, data: bytes) -> None:
        new, self._new = self._new, None
        if new is not None:
            new.setblocking(False)
            with contextlib.suppress(OSError):  # it has gone meanwhile
                new.send(data, socket.MSG_NOSIGNAL)
            new.close()

    def _heard(self, data: bytes, fds: tuple[int, ...]) -> None:
        self._feed(Bytes(data, self._tokens.keep(fds)))

    def _ended(self, detail: str) -> None:
        self._feed(PeerClosed(detail))
