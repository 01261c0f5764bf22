"""Upgrades under any order of events, any cuts, any delays, and a kill anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat

from hypothesis import example, given
from hypothesis import strategies as st

from lbproto.handover import events as ev
from lbproto.handover.incumbent_stages import Stage as Old
from lbproto.handover.keys import FdToken, ListenerKey, listener_key
from lbproto.handover.messages import (
    Abort,
    Commit,
    Done,
    Fds,
    Hello,
    Idle,
    IdlePeer,
    Message,
    Offer,
    Ready,
    Take,
)
from lbproto.handover.successor import Stage as New
from lbproto.handover.times import Times
from lbproto.handover.wire import (
    HEADER,
    MAX_BODY,
    Broken,
    FrameReader,
    Item,
    Received,
    encode,
)
from lbproto.machine.events import PeerInfo
from lbproto.testing import cuts
from tests.scenario.upgrade import NEW, SIX, SOCK, WEB, World, incumbent, successor

KEYS = [WEB, SIX, SOCK, NEW]
SETS = st.lists(st.sampled_from(KEYS), min_size=1, unique=True)
CHOICES = st.lists(st.integers(0, 2**16), max_size=300)
DELAYS = st.lists(st.sampled_from([0.0, 0.1, 0.3, 1.0, 9.0, 29.0, 31.0]), max_size=8)
STEPS = st.integers(1, 60)


def chooser(choices: Sequence[int]) -> Callable[[int], int]:
    """Take what was drawn, and then always the first."""
    left: Iterator[int] = chain(choices, repeat(0))
    return lambda count: next(left) % count


def world(
    had: list[ListenerKey],
    wanted: list[ListenerKey],
    choices: Sequence[int] = (),
    delays: Sequence[float] = (),
    *,
    late: bool = False,
    idle: int = 3,
    workers: str = "",
    times: Times | None = None,
) -> World:
    """Two processes in the midst of `kill -QUIT` and `lb -u`, in either order."""
    times = times or Times()
    waits = chain(delays, repeat(0.0))
    found = World(
        incumbent(*had, times=times),
        successor(*wanted, times=times),
        had,
        wanted,
        choose=chooser(choices),
        idle=idle,
        workers=workers,
        delay=lambda: next(waits),
    )
    if late:
        found.feed(found.old, ev.Requested())
        found.run(until=3.0)
        found.listen()
    else:
        found.listen()
        found.now = 3.0
        found.feed(found.old, ev.Requested())
    return found


@given(SETS, SETS, CHOICES, st.booleans(), st.integers(0, 7))
def test_an_undisturbed_upgrade_loses_nothing(
    had: list[ListenerKey],
    wanted: list[ListenerKey],
    choices: list[int],
    late: bool,
    idle: int,
) -> None:
    one = world(had, wanted, choices, late=late, idle=idle)
    one.run()
    one.check_end()
    assert one.old.exit is not None
    assert one.old.exit.code == 0
    assert one.new.machine.stage is New.OVER
    assert one.new.alive
    assert one.owner == "new"
    assert one.new.accepting == wanted
    assert sorted([*one.old.conns, *one.new.conns]) == one.all_conns
    assert all(one.old.keys_of[conn] not in wanted for conn in one.old.conns)
    # A dial a quarter of a second after the path was there, and the bake.
    assert one.now == (13.25 if late else 13.0)


@given(SETS, SETS, CHOICES, DELAYS, st.booleans())
def test_delays_never_leave_a_listener_without_anybody(
    had: list[ListenerKey],
    wanted: list[ListenerKey],
    choices: list[int],
    delays: list[float],
    late: bool,
) -> None:
    one = world(had, wanted, choices, delays, late=late)
    one.run()
    one.check_end()
    assert one.now < 300.0
    # One of the two has the service, and the other one knows.
    assert one.owner == ("old" if one.old.machine.stage is Old.OVER else "new")
    assert [process.name for process in one.living()] == [one.owner]


# Workers have claimed two of three clients; and all, and no copy is held any more.
@example([WEB], [WEB], [], 24, True, [])
@example([WEB], [WEB], [], 27, True, [])
@given(SETS, SETS, CHOICES, STEPS, st.booleans(), DELAYS)
def test_a_killed_successor_costs_nothing(
    had: list[ListenerKey],
    wanted: list[ListenerKey],
    choices: list[int],
    step: int,
    late: bool,
    delays: list[float],
) -> None:
    one = world(had, wanted, choices, delays, late=late)
    one.plan[one.steps + step] = [lambda one: one.kill(one.new)]
    one.run()
    one.check_end()
    if one.old.alive:
        assert one.old.machine.stage is Old.OVER
        assert one.old.accepting
        assert sorted(one.old.accepting) == sorted(had)
        assert one.owner == "old"


@given(SETS, SETS, CHOICES, STEPS, DELAYS)
def test_after_a_killed_incumbent_the_successor_serves_or_says_why_not(
    had: list[ListenerKey],
    wanted: list[ListenerKey],
    choices: list[int],
    step: int,
    delays: list[float],
) -> None:
    one = world(had, wanted, choices, delays)
    one.plan[one.steps + step] = [lambda one: one.kill(one.old)]
    one.run()
    one.check_end()
    if one.new.alive:
        assert one.new.accepting == wanted
        assert one.owner == "new"
    else:
        assert one.new.exit is not None
        assert one.new.exit.code == 3
        assert one.new.exit.reason


@given(
    SETS, SETS, CHOICES, STEPS, st.booleans(), DELAYS, st.sampled_from(["", "in use"])
)
def test_a_signal_is_obeyed_and_the_other_one_serves(
    had: list[ListenerKey],
    wanted: list[ListenerKey],
    choices: list[int],
    step: int,
    first: bool,
    delays: list[float],
    workers: str,
) -> None:
    one = world(had, wanted, choices, delays, workers=workers)

    def interrupt(one: World) -> None:
        one.interrupt(one.old if first else one.new)

    one.plan[one.steps + step] = [interrupt]
    one.run()
    one.check_end()
    if not first and one.old.alive:
        assert sorted(one.old.accepting) == sorted(had)


@given(SETS, SETS, CHOICES, DELAYS, st.lists(st.tuples(STEPS, st.booleans())))
def test_whatever_happens_no_descriptor_is_forgotten(
    had: list[ListenerKey],
    wanted: list[ListenerKey],
    choices: list[int],
    delays: list[float],
    kills: list[tuple[int, bool]],
) -> None:
    one = world(had, wanted, choices, delays, times=Times(timeout=2.0, bake=1.0))
    for step, first in kills:
        deed = [World.kill, World.interrupt][step % 2]
        one.plan.setdefault(one.steps + step, []).append(
            lambda one, first=first, deed=deed: deed(one, one.old if first else one.new)
        )
    one.run()
    one.check_end()


# -- frames --------------------------------------------------------------------

NUMBERS = st.integers(0, 2**63 - 1)
PATHS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=27)
LISTENERS = st.sampled_from(KEYS) | PATHS.map(lambda path: listener_key(f"unix:{path}"))
LISTS = st.lists(LISTENERS, max_size=5, unique=True).map(tuple)
ADDRESSES = st.ip_addresses().map(str)
PEERS = st.builds(
    lambda key, host, port, local: IdlePeer(
        key, PeerInfo(host, port, local), proxied=bool(local)
    ),
    LISTENERS,
    ADDRESSES,
    st.integers(0, 65535),
    st.sampled_from(["", "192.0.2.1:80", "[2001:db8::1]:80", "unix:/run/a"]),
)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, st.just(1), NUMBERS, NUMBERS),
    st.builds(Offer, NUMBERS, NUMBERS, LISTS, NUMBERS),
    st.builds(Take, LISTS, st.booleans()),
    st.builds(Fds, LISTS),
    st.builds(Ready, LISTS),
    st.just(Commit()),
    st.builds(Idle, st.lists(PEERS, max_size=4).map(tuple)),
    st.builds(Done, NUMBERS),
    st.builds(
        Abort,
        st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1),
    ),
)


def carried(message: Message) -> int:
    return len(getattr(message, "peers", getattr(message, "keys", ())))


@given(st.lists(MESSAGES, max_size=8), st.lists(st.integers(0, 4000)))
def test_frames_are_read_as_they_were_written(
    messages: list[Message], places: list[int]
) -> None:
    reader = FrameReader(greeting=False)
    found: list[Item] = []
    token, wanted = 0, []
    for message in messages:
        fds: tuple[FdToken, ...] = ()
        if isinstance(message, Fds | Idle):
            count = carried(message)
            fds = tuple(map(FdToken, range(token, token + count)))
            token += count
        wanted.append(Received(message, fds))
        for number, piece in enumerate(cuts.at(encode(message), places)):
            found += reader.receive(piece, () if number else fds)
    assert found == wanted
    assert reader.buffered == 0
    assert reader.unclaimed() == ()


def drain(reader: FrameReader, data: bytes, places: list[int]) -> list[Item]:
    found: list[Item] = []
    for piece in cuts.at(data, places):
        found += reader.receive(piece, ())
        assert reader.buffered < HEADER + MAX_BODY
    return found


@given(
    st.lists(MESSAGES, max_size=4),
    st.integers(0, 1000),
    st.binary(max_size=12),
    st.lists(st.integers(0, 2000)),
    st.booleans(),
)
def test_rubbish_breaks_the_channel_in_the_same_words_however_it_is_cut(
    messages: list[Message],
    place: int,
    rubbish: bytes,
    places: list[int],
    greeting: bool,
) -> None:
    data = b"LBUP 1\n" * greeting + b"".join(map(encode, messages))
    place %= len(data) + 1
    data = data[:place] + rubbish + data[place + len(rubbish) :]
    whole = drain(FrameReader(greeting=greeting), data, [])
    assert drain(FrameReader(greeting=greeting), data, places) == whole
    assert not any(isinstance(item, Broken) for item in whole[:-1])


@given(st.lists(st.tuples(st.binary(min_size=1), st.integers(0, 3)), max_size=20))
def test_any_tokens_are_handed_out_once(chunks: list[tuple[bytes, int]]) -> None:
    reader = FrameReader(greeting=False)
    token, back = 0, []
    for data, count in chunks:
        fds = tuple(map(FdToken, range(token, token + count)))
        token += count
        for item in reader.receive(data, fds):
            back += item.fds if isinstance(item, Received) else ()
    back += reader.unclaimed()
    assert back == list(range(token))
    assert reader.unclaimed() == ()
