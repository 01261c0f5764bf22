"""An upgrade, byte by byte: each side against what the contract writes down."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import pytest

from lbproto.handover.effects import (
    Accepting,
    AdoptConn,
    BeginDrain,
    BindFd,
    CloseListeners,
    CollectIdle,
    Dial,
    DropFd,
    Exit,
    Hangup,
    LetGo,
    Level,
    Log,
    Reclaim,
    Resume,
    SendBytes,
    StartWorkers,
    Stop,
    TakeService,
    TurnAway,
    YieldService,
)
from lbproto.handover.events import (
    AcceptingStopped,
    Bytes,
    HandedOn,
    IdleOffered,
    Interrupted,
    PeerClosed,
    PeerConnected,
    PeerRefused,
    Requested,
    Sent,
    Wake,
    WorkersFailed,
    WorkersReady,
)
from lbproto.handover.incumbent import Incumbent
from lbproto.handover.incumbent_stages import Stage as Old
from lbproto.handover.keys import FdToken, ListenerKey, listener_key
from lbproto.handover.messages import Abort, Commit, Done, IdlePeer
from lbproto.handover.successor import Stage as New
from lbproto.handover.successor import Successor
from lbproto.handover.times import Times
from lbproto.handover.wire import encode
from lbproto.machine.events import PeerInfo
from lbproto.machine.values import ConnId
from lbproto.testing.playbook import Playbook, a
from tests.scenario.upgrade import (
    LOCAL,
    NEW,
    PATH,
    SIX,
    SOCK,
    WEB,
    World,
    incumbent,
    successor,
)

HELLO = b'LBUP 1\nLBH\0\0\0\0\x26{"version":1,"pid":200,"generation":0}'
OFFER = (
    b'LBO\0\0\0\0\x5a{"pid":100,"generation":4,'
    b'"keys":["tcp:0.0.0.0:6188","unix:/run/lb.sock"],"connections":3}'
)
TAKE = (
    b'LBT\0\0\0\0\x44{"keys":["tcp:0.0.0.0:6188","unix:/run/lb.sock"],'
    b'"connections":true}'
)
TAKE_WEB = b'LBT\0\0\0\0\x30{"keys":["tcp:0.0.0.0:6188"],"connections":true}'
FDS = b'LBF\0\0\0\0\x31{"keys":["tcp:0.0.0.0:6188","unix:/run/lb.sock"]}'
FDS_WEB = b'LBF\0\0\0\0\x1d{"keys":["tcp:0.0.0.0:6188"]}'
READY = b'LBR\0\0\0\0\x31{"keys":["tcp:0.0.0.0:6188","unix:/run/lb.sock"]}'
COMMIT = b"LBC\0\0\0\0\x02{}"
IDLE = (
    b'LBI\0\0\0\0\x4e{"peers":[{"key":"tcp:0.0.0.0:6188",'
    b'"peer":"192.0.2.1:4711","proxied":false}]}'
)
DONE = b'LBD\0\0\0\0\x0f{"in_flight":2}'
BUSY = b'LBA\0\0\0\0\x11{"reason":"busy"}'
TABLE = b"0.0.0.0:6188 /run/lb.sock"

BOTH = (WEB, SOCK)
ONE, TWO, THREE = FdToken(1), FdToken(2), FdToken(3)
PEER = IdlePeer(WEB, LOCAL, proxied=False)
FIRST, SECOND = ConnId(11), ConnId(12)


def aborts(reason: str) -> bytes:
    return encode(Abort(reason))


def old_side(
    upto: Old = Old.IDLE, *keys: ListenerKey, times: Times | None = None
) -> Playbook:
    """An incumbent that has come to a stage without trouble."""
    play = Playbook(incumbent(*keys, times=times or Times()))
    for stage, steps in OLD_STEPS:
        if play.machine.stage is upto:
            break
        assert play.machine.stage is stage
        for event, wanted in steps:
            play >> event
            for effect in wanted:
                play << effect
    assert play
    assert play.machine.stage is upto
    return play


OLD_STEPS: Sequence[tuple[Old, Sequence[tuple[object, Sequence[object]]]]] = (
    (Old.IDLE, [(Requested(), [Dial(PATH)])]),
    (Old.DIALLING, [(PeerConnected(3), [])]),
    (Old.GREETING, [(Bytes(HELLO[:7]), [])]),
    (Old.HELLO, [(Bytes(HELLO[7:]), [SendBytes(OFFER)]), (Sent(), [])]),
    (Old.TAKE, [(Bytes(TAKE), [SendBytes(FDS, BOTH)]), (Sent(), [])]),
    (Old.READY, [(Bytes(READY), [Accepting(False, BOTH)])]),
    (Old.STOPPING, [(AcceptingStopped(), [SendBytes(COMMIT)])]),
    (Old.COMMITTING, [(Sent(), [YieldService(), CollectIdle(True)])]),
    (
        Old.COLLECTING,
        [(IdleOffered(((FIRST, PEER),), 2), [BeginDrain(), SendBytes(IDLE, (FIRST,))])],
    ),
    (Old.HANDING, [(Sent(), [SendBytes(DONE)])]),
    (Old.BAKING, []),
)

SERVING = (Old.GREETING, Old.HELLO, Old.TAKE, Old.READY)
STOPPED = (Old.STOPPING, Old.COMMITTING)
COMMITTED = (Old.COLLECTING, Old.HANDING, Old.BAKING)


def new_side(upto: New = New.IDLE, *keys: ListenerKey) -> Playbook:
    """A successor that has come to a stage without trouble."""
    play = Playbook(successor(*keys))
    for stage, event, wanted in NEW_STEPS:
        if play.machine.stage is upto:
            break
        assert play.machine.stage is stage
        play >> event
        for effect in wanted:
            play << effect
    assert play
    assert play.machine.stage is upto
    return play


NEW_STEPS: Sequence[tuple[New, object, Sequence[object]]] = (
    (New.IDLE, Requested(), []),
    (New.WAITING, PeerConnected(), [SendBytes(HELLO)]),
    (New.OFFER, Bytes(OFFER), [SendBytes(TAKE)]),
    (
        New.FDS,
        Bytes(FDS, (ONE, TWO)),
        [BindFd(ONE, WEB), BindFd(TWO, SOCK), StartWorkers(BOTH)],
    ),
    (New.STARTING, WorkersReady(), [SendBytes(READY)]),
    (New.READY, Bytes(COMMIT), [TakeService()]),
    (New.COMMITTED, Bytes(DONE), []),
    (New.OWNER, PeerClosed("EOF"), []),
)


def errors(machine: Incumbent | Successor, event: object, now: float) -> list[str]:
    """Feed an event; return the reasons of the error lines."""
    effects = machine.handle(event, now)  # type: ignore[arg-type]
    return [
        str(one.fields["reason"])
        for one in effects
        if isinstance(one, Log) and one.level is Level.ERROR
    ]


# -- the way it should go ------------------------------------------------------


def test_the_incumbents_side() -> None:
    play = old_side(Old.BAKING)
    play.at(0.5) >> Wake() << LetGo((FIRST,))
    assert play
    assert play.machine.deadline == 10.0
    play.at(10.0) >> Sent() >> Wake()
    play << CloseListeners(BOTH, emptied=False) << CloseListeners((), emptied=True)
    play << Hangup(flush=False) << a(Exit, code=0)
    assert play
    assert play.machine.busy
    assert not play.machine.over
    assert play.machine.deadline == math.inf


def test_the_successors_side() -> None:
    play = new_side(New.COMMITTED)
    assert play.machine.busy
    play >> Bytes(IDLE, (THREE,)) << AdoptConn(THREE, WEB, LOCAL)
    play >> Bytes(DONE)
    assert not play.machine.busy
    assert not play.machine.over
    play.at(10.0) >> PeerClosed("EOF")
    assert play
    assert play.machine.over
    assert play.machine.generation == 5
    assert play.machine.deadline == math.inf


@pytest.mark.parametrize("late", [True, False])
def test_both_sides_against_each_other(late: bool) -> None:
    world = World(incumbent(), successor(), BOTH, BOTH, idle=3)
    if late:
        world.feed(world.old, Requested())
        world.run(until=5.1)
        assert world.old.machine.stage is Old.DIALLING
        world.listen()
    else:
        world.listen()
        world.run(until=5.1)
        world.feed(world.old, Requested())
    world.run()
    world.check_end()
    assert world.old.exit == Exit(0, "the successor serves")
    assert (world.owner, world.new.accepting) == ("new", [WEB, SOCK])
    assert world.new.conns == world.all_conns
    sent = "".join(move for move in world.moves if "SendBytes" in move)
    assert "".join(re.findall(r"LB(.)\\x00", sent)) == "HOTFRCID"


def test_greeting_and_hello_may_come_in_one_piece_or_in_many() -> None:
    for pieces in ([HELLO], [HELLO[:5], HELLO[5:]], [HELLO[:9], HELLO[9:]]):
        play = old_side(Old.GREETING)
        for piece in pieces[:-1]:
            play >> Bytes(piece)
        play >> Bytes(pieces[-1]) << SendBytes(OFFER)
        assert play


def test_only_what_the_configuration_wants_is_taken() -> None:
    play = new_side(New.OFFER, NEW, WEB)
    play >> Bytes(OFFER) << SendBytes(TAKE_WEB)
    play >> Bytes(FDS_WEB, (ONE,)) << BindFd(ONE, WEB) << StartWorkers((NEW, WEB))
    play >> WorkersReady()
    play << SendBytes(
        b'LBR\0\0\0\0\x30{"keys":["tcp:0.0.0.0:8080","tcp:0.0.0.0:6188"]}'
    )
    assert play


def test_a_successor_that_wants_nothing_starts_at_once() -> None:
    play = new_side(New.OFFER, NEW)
    play >> Bytes(OFFER)
    play << SendBytes(b'LBT\0\0\0\0\x1e{"keys":[],"connections":true}')
    play << StartWorkers((NEW,))
    assert play


def test_what_nobody_took_is_served_through_the_bake_and_emptied() -> None:
    play = old_side(Old.TAKE)
    play >> Bytes(TAKE_WEB) << SendBytes(FDS_WEB, (WEB,))
    play >> Sent() >> Bytes(READY) << Accepting(False, (WEB,))
    play >> AcceptingStopped() << SendBytes(COMMIT)
    play >> Sent() << YieldService() << CollectIdle(True)
    left = IdlePeer(SOCK, LOCAL, proxied=False)
    play >> IdleOffered(((FIRST, PEER), (SECOND, left)), 1)
    play << BeginDrain() << Resume((SECOND,)) << SendBytes(IDLE, (FIRST,))
    play >> Sent() << SendBytes(DONE)
    play.at(0.5) >> Wake() << LetGo((FIRST,))
    play.at(10.0) >> Wake()
    play << CloseListeners((WEB,), emptied=False)
    play << CloseListeners((SOCK,), emptied=True)
    play << Hangup(flush=False) << a(Exit, code=0)
    assert play


def test_a_successor_may_do_without_connections() -> None:
    play = old_side(Old.TAKE)
    play >> Bytes(TAKE.replace(b"true", b"false").replace(b"\x44", b"\x45"))
    play << SendBytes(FDS, BOTH)
    play >> Sent() >> Bytes(READY) << Accepting(False, BOTH)
    play >> AcceptingStopped() << SendBytes(COMMIT)
    play >> Sent() << YieldService() << CollectIdle(False)
    play >> IdleOffered((), 2) << BeginDrain() << SendBytes(DONE)
    assert play


def test_more_than_two_hundred_descriptors_go_in_several_frames() -> None:
    keys = [listener_key(f"tcp:0.0.0.0:{port}") for port in range(1, 452)]
    world = World(incumbent(*keys), successor(*keys), keys, keys, idle=450)
    world.listen()
    world.feed(world.old, Requested())
    world.run()
    world.check_end()
    assert world.new.accepting == keys
    assert world.new.conns == world.all_conns
    assert world.old.exit is not None
    sent = [len(m.split("fds=")[1].split(",")) for m in world.moves if "LBF" in m]
    assert max(sent) < 210


def test_a_bake_that_is_over_before_the_last_frame_ends_at_once() -> None:
    play = old_side(Old.HANDING, times=Times(bake=0.0))
    play.at(1.0) >> Sent() << SendBytes(DONE)
    assert play.machine.deadline <= 1.0
    (
        play
        >> Wake()
        << LetGo((FIRST,))
        << a(CloseListeners)
        << a(CloseListeners)
        << a(Hangup)
        << a(Exit)
    )
    assert play


# -- no successor within the time ----------------------------------------------


def test_the_dial_is_repeated_until_the_time_is_over() -> None:
    play = old_side(Old.DIALLING)
    for tries in range(1, 121):
        play >> PeerRefused("Connection refused")
        assert play.machine.deadline == play.now + 0.25
        play.at(tries * 0.25) >> Wake()
        if tries < 120:
            play << Dial(PATH)
    play << Hangup(flush=False)
    assert play
    assert play.machine.over
    assert not play.machine.busy


def test_one_error_line_says_that_nobody_came() -> None:
    machine = incumbent(times=Times(timeout=2.5))
    machine.handle(Requested(), 0.0)
    assert errors(machine, Wake(), 2.4) == []
    assert errors(machine, Wake(), 2.5) == ["no successor came within 2.5 s"]
    assert errors(machine, Wake(), 99.0) == []


def test_no_incumbent_within_the_time_is_exit_3() -> None:
    play = new_side(New.WAITING)
    play.at(30.0) >> Wake() << Exit(3, "no incumbent came within 30 s")
    assert play
    assert play.machine.over


# -- EOF, bad frame, wrong version, timeout before READY -----------------------


@pytest.mark.parametrize("stage", SERVING)
def test_when_the_successor_leaves_the_incumbent_goes_on(stage: Old) -> None:
    machine = old_side(stage).machine
    assert errors(machine, PeerClosed("EOF"), 1.0) == ["the successor is gone: EOF"]
    assert machine.over
    assert machine.deadline == math.inf


@pytest.mark.parametrize("stage", [Old.HELLO, Old.TAKE, Old.READY])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "no frame begins with this"),
        (b"LBX\0\0\0\0\0", "no frame is of type 0x58"),
        (COMMIT, "Commit is out of turn"),
        (DONE, "Done is out of turn"),
    ],
)
def test_a_bad_frame_makes_the_incumbent_abort(
    stage: Old, data: bytes, reason: str
) -> None:
    play = old_side(stage)
    play >> Bytes(data) << SendBytes(aborts(reason)) << Hangup(flush=True)
    assert play
    assert play.machine.over


@pytest.mark.parametrize("stage", SERVING[1:])
def test_a_successor_that_gives_up_is_not_answered(stage: Old) -> None:
    play = old_side(stage)
    play >> Bytes(aborts("no memory")) << Hangup(flush=False)
    assert play
    assert play.machine.over


def test_another_greeting_is_another_protocol() -> None:
    play = old_side(Old.GREETING)
    play >> Bytes(b"LBUP 2\n") << Hangup(flush=False)
    assert play


def test_a_wrong_version_is_refused() -> None:
    reason = "version 2 of LBUP is not spoken here"
    play = old_side(Old.HELLO)
    play >> Bytes(b'LBH\0\0\0\0\x0d{"version":2}')
    play << SendBytes(aborts(reason)) << Hangup(flush=True)
    assert play


@pytest.mark.parametrize(
    ("stage", "name"), [(Old.HELLO, "Hello"), (Old.TAKE, "Take"), (Old.READY, "Ready")]
)
def test_the_incumbent_waits_so_long_for_each_step(stage: Old, name: str) -> None:
    play = old_side(stage)
    assert play.machine.deadline == 30.0
    play.at(30.0) >> Wake()
    play << SendBytes(aborts(f"no {name} came within 30 s")) << Hangup(flush=True)
    assert play
    assert play.machine.over


def test_half_a_greeting_is_waited_for() -> None:
    play = old_side(Old.GREETING)
    play.at(0.2) >> Bytes(b"LBU")
    play.at(0.3) >> Wake()
    play.at(1.0) >> Bytes(b"P")
    assert play.machine.deadline == 30.2
    play.at(30.2) >> Wake() << Hangup(flush=False)
    assert play


def test_what_was_not_offered_cannot_be_taken() -> None:
    play = old_side(Old.TAKE, WEB, SOCK)
    play >> Bytes(b'LBT\0\0\0\0\x30{"keys":["tcp:0.0.0.0:8080"],"connections":true}')
    play << a(SendBytes, data=lambda data: b"not offered" in data) << a(Hangup)
    assert play


def test_who_takes_a_listener_must_accept_on_it() -> None:
    play = old_side(Old.READY)
    play >> Bytes(FDS_WEB.replace(b"LBF", b"LBR"))
    play << a(SendBytes, data=lambda data: b"nobody accepts" in data) << a(Hangup)
    assert play


def test_an_offer_that_fits_in_no_frame_is_not_made() -> None:
    keys = [listener_key(f"unix:/{number:0100}") for number in range(700)]
    play = Playbook(incumbent(*keys))
    play >> Requested() << a(Dial) >> PeerConnected(0) >> Bytes(HELLO)
    play << a(SendBytes, data=lambda data: b"too many" in data) << a(Hangup)
    assert play
    play = Playbook(successor(*keys))
    play >> Requested() << Exit(3, "there are too many listeners for one frame")
    assert play


@pytest.mark.parametrize("stage", [New.OFFER, New.FDS])
def test_when_the_incumbent_leaves_before_the_descriptors_it_is_exit_3(
    stage: New,
) -> None:
    play = new_side(stage)
    play >> PeerClosed("EOF") << Exit(3, "the incumbent is gone: EOF")
    assert play
    assert play.machine.over


@pytest.mark.parametrize("stage", [New.OFFER, New.FDS, New.STARTING, New.READY])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "no frame begins with this"),
        (b"LBC\1", "the fourth byte of a frame is not zero"),
        (b"LBC\0\0\0\0\x02[]", "no JSON object"),
        (DONE, "Done is out of turn"),
    ],
)
def test_a_bad_frame_makes_the_successor_abort(
    stage: New, data: bytes, reason: str
) -> None:
    play = new_side(stage)
    if data.startswith(b"LBC\1") and stage is New.OFFER:
        reason = "no frame begins with this"
        data = b"XBC\1"
    play >> Bytes(data) << SendBytes(aborts(reason)) << Hangup(flush=True)
    play << Exit(3, reason)
    assert play


@pytest.mark.parametrize("stage", [New.OFFER, New.FDS, New.STARTING, New.READY])
def test_an_abort_of_the_incumbent_is_exit_3(stage: New) -> None:
    play = new_side(stage)
    play >> Bytes(BUSY) << Hangup(flush=False)
    play << Exit(3, "the incumbent gave up: busy")
    assert play


@pytest.mark.parametrize(
    ("stage", "reason"),
    [
        (New.OFFER, "no OFFER came within 30 s"),
        (New.FDS, "no FDS came within 30 s"),
        (New.STARTING, "the workers were not ready within 30 s"),
    ],
)
def test_the_successor_waits_so_long_for_each_step(stage: New, reason: str) -> None:
    play = new_side(stage)
    play.at(29.9) >> Wake()
    play.at(30.0) >> Wake() << SendBytes(aborts(reason)) << Hangup(flush=True)
    play << Exit(3, reason)
    assert play


@pytest.mark.parametrize("stage", [New.STARTING, New.READY])
def test_workers_that_do_not_start_are_exit_3(stage: New) -> None:
    reason = "the workers do not start: port 8080 is in use"
    play = new_side(stage)
    play >> WorkersFailed("port 8080 is in use")
    play << SendBytes(aborts(reason)) << Hangup(flush=True) << Exit(3, reason)
    assert play


# -- as many descriptors as keys did not arrive --------------------------------


@pytest.mark.parametrize("fds", [(), (ONE,), (ONE, TWO, THREE)])
def test_a_wrong_number_of_descriptors_drops_them_all(fds: tuple[FdToken, ...]) -> None:
    reason = "not the 2 descriptors that a frame names"
    play = new_side(New.FDS)
    play >> Bytes(FDS, fds)
    for token in fds:
        play << DropFd(token)
    play << SendBytes(aborts(reason)) << Hangup(flush=True) << Exit(3, reason)
    assert play


def test_what_came_before_is_dropped_too() -> None:
    play = new_side(New.FDS)
    play >> Bytes(FDS_WEB, (ONE,))
    play >> Bytes(FDS_WEB.replace(b"tcp:0.0.0.0:6188", b"unix:/run/other1"), (TWO,))
    play << DropFd(TWO) << DropFd(ONE) << a(SendBytes) << a(Hangup) << a(Exit, code=3)
    assert play


@pytest.mark.parametrize("event", [PeerClosed("EOF"), Bytes(BUSY), Wake()])
def test_half_of_the_listeners_is_none(event: object) -> None:
    play = new_side(New.FDS)
    play >> Bytes(FDS_WEB, (ONE,))
    play.at(30.0) >> event << DropFd(ONE)
    play << a(SendBytes) if event == Wake() else None
    play << a(Hangup) if event != PeerClosed("EOF") else None
    play << a(Exit, code=3)
    assert play


def test_descriptors_of_a_frame_that_never_ends_are_dropped() -> None:
    play = new_side(New.FDS)
    play >> Bytes(FDS[:20], (ONE, TWO))
    play >> PeerClosed("EOF") << DropFd(ONE) << DropFd(TWO) << a(Exit, code=3)
    assert play


def test_descriptors_behind_a_failure_are_dropped() -> None:
    play = new_side(New.FDS)
    play >> Bytes(BUSY + FDS, (ONE, TWO)) << a(Hangup) << a(Exit)
    play << DropFd(ONE) << DropFd(TWO)
    play >> Bytes(FDS, (THREE,)) << DropFd(THREE)
    assert play
    play = new_side(New.FDS)
    play >> Bytes(BUSY + BUSY + b"?") << a(Hangup) << a(Exit)
    assert play


@pytest.mark.parametrize("stage", [*SERVING, *STOPPED, *COMMITTED])
def test_an_incumbent_wants_no_descriptors(stage: Old) -> None:
    machine = old_side(stage).machine
    effects = machine.handle(Bytes(FDS, (ONE, TWO)), 0.1)
    dropped = [one for one in effects if isinstance(one, DropFd)]
    assert dropped == [DropFd(ONE), DropFd(TWO)]
    effects = machine.handle(Bytes(b"LBA\0", (THREE,)), 0.1)
    assert effects[-1] == DropFd(THREE)


# -- the successor dies between READY and COMMIT -------------------------------


@pytest.mark.parametrize("event", [PeerClosed("EOF"), Bytes(aborts("no"))])
def test_a_successor_gone_before_commit_leaves_the_incumbent_accepting(
    event: object,
) -> None:
    play = old_side(Old.STOPPING)
    play >> event << Accepting(True, BOTH)
    if isinstance(event, Bytes):
        play << Hangup(flush=False)
    play >> AcceptingStopped()
    assert play
    assert play.machine.over


def test_eof_in_answer_to_commit_leaves_the_incumbent_accepting() -> None:
    play = old_side(Old.COMMITTING)
    play >> PeerClosed("EPIPE") << Accepting(True, BOTH) << TakeService()
    assert play
    assert play.machine.over


def test_a_commit_that_does_not_leave_is_taken_back() -> None:
    play = old_side(Old.COMMITTING)
    play.at(30.0) >> Wake() << Accepting(True, BOTH) << TakeService()
    play << Hangup(flush=False)
    assert play
    assert play.machine.over


def test_workers_that_do_not_stop_end_the_upgrade() -> None:
    play = old_side(Old.STOPPING)
    play.at(30.0) >> Wake() << Accepting(True, BOTH)
    play << SendBytes(aborts("accepting did not stop within 30 s"))
    play << Hangup(flush=True)
    assert play


# -- the successor dies within the bake ----------------------------------------


@pytest.mark.parametrize("event", [PeerClosed("EOF"), Bytes(aborts("SIGTERM came"))])
@pytest.mark.parametrize("stage", COMMITTED)
def test_a_successor_gone_within_the_bake_gives_the_service_back(
    stage: Old, event: object
) -> None:
    play = old_side(stage)
    play.at(9.9) >> event << Accepting(True, BOTH) << TakeService()
    if stage is Old.HANDING:
        play << Resume((FIRST,))
    if stage is Old.BAKING:
        play << Reclaim((FIRST,))
    if isinstance(event, Bytes):
        play << Hangup(flush=False)
    assert play
    assert play.machine.over
    assert not play.machine.busy


def test_what_has_left_is_taken_back_for_a_moment_only() -> None:
    play = old_side(Old.BAKING)
    play.at(0.5) >> Wake() << LetGo((FIRST,))
    play.at(9.9) >> PeerClosed("EOF") << Accepting(True, BOTH) << TakeService()
    assert play


def test_connections_collected_too_late_go_on_here() -> None:
    play = old_side(Old.COLLECTING)
    play >> PeerClosed("EOF") << Accepting(True, BOTH) << TakeService()
    play >> IdleOffered(((FIRST, PEER), (SECOND, PEER)), 0) << Resume((FIRST, SECOND))
    play >> IdleOffered((), 0)
    assert play


def test_a_successor_that_takes_no_connections_keeps_the_service() -> None:
    play = old_side(Old.HANDING)
    play.at(30.0) >> Wake() << Resume((FIRST,))
    play << a(CloseListeners) << a(CloseListeners)
    play << Hangup(flush=False) << a(Exit, code=0)
    assert play


def test_a_runtime_that_collects_nothing_is_not_waited_for() -> None:
    play = old_side(Old.COLLECTING)
    play.at(30.0) >> Wake() << BeginDrain() << a(CloseListeners) << a(CloseListeners)
    play << Hangup(flush=False) << a(Exit, code=0)
    play >> IdleOffered(((FIRST, PEER),), 0) << Resume((FIRST,))
    assert play


@pytest.mark.parametrize("stage", [Old.COMMITTING, *COMMITTED])
def test_odd_words_of_an_owner_change_nothing(stage: Old) -> None:
    play = old_side(stage)
    limit = play.machine.deadline
    play >> Bytes(READY) >> Bytes(b"what?") >> Bytes(aborts("too late"))
    assert play
    assert (play.machine.stage, play.machine.deadline) == (stage, limit)


# -- the incumbent dies after FDS ----------------------------------------------


def test_an_incumbent_gone_after_its_descriptors_leaves_the_successor_alone() -> None:
    play = new_side(New.STARTING)
    play >> PeerClosed("EOF")
    assert play.machine.deadline == math.inf
    play.at(99.0) >> WorkersReady() << TakeService()
    assert play
    assert play.machine.over


def test_an_incumbent_gone_after_ready_leaves_the_successor_alone() -> None:
    play = new_side(New.READY)
    play >> PeerClosed("EOF") << TakeService()
    assert play
    assert play.machine.over


def test_alone_and_without_workers_is_exit_3() -> None:
    play = new_side(New.STARTING)
    play >> PeerClosed("EOF")
    play >> WorkersFailed("in use") << Exit(3, "the workers do not start: in use")
    assert play


def test_a_silent_incumbent_does_not_stop_one_that_serves() -> None:
    play = new_side(New.READY)
    play.at(30.0) >> Wake()
    assert play.machine.deadline == math.inf
    play >> Bytes(COMMIT) << TakeService()
    play.at(60.0) >> Wake()
    assert play.machine.stage is New.OWNER
    play >> Bytes(IDLE, (THREE,)) << a(AdoptConn)
    assert play


# -- a second upgrade while one runs -------------------------------------------


def test_a_second_successor_is_told_that_one_is_under_way() -> None:
    play = Playbook(incumbent(busy=True))
    play >> Requested() << Dial(PATH) >> PeerConnected(0) >> Bytes(HELLO)
    play << SendBytes(BUSY) << Hangup(flush=True)
    assert play
    assert play.machine.over


def test_a_second_pingora_successor_gets_nothing() -> None:
    play = Playbook(incumbent(busy=True))
    play >> Requested() << Dial(PATH) >> PeerConnected(0)
    play.at(0.25) >> Wake() << Hangup(flush=False)
    assert play


@pytest.mark.parametrize("stage", [New.OFFER, New.FDS, New.STARTING, New.READY])
def test_a_second_incumbent_is_turned_away(stage: New) -> None:
    play = new_side(stage)
    play >> PeerConnected() << TurnAway(b"LBUP 1\n" + BUSY)
    assert play
    assert play.machine.stage is stage


def test_a_second_request_for_the_same_upgrade_is_passed_over() -> None:
    play = old_side(Old.READY)
    play >> Requested()
    assert play
    play = new_side(New.FDS)
    play >> Requested()
    assert play


# -- SIGTERM or SIGINT during an upgrade ---------------------------------------


@pytest.mark.parametrize("stage", [Old.HELLO, Old.TAKE, Old.READY, Old.STOPPING])
def test_a_signal_before_commit_aborts_and_stops(stage: Old) -> None:
    play = old_side(stage)
    play >> Interrupted("SIGTERM") << SendBytes(aborts("SIGTERM came"))
    play << Hangup(flush=True) << Stop("SIGTERM")
    assert play
    assert play.machine.deadline == math.inf


@pytest.mark.parametrize("stage", [Old.DIALLING, Old.GREETING])
def test_a_signal_before_the_first_word_just_stops(stage: Old) -> None:
    play = old_side(stage)
    play >> Interrupted("SIGINT") << Hangup(flush=False) << Stop("SIGINT")
    assert play


@pytest.mark.parametrize("stage", [Old.COMMITTING, *COMMITTED])
def test_a_signal_after_commit_leaves_the_successor_the_service(stage: Old) -> None:
    play = old_side(stage)
    play >> Interrupted("SIGTERM")
    if stage is Old.COMMITTING:
        play << YieldService()
    if stage is Old.HANDING:
        play << Resume((FIRST,))
    if stage is Old.BAKING:
        play << LetGo((FIRST,))
    play << Hangup(flush=False) << Stop("SIGTERM")
    assert play


def test_a_signal_without_an_upgrade_is_obeyed_too() -> None:
    for machine in (incumbent(), successor()):
        play = Playbook(machine)
        play >> Interrupted("SIGINT") << Stop("SIGINT")
        assert play


@pytest.mark.parametrize("stage", [New.OFFER, New.FDS, New.STARTING, New.READY])
def test_a_signal_to_the_successor_aborts_and_stops(stage: New) -> None:
    play = new_side(stage)
    play >> Interrupted("SIGTERM") << SendBytes(aborts("SIGTERM came"))
    play << Hangup(flush=True) << Stop("SIGTERM")
    assert play
    assert play.machine.over


DISMISSED = SendBytes(encode(Done(0)))


@pytest.mark.parametrize("stage", [New.COMMITTED, New.OWNER])
def test_a_signal_to_the_owner_dismisses_the_incumbent(stage: New) -> None:
    play = new_side(stage)
    play >> Interrupted("SIGTERM") << DISMISSED << Hangup(flush=True) << Stop("SIGTERM")
    play >> Interrupted("SIGTERM") << Stop("SIGTERM")
    assert play
    assert play.machine.over


@pytest.mark.parametrize("stage", [New.COMMITTED, New.OWNER])
def test_an_owner_that_hands_on_dismisses_the_incumbent(stage: New) -> None:
    play = new_side(stage)
    play >> HandedOn() << DISMISSED << Hangup(flush=True)
    play >> HandedOn()
    assert play
    assert play.machine.over


def test_nothing_is_handed_on_before_it_is_owned() -> None:
    play = new_side(New.READY)
    play >> HandedOn()
    assert play
    assert play.machine.stage is New.READY


@pytest.mark.parametrize("stage", COMMITTED)
def test_an_incumbent_that_is_dismissed_leaves(stage: Old) -> None:
    play = old_side(stage)
    play >> Bytes(encode(Done(0)))
    if stage is Old.COLLECTING:
        play << BeginDrain()
    if stage is Old.HANDING:
        play << Resume((FIRST,))
    if stage is Old.BAKING:
        play << LetGo((FIRST,))
    play << CloseListeners((WEB, SOCK), emptied=False)
    play << CloseListeners((), emptied=True)
    play << Hangup(flush=False) << Exit(0, "the successor serves")
    assert play


def test_a_dismissal_before_commit_is_out_of_turn() -> None:
    play = old_side(Old.READY)
    play >> Bytes(encode(Done(0))) << SendBytes(aborts("Done is out of turn"))
    play << Hangup(flush=True)
    assert play


def test_a_signal_drops_what_the_successor_holds() -> None:
    play = new_side(New.FDS)
    play >> Bytes(FDS_WEB + FDS_WEB[:1], (ONE,))
    play >> Interrupted("SIGTERM") << DropFd(ONE) << a(SendBytes) << a(Hangup)
    play << Stop("SIGTERM")
    assert play


# -- after COMMIT, at the successor --------------------------------------------


def test_connections_of_a_listener_that_was_not_taken_are_dropped() -> None:
    play = new_side(New.COMMITTED)
    play >> Bytes(IDLE.replace(b"0.0.0.0:6188", b"0.0.0.0:6189"), (THREE,))
    play << DropFd(THREE)
    assert play


def test_a_wrong_number_of_connections_does_not_end_the_service() -> None:
    play = new_side(New.COMMITTED)
    play >> Bytes(IDLE, (ONE, TWO)) << DropFd(ONE) << DropFd(TWO)
    play >> Bytes(IDLE, (THREE,)) << DropFd(THREE)
    play.at(30.0) >> Wake() >> PeerClosed("EOF")
    assert play
    assert play.machine.over


def test_an_abort_after_commit_comes_too_late() -> None:
    play = new_side(New.COMMITTED)
    play >> Bytes(BUSY) >> Bytes(IDLE, (THREE,)) << a(AdoptConn)
    play >> Bytes(FDS, (ONE, TWO)) << DropFd(ONE) << DropFd(TWO)
    play >> Bytes(DONE) >> PeerClosed("EOF")
    assert play


def test_events_that_come_too_late_are_passed_over() -> None:
    play = new_side(New.OVER)
    play >> WorkersReady() >> WorkersFailed("late") >> Wake() >> Sent()
    play >> Bytes(FDS, (ONE,)) << DropFd(ONE)
    play >> PeerClosed("EOF")
    assert play
    play = old_side(Old.BAKING)
    play.at(10.0) >> Wake() << LetGo((FIRST,))
    play << a(CloseListeners) << a(CloseListeners) << a(Hangup) << a(Exit)
    play >> PeerConnected(0) >> PeerRefused("late") >> Sent() >> Wake()
    play >> AcceptingStopped() >> PeerClosed("late") >> Bytes(READY)
    assert play


# -- Pingora -------------------------------------------------------------------


def test_to_a_pingora_successor_the_table_is_sent_and_accepting_goes_on() -> None:
    play = old_side(Old.GREETING)
    assert play.machine.deadline == 0.25
    play.at(0.25) >> Wake() << SendBytes(TABLE, BOTH)
    play.at(0.3) >> Sent() << Hangup(flush=False)
    play.at(5.2) >> Wake()
    play.at(5.3) >> Wake() << Accepting(False, BOTH)
    play >> AcceptingStopped() << YieldService() << BeginDrain()
    play << CloseListeners(BOTH, emptied=False) << a(Exit, code=0)
    assert play
    assert play.machine.busy


def test_a_set_that_pingora_cannot_take_is_not_sent() -> None:
    keys = [listener_key(f"tcp:0.0.0.0:{port}") for port in range(1, 34)]
    machine = incumbent(*keys)
    machine.handle(Requested(), 0.0)
    machine.handle(PeerConnected(0), 0.0)
    assert errors(machine, Wake(), 0.25) == ["33 listeners, Pingora takes 32"]
    assert machine.over


@pytest.mark.parametrize("event", [PeerClosed("EPIPE"), Wake()])
def test_a_table_that_does_not_leave_changes_nothing(event: object) -> None:
    play = old_side(Old.GREETING)
    play.at(0.25) >> Wake() << a(SendBytes)
    play.at(30.25) >> event
    play << Hangup(flush=False) if event == Wake() else None
    assert play
    assert play.machine.over


def test_a_greeting_after_the_table_comes_too_late() -> None:
    play = old_side(Old.GREETING)
    play.at(0.25) >> Wake() << a(SendBytes) >> Bytes(HELLO) >> Bytes(aborts("what?"))
    play >> Sent() << Hangup(flush=False)
    assert play


def test_an_incumbent_whose_workers_do_not_stop_leaves_pingora_the_service() -> None:
    play = old_side(Old.GREETING)
    play.at(0.25) >> Wake() << a(SendBytes) >> Sent() << a(Hangup)
    play.at(5.25) >> Wake() << Accepting(False, BOTH)
    play.at(35.25) >> Wake() << YieldService() << BeginDrain() << a(CloseListeners)
    play << a(Exit, code=0)
    assert play


@pytest.mark.parametrize("stopping", [True, False])
def test_a_signal_after_the_table_leaves_pingora_the_service(stopping: bool) -> None:
    play = old_side(Old.GREETING)
    play.at(0.25) >> Wake() << a(SendBytes) >> Sent() << a(Hangup)
    if stopping:
        play.at(5.25) >> Wake() << a(Accepting)
    play >> Interrupted("SIGTERM") << YieldService() << Stop("SIGTERM")
    assert play


def test_a_signal_before_the_table_has_left_stops() -> None:
    play = old_side(Old.GREETING)
    play.at(0.25) >> Wake() << a(SendBytes)
    play >> Interrupted("SIGTERM") << Hangup(flush=False) << Stop("SIGTERM")
    assert play


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("end", [PeerClosed("EOF"), Wake()])
def test_from_a_pingora_incumbent_the_table_is_taken(pieces: int, end: object) -> None:
    play = new_side(New.OFFER, SOCK, NEW)
    for number in range(pieces):
        piece = TABLE[number * 9 : (number + 1) * 9] if pieces > 1 else TABLE
        play.at(0.1) >> Bytes(piece, () if number else (ONE, TWO))
    assert play.machine.deadline == pytest.approx(0.35)
    play.at(0.35) >> end << DropFd(ONE)
    play << Hangup(flush=False) if end == Wake() else None
    play << BindFd(TWO, SOCK) << StartWorkers((SOCK, NEW))
    play.at(99.0) >> WorkersReady() << TakeService()
    assert play
    assert play.machine.over


@pytest.mark.parametrize("end", [PeerClosed("EOF"), Wake()])
def test_a_pingora_table_with_a_wrong_number_is_refused(end: object) -> None:
    play = new_side(New.OFFER)
    play >> Bytes(TABLE, (ONE, TWO, THREE))
    play.at(0.25) >> end << DropFd(ONE) << DropFd(TWO) << DropFd(THREE)
    play << Hangup(flush=False) if end == Wake() else None
    play << Exit(3, "3 descriptors for 2 addresses")
    assert play


def test_a_signal_while_pingora_speaks_is_obeyed_in_silence() -> None:
    play = new_side(New.OFFER)
    play >> Bytes(TABLE, (ONE, TWO)) >> Interrupted("SIGINT")
    play << DropFd(ONE) << DropFd(TWO) << Hangup(flush=False) << Stop("SIGINT")
    assert play


def test_more_than_pingora_can_say_is_refused() -> None:
    play = new_side(New.OFFER)
    play >> Bytes(TABLE, (ONE,)) >> Bytes(b"x" * 70_000) << DropFd(ONE)
    play << Hangup(flush=False) << a(Exit, code=3)
    assert play


# -- names ---------------------------------------------------------------------


def test_a_peer_may_be_of_any_family() -> None:
    play = new_side(New.COMMITTED)
    frame = IDLE.replace(b"192.0.2.1:4711", b"[2001:db8::]:1")
    play >> Bytes(frame, (THREE,))
    play << AdoptConn(THREE, WEB, PeerInfo("2001:db8::", 1, ""))
    assert play


def test_commit_idle_and_done_may_come_in_one_read() -> None:
    play = new_side(New.READY)
    play >> Bytes(encode(Commit()) + IDLE, (THREE,)) << TakeService() << a(AdoptConn)
    play >> Bytes(encode(Done(0)))
    assert play
    assert play.machine.stage is New.OWNER


def test_keys_are_compared_as_they_are_spelled() -> None:
    play = new_side(New.OFFER, SIX, SOCK)
    play >> Bytes(OFFER)
    play << a(SendBytes, data=lambda data: b'["unix:/run/lb.sock"]' in data)
    assert play
