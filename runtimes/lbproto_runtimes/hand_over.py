"""Handing over: carries out what the `Incumbent` of an upgrade orders.

Descriptors of listeners are the master's and stay so. Those of idle clients are held
here, from the worker that gave them up until the successor serves them; one that does
not leave, or is lost on its way, goes back to a worker.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final, Protocol, assert_never

from lbproto.handover import effects as do
from lbproto.handover.events import (
    AcceptingStopped,
    Bytes,
    IdleOffered,
    IncumbentEvent,
    PeerClosed,
    PeerConnected,
    PeerRefused,
    Requested,
    Sent,
)
from lbproto.handover.incumbent import Incumbent
from lbproto.handover.keys import ListenerKey
from lbproto.handover.messages import IdlePeer
from lbproto.machine.effects import Level
from lbproto.machine.errors import LocalProtocolError
from lbproto.machine.values import ConnId
from lbproto_runtimes import upgrade_sock
from lbproto_runtimes.courier import Courier
from lbproto_runtimes.dial import describe
from lbproto_runtimes.moved import is_claimed
from lbproto_runtimes.sequence import Sequence
from lbproto_runtimes.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from lbproto.handover.times import Times
    from lbproto_runtimes.logs import Logs
    from lbproto_runtimes.moved import Moved
    from lbproto_runtimes.watch import Watch
    from lbproto_runtimes.workforce import Workforce

__all__ = ["HandOver", "House"]

USUAL: Final = (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN)
"""Nobody waits there yet."""


class House(Protocol):
    """The master, whose service is handed over."""

    def take_service(self) -> None:
        """The service is ours again."""
        ...

    def yield_service(self, taken: Collection[ListenerKey]) -> None:
        """The service is another process's, and so are these listeners."""
        ...

    def stop(self, signal: str) -> None:
        """Do what a signal asks for."""
        ...

    def leave(self, reason: str) -> None:
        """End with the last client."""
        ...


class HandOver:
    """One upgrade, at the process that serves."""

    def __init__(
        self,
        house: House,
        workers: Workforce,
        watch: Watch,
        logs: Logs,
        path: str,
        keys: list[ListenerKey],
        generation: int,
        times: Times,
    ) -> None:
        self._house = house
        self._workers = workers
        self._watch = watch
        self._logs = logs
        self.machine = Incumbent(
            path, keys, pid=os.getpid(), generation=generation, times=times
        )
        self.sequence: Sequence[IncumbentEvent] = Sequence(self.machine, self._perform)
        self._courier: Courier | None = None
        self._taken: tuple[ListenerKey, ...] = ()
        self._conns: dict[ConnId, Moved] = {}
        self._tokens = Tokens()
        self._warned = False

    def begin(self) -> None:
        """Look for the successor."""
        self.sequence.feed(Requested())

    def private(self) -> Iterable[int]:
        """Descriptors that no child may keep."""
        return [one.sock.fileno() for one in self._conns.values()]

    def _perform(self, effect: do.Effect) -> None:
        house, workers = self._house, self._workers
        match effect:
            case do.Log():
                self._logs.perform(effect)
            case do.Dial(path):
                self._dial(path)
            case do.SendBytes(data, names):
                self._send(data, names)
            case do.Hangup(flush):
                if self._courier is not None:
                    self._courier.close(flush=flush)
            case do.DropFd(token):
                self._tokens.drop(token)
            case do.Accepting(False, keys):
                self._taken = keys
                workers.hold(keys, lambda: self.sequence.feed(AcceptingStopped()))
            case do.Accepting(_, keys):
                workers.accept(keys)
            case do.TakeService():
                house.take_service()
            case do.YieldService():
                house.yield_service(self._taken)
            case do.CollectIdle(wanted):
                workers.collect(self._taken if wanted else (), self._collected)
            case do.LetGo(conns):
                for conn in conns:
                    self._conns.pop(conn).sock.close()
            case do.Resume(conns):
                workers.give_back([self._conns.pop(conn) for conn in conns])
            case do.Reclaim(conns):
                self._reclaim([self._conns.pop(conn) for conn in conns])
            case do.BeginDrain():
                workers.drain(self._taken)
            case do.CloseListeners(keys):
                workers.close_listeners(keys)
            case do.Stop(signal):
                house.stop(signal)
            case do.Exit(_, reason):
                house.leave(reason)
            case do.TurnAway() | do.BindFd() | do.AdoptConn() | do.StartWorkers():
                raise LocalProtocolError(f"{effect!r}: a successor's")
            case _ as never:
                assert_never(never)

    # -- the channel ---------------------------------------------------------

    def _dial(self, path: str) -> None:
        try:
            sock = upgrade_sock.dial(path)
        except OSError as error:
            if error.errno not in USUAL and not self._warned:
                self._warned = True
                about = {"path": path, "detail": error.strerror or str(error)}
                self._logs.log(Level.WARNING, "upgrade: cannot connect", about)
            self.sequence.feed(PeerRefused(describe(error)))
            return
        self._courier = Courier(sock, self._watch, self._heard, self._ended)
        self.sequence.feed(PeerConnected(self._workers.clients))

    def _send(self, data: bytes, names: tuple[ListenerKey | ConnId, ...]) -> None:
        fds = [
            self._conns[name].sock.fileno()
            if isinstance(name, int)
            else self._workers.descriptor(name)
            for name in names
        ]
        if self._courier is not None:
            self._courier.send(data, fds, lambda: self.sequence.feed(Sent()))

    def _heard(self, data: bytes, fds: tuple[int, ...]) -> None:
        self.sequence.feed(Bytes(data, self._tokens.keep(fds)))

    def _ended(self, detail: str) -> None:
        self.sequence.feed(PeerClosed(detail))

    # -- clients -------------------------------------------------------------

    def _collected(self, found: list[Moved], left: int) -> None:
        peers = []
        for number, one in enumerate(found, 1):
            conn = ConnId(number)
            self._conns[conn] = one
            peer = IdlePeer(ListenerKey(one.key), one.peer, one.proxied)
            peers.append((conn, peer))
        self.sequence.feed(IdleOffered(tuple(peers), left))

    def _reclaim(self, left: list[Moved]) -> None:
        for one in left:
            if is_claimed(one.sock):
                one.sock.close()
            else:
                self._workers.adopt(one)
