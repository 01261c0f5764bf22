"""Two processes and the kernel between them, for upgrades without a descriptor.

`World` performs the effects of both machines on a model: a pipe each way that carries
bytes and descriptors, listeners that a process holds and accepts on, idle connections
with one owner each. What may happen next is a list, and a `choose` function picks, so
a test decides the order, the cuts, the delays and who dies when. After every step the
world checks what is promised.

A process of the model is a master, and the clients that its workers serve. Who kills
the master kills no worker: what passes through the master's hands is closed, while a
client that a worker has claimed is served to its end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lbproto.handover import effects as do
from lbproto.handover import events as ev
from lbproto.handover.incumbent import Incumbent
from lbproto.handover.keys import FdToken, ListenerKey, listener_key
from lbproto.handover.messages import IdlePeer
from lbproto.handover.successor import Successor
from lbproto.handover.times import Times
from lbproto.machine.events import PeerInfo
from lbproto.machine.values import ConnId

PATH = "/run/lb.upgrade"
TIMES = Times(timeout=30.0, bake=10.0)
WEB = listener_key("tcp:0.0.0.0:6188")
SIX = listener_key("tcp:[::]:6188")
SOCK = listener_key("unix:/run/lb.sock")
NEW = listener_key("tcp:0.0.0.0:8080")
LOCAL = PeerInfo("192.0.2.1", 4711, "")

Name = ListenerKey | ConnId
Choose = Callable[[int], int]


def incumbent(
    *keys: ListenerKey, times: Times = TIMES, busy: bool = False
) -> Incumbent:
    return Incumbent(
        PATH, keys or (WEB, SOCK), pid=100, generation=4, times=times, busy=busy
    )


def successor(*keys: ListenerKey, times: Times = TIMES) -> Successor:
    return Successor(keys or (WEB, SOCK), pid=200, generation=0, times=times)


@dataclass
class Process:
    """One of the two, as the kernel and the operator see it."""

    name: str
    machine: Incumbent | Successor
    held: list[ListenerKey] = field(default_factory=list)
    accepting: list[ListenerKey] = field(default_factory=list)
    conns: list[ConnId] = field(default_factory=list)
    """Whom its workers serve, and of the old one's those that are frozen."""
    frozen: list[ConnId] = field(default_factory=list)
    """Given up by the workers, in the master's hands."""
    adopted: list[ConnId] = field(default_factory=list)
    """On their way to a worker, which will claim them."""
    tokens: dict[FdToken, Name] = field(default_factory=dict)
    queue: list[tuple[bytes, list[Name]]] = field(default_factory=list)
    """What the machine sent and the kernel has not got yet."""
    answers: list[tuple[ev.IncumbentEvent | ev.SuccessorEvent, float]] = field(
        default_factory=list
    )
    pipe: list[tuple[bytes, list[Name]]] | None = None
    """What is on its way to this process; None: no channel."""
    alive: bool = True
    exit: do.Exit | None = None
    stopped: str = ""
    logs: list[do.Log] = field(default_factory=list)
    keys_of: dict[ConnId, ListenerKey] = field(default_factory=dict)


class World:
    """The two, joined."""

    def __init__(
        self,
        old: Incumbent,
        new: Successor,
        had: Sequence[ListenerKey],
        wanted: Sequence[ListenerKey],
        *,
        choose: Choose = lambda _: 0,
        idle: int = 0,
        workers: str = "",
        delay: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.now = 0.0
        self.had, self.wanted = list(had), list(wanted)
        self.choose, self.delay = choose, delay
        self.workers = workers
        conns = [ConnId(number) for number in range(1, idle + 1)]
        keys = {conn: self.had[conn % len(had)] for conn in conns}
        self.old = Process("old", old, list(had), list(had), conns, keys_of=keys)
        self.new = Process("new", new)
        self.all_conns = list(conns)
        self.listening = False
        self.dialled = False
        self.owner = "old"
        self.token = 0
        self.given: list[FdToken] = []
        self.settled: list[FdToken] = []
        self.peaceful = True
        """Nobody was killed or interrupted, and no worker failed."""
        self.moves: list[str] = []
        self.steps = 0
        self.plan: dict[int, list[Callable[[World], None]]] = {}
        """What the world does to the two at a step of its own."""

    # -- steps -----------------------------------------------------------------

    def other(self, process: Process) -> Process:
        return self.new if process is self.old else self.old

    def feed(
        self, process: Process, event: ev.IncumbentEvent | ev.SuccessorEvent
    ) -> None:
        if not process.alive:
            return
        self.moves.append(f"{self.now:8.3f} {process.name} << {event!r}")
        if isinstance(event, ev.Bytes):
            self.given += event.fds
        for effect in process.machine.handle(event, self.now):  # type: ignore[arg-type]
            self.moves.append(f"{self.now:8.3f} {process.name} >> {effect!r}")
            self.perform(process, effect)
        self.check()

    def listen(self) -> None:
        self.listening = True
        self.feed(self.new, ev.Requested())

    def enabled(self) -> list[Callable[[], None]]:
        """What may happen now, in an order that does not matter."""
        found: list[Callable[[], None]] = []
        for process in (self.old, self.new):
            if not process.alive:
                continue
            if process.queue:
                found.append(lambda process=process: self.flush(process))
            if process.pipe:
                found.append(lambda process=process: self.deliver(process))
            elif process.pipe is not None and not self.reachable(process):
                found.append(lambda process=process: self.eof(process))
            found += [
                lambda process=process, answer=answer: self.answer(process, answer)
                for answer in process.answers
                if answer[1] <= self.now
            ]
            found += [
                lambda process=process, conn=conn: self.claim(process, conn)
                for conn in process.adopted
            ]
            if process.machine.deadline <= self.now:
                found.append(lambda process=process: self.feed(process, ev.Wake()))
        if self.dialled and self.old.alive:
            found.append(self.connect)
        return found

    def run(self, until: float = math.inf, *, most: int = 2000) -> None:
        """Let things happen until nothing is left to happen, or it is late."""
        for _ in range(most):
            self.steps += 1
            for act in self.plan.pop(self.steps, ()):
                act(self)
            moves = self.enabled()
            if moves:
                moves[self.choose(len(moves))]()
                continue
            times = [process.machine.deadline for process in self.living()] + [
                at for process in self.living() for _, at in process.answers
            ]
            following = min(times, default=math.inf)
            if following == math.inf or following > until:
                self.now = max(self.now, until) if until < math.inf else self.now
                return
            self.now = max(self.now, following)
        raise AssertionError("it never ends:\n" + "\n".join(self.moves[-40:]))

    def living(self) -> list[Process]:
        return [one for one in (self.old, self.new) if one.alive]

    def kill(self, process: Process) -> None:
        """Kill -9 of the master: the kernel closes everything that it holds."""
        self.moves.append(f"{self.now:8.3f} {process.name} is killed")
        self.peaceful = False
        process.alive = False
        process.held.clear()
        process.accepting.clear()
        process.conns = [one for one in process.conns if one not in process.frozen]
        process.frozen.clear()
        process.adopted.clear()
        process.tokens.clear()
        process.queue.clear()
        if process.pipe is not None:
            process.pipe = None
        if process is self.new:
            self.listening = False

    def interrupt(self, process: Process, signal: str = "SIGTERM") -> None:
        self.peaceful = False
        self.feed(process, ev.Interrupted(signal))

    # -- the kernel ------------------------------------------------------------

    def reachable(self, process: Process) -> bool:
        other = self.other(process)
        return other.alive and other.pipe is not None

    def connect(self) -> None:
        self.dialled = False
        if not (self.listening and self.new.alive):
            self.feed(self.old, ev.PeerRefused("No such file or directory"))
            return
        self.old.pipe, self.new.pipe = [], []
        self.listening = False
        self.feed(self.new, ev.PeerConnected())
        self.feed(self.old, ev.PeerConnected(len(self.old.conns)))

    def flush(self, process: Process) -> None:
        """One `SendBytes` leaves whole, or finds nobody to read it."""
        data, names = process.queue.pop(0)
        if not self.reachable(process):
            self.eof(process)
            return
        pipe = self.other(process).pipe
        assert pipe is not None
        pipe.append((data, names))
        self.feed(process, ev.Sent())

    def eof(self, process: Process) -> None:
        process.pipe = None
        process.queue.clear()
        self.feed(process, ev.PeerClosed("EOF"))

    def deliver(self, process: Process) -> None:
        """One read: no more than up to the end of what has descriptors."""
        assert process.pipe
        ready = next(
            (place for place, one in enumerate(process.pipe, 1) if one[1]),
            len(process.pipe),
        )
        pieces = ready - self.choose(ready)
        data = b"".join(one[0] for one in process.pipe[:pieces])
        names = [name for one in process.pipe[:pieces] for name in one[1]]
        last = process.pipe[pieces - 1]
        # At least the first byte of what has the descriptors.
        size = len(data) - self.choose(len(last[0]))
        rest = data[size:]
        process.pipe[:pieces] = [(rest, [])] if rest else []
        tokens = []
        for name in names:
            self.token += 1
            process.tokens[FdToken(self.token)] = name
            tokens.append(FdToken(self.token))
        self.feed(process, ev.Bytes(data[:size], tuple(tokens)))

    def answer(
        self,
        process: Process,
        answer: tuple[ev.IncumbentEvent | ev.SuccessorEvent, float],
    ) -> None:
        process.answers.remove(answer)
        if isinstance(answer[0], ev.WorkersReady):
            process.held += [key for key in self.wanted if key not in process.held]
            process.accepting = list(self.wanted)
        if isinstance(answer[0], ev.WorkersFailed):
            self.peaceful = False
        self.feed(process, answer[0])

    def claim(self, process: Process, conn: ConnId) -> None:
        """A worker takes a client in, and leaves its mark on it."""
        self.moves.append(f"{self.now:8.3f} {process.name} claims {conn}")
        process.adopted.remove(conn)
        process.conns.append(conn)
        self.check()

    # -- effects ---------------------------------------------------------------

    def perform(self, process: Process, effect: do.Effect) -> None:
        match effect:
            case do.Dial(path):
                assert path == PATH
                self.dialled = True
            case do.SendBytes(data, fds):
                for name in fds:
                    assert name in process.held or name in process.frozen
                process.queue.append((data, list(fds)))
            case do.Hangup(flush):
                pipe = self.other(process).pipe
                if flush and pipe is not None and self.other(process).alive:
                    pipe += process.queue
                process.queue.clear()
                process.pipe = None
                self.dialled = False
            case do.BindFd(token, key):
                assert process.tokens.pop(token) == key
                self.settled.append(token)
                process.held.append(key)
            case do.AdoptConn(token, key, peer):
                conn = process.tokens.pop(token)
                self.settled.append(token)
                assert self.old.keys_of[ConnId(int(conn))] == key
                assert peer == LOCAL
                process.adopted.append(ConnId(int(conn)))
            case do.DropFd(token):
                process.tokens.pop(token)
                self.settled.append(token)
            case do.StartWorkers(keys):
                assert list(keys) == self.wanted
                event = ev.WorkersFailed(self.workers) if self.workers else None
                self.later(process, event or ev.WorkersReady())
            case do.Accepting(on, keys):
                process.answers = [
                    one
                    for one in process.answers
                    if not isinstance(one[0], ev.AcceptingStopped)
                ]
                kept = [key for key in process.accepting if key not in keys]
                process.accepting = kept + list(keys) if on else kept
                assert all(key in process.held for key in keys)
                if not on:
                    self.later(process, ev.AcceptingStopped())
            case do.CollectIdle(wanted):
                process.frozen = list(process.conns) if wanted else []
                peers = tuple(
                    (conn, IdlePeer(process.keys_of[conn], LOCAL, proxied=False))
                    for conn in process.frozen
                )
                self.later(process, ev.IdleOffered(peers, 1))
            case do.LetGo(conns):
                for conn in conns:
                    process.frozen.remove(conn)
                    process.conns.remove(conn)
            case do.Resume(conns):
                for conn in conns:
                    process.frozen.remove(conn)
            case do.Reclaim(conns):
                for conn in conns:
                    process.frozen.remove(conn)
                    if conn in self.new.conns:
                        process.conns.remove(conn)
            case do.CloseListeners(keys, _):
                process.held = [key for key in process.held if key not in keys]
                process.accepting = [
                    key for key in process.accepting if key not in keys
                ]
            case do.TakeService():
                self.owner = process.name
            case do.Exit() | do.Stop():
                self.leave(process, effect)
            case do.Log():
                process.logs.append(effect)
            case do.YieldService() | do.BeginDrain() | do.TurnAway():
                pass

    def leave(self, process: Process, effect: do.Exit | do.Stop) -> None:
        assert process.tokens == {}, "a descriptor is forgotten"
        if isinstance(effect, do.Exit):
            process.exit = effect
        else:
            process.stopped = effect.signal
        process.held.clear()
        process.accepting.clear()
        process.answers.clear()
        process.conns += process.adopted  # the workers read that before their end
        process.adopted.clear()
        process.alive = False
        process.pipe = None
        if process is self.new:
            self.listening = False

    def later(
        self, process: Process, event: ev.IncumbentEvent | ev.SuccessorEvent
    ) -> None:
        process.answers.append((event, self.now + self.delay()))

    # -- what is promised ------------------------------------------------------

    def check(self) -> None:
        """Check what must hold after every step."""
        story = "\n".join(self.moves[-40:])
        assert len(set(self.settled)) == len(self.settled), story
        if self.old.alive or (self.peaceful and self.old.exit):
            kept = self.had if self.old.alive else self.both()
            held = [*self.old.held, *self.new.held]
            assert all(key in held for key in kept), f"a listener is lost\n{story}"
        if self.peaceful:
            accepted = [*self.old.accepting, *self.new.accepting]
            assert all(key in accepted for key in self.both()), f"deaf\n{story}"
        twice = [conn for conn in self.new.conns if conn in self.old.conns]
        # Between the write and `Sent` both ends are open; nobody reads the old one.
        assert all(conn in self.old.frozen for conn in twice), f"two owners\n{story}"

    def both(self) -> list[ListenerKey]:
        return [key for key in self.had if key in self.wanted]

    def check_end(self) -> None:
        """Check what must hold when nothing more can happen."""
        story = "\n".join(self.moves[-60:])
        for process in self.living():
            assert process.tokens == {}, f"a descriptor is forgotten\n{story}"
            assert process.machine.deadline == math.inf, story
            assert process.frozen == [], f"a connection is forgotten\n{story}"
        gone = set(self.all_conns) - {*self.old.conns, *self.new.conns}
        assert not gone or not self.old.alive, f"lost on the way\n{story}"
        lost = set(self.given) - set(self.settled)
        dead = [one for one in (self.old, self.new) if not one.alive]
        assert not lost or dead, story
        if self.living():
            accepted = [*self.old.accepting, *self.new.accepting]
            assert all(key in accepted for key in self.both()), f"deaf\n{story}"
            assert self.owner in [one.name for one in self.living()], story
