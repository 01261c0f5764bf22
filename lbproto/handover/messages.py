"""What the two sides say: a record for each type of frame, and its JSON.

What is read is checked to the last type: a name twice, a number that is a string or
a key without the form of one is refused. A name nobody knows is passed over, so
that a later version may say more.

| frame | from | says |
|---|---|---|
| `H` `Hello` | successor | who it is and which version it speaks |
| `O` `Offer` | incumbent | which listeners it has |
| `T` `Take` | successor | which of them it wants |
| `F` `Fds` | incumbent | here are some, with their descriptors |
| `R` `Ready` | successor | its workers accept on these |
| `C` `Commit` | incumbent | it has stopped accepting: the service is yours |
| `I` `Idle` | incumbent | idle connections, with their descriptors |
| `D` `Done` | incumbent | that was all |
| `A` `Abort` | either | give up: everyone is as before |
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Final, NoReturn, TypeAlias

from lbproto.handover.keys import ListenerKey, is_key
from lbproto.machine.errors import LbError
from lbproto.machine.events import PeerInfo
from lbproto.machine.values import value

__all__ = [
    "KINDS",
    "MAX_FDS",
    "VERSION",
    "Abort",
    "Commit",
    "Done",
    "Fds",
    "Hello",
    "Idle",
    "IdlePeer",
    "Malformed",
    "Message",
    "Offer",
    "Ready",
    "Take",
    "body",
    "descriptors",
    "idle_json",
    "parse",
]

VERSION: Final = 1
MAX_FDS: Final = 200
"""Descriptors of one frame; the kernel would let 253 pass."""
_MAX_REASON: Final = 200
_MAX_NUMBER: Final = 2**63 - 1


class Malformed(LbError):
    """A body is not what its type asks for; raised and caught in this package."""


@value
class Hello:
    """The successor is there."""

    version: int
    pid: int
    generation: int


@value
class Offer:
    """Every listener of the incumbent."""

    pid: int
    generation: int
    keys: tuple[ListenerKey, ...]
    connections: int
    """How many idle connections it could hand over."""


@value
class Take:
    """Those that the successor's configuration wants."""

    keys: tuple[ListenerKey, ...]
    connections: bool
    """Idle connections are welcome."""


@value
class Fds:
    """Some of the taken listeners, and as many descriptors."""

    keys: tuple[ListenerKey, ...]


@value
class Ready:
    """The successor's workers accept on these."""

    keys: tuple[ListenerKey, ...]


@value
class Commit:
    """The incumbent has stopped accepting."""


@value
class IdlePeer:
    """An idle keep-alive connection without TLS."""

    key: ListenerKey
    """The listener it came through."""
    peer: PeerInfo
    """Who it is for; `local` crosses only if `proxied`, else it is empty and the
    descriptor knows it."""
    proxied: bool
    """A PROXY header told who it is for."""


@value
class Idle:
    """Some idle connections, and as many descriptors."""

    peers: tuple[IdlePeer, ...]


@value
class Done:
    """Nothing more to hand over."""

    in_flight: int
    """How many connections the incumbent will still see to their end."""


@value
class Abort:
    """Give up: everyone is as before."""

    reason: str


Message: TypeAlias = Hello | Offer | Take | Fds | Ready | Commit | Idle | Done | Abort

KINDS: Final[Mapping[type, bytes]] = {
    Hello: b"H",
    Offer: b"O",
    Take: b"T",
    Fds: b"F",
    Ready: b"R",
    Commit: b"C",
    Idle: b"I",
    Done: b"D",
    Abort: b"A",
}
"""The type byte of each record."""


def descriptors(message: Message) -> int:
    """Return how many descriptors ride on a message."""
    match message:
        case Fds(keys):
            return len(keys)
        case Idle(peers):
            return len(peers)
        case _:
            return 0


# -- writing -------------------------------------------------------------------


def body(message: Message) -> bytes:
    """Write the JSON of a message."""
    text = json.dumps(_fields(message), ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8")


def _fields(message: Message) -> dict[str, object]:
    match message:
        case Hello(version, pid, generation):
            return {"version": version, "pid": pid, "generation": generation}
        case Offer(pid, generation, keys, connections):
            who = {"pid": pid, "generation": generation}
            return {**who, "keys": keys, "connections": connections}
        case Take(keys, wanted):
            return {"keys": keys, "connections": wanted}
        case Fds(keys) | Ready(keys):
            return {"keys": keys}
        case Idle(peers):
            return {"peers": [idle_json(one) for one in peers]}
        case Done(in_flight):
            return {"in_flight": in_flight}
        case Abort(reason):
            return {"reason": _plain(reason)}
        case _:
            return {}


def idle_json(idle: IdlePeer) -> dict[str, object]:
    """Return what a frame says of one idle connection."""
    peer, host = idle.peer, idle.peer.address
    if host != "unix:":
        host = f"[{host}]:{peer.port}" if ":" in host else f"{host}:{peer.port}"
    said = {"key": idle.key, "peer": host, "proxied": idle.proxied}
    told = idle.proxied and _is_local(peer.local)
    return {**said, "local": peer.local} if told else said


def _plain(text: str) -> str:
    """Make a line for a log of any text."""
    shown = "".join(one if one.isprintable() else "?" for one in text[:_MAX_REASON])
    return shown or "no reason given"


# -- reading -------------------------------------------------------------------


_Body: TypeAlias = dict[str, object]


def parse(kind: bytes, data: bytes) -> Message:
    """Read the JSON of a frame of a known type.

    Raises:
        Malformed: it is not what the type asks for.
    """
    try:
        found: object = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_name_twice,
            parse_constant=_no_constant,
        )
    except (ValueError, RecursionError):
        # Also not UTF-8, and a number of thousands of digits.
        raise Malformed("no JSON") from None
    if not isinstance(found, dict):
        raise Malformed("no JSON object")
    return _PARSERS[kind](found)


def _no_name_twice(pairs: list[tuple[str, object]]) -> _Body:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("a name twice in an object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise Malformed(f"{name} is no JSON")


def _number(found: _Body, name: str) -> int:
    number = found.get(name)
    # True is an int to Python, but not to JSON.
    if type(number) is not int or not 0 <= number <= _MAX_NUMBER:
        raise Malformed(f"{name} is no number")
    return number


def _text(found: _Body, name: str) -> str:
    text = found.get(name)
    if not isinstance(text, str):
        raise Malformed(f"{name} is no string")
    return text


def _flag(found: _Body, name: str) -> bool:
    flag = found.get(name)
    if not isinstance(flag, bool):
        raise Malformed(f"{name} is neither true nor false")
    return flag


def _list(found: _Body, name: str) -> Sequence[object]:
    items = found.get(name)
    if not isinstance(items, list):
        raise Malformed(f"{name} is no list")
    return items


def _key(text: object) -> ListenerKey:
    if not isinstance(text, str) or not is_key(text):
        raise Malformed("a key has not the form of one")
    return ListenerKey(text)


def _keys(found: _Body) -> tuple[ListenerKey, ...]:
    keys = tuple(_key(one) for one in _list(found, "keys"))
    if len(set(keys)) != len(keys):
        raise Malformed("a key twice")
    return keys


def _few(items: Sequence[object]) -> None:
    if len(items) > MAX_FDS:
        raise Malformed(f"more than {MAX_FDS} descriptors in a frame")


def _fds(found: _Body) -> Fds:
    keys = _keys(found)
    _few(keys)
    return Fds(keys)


_PEER: Final = re.compile(
    r"(?:\[([0-9A-Fa-f:.]{2,45}+(?:%[0-9A-Za-z._-]{1,32}+)?)\]|([0-9.]{7,15}+))"
    r":([0-9]{1,5}+)"
)


def _peer(text: str, local: str) -> PeerInfo:
    if text == "unix:":
        return PeerInfo("unix:", 0, local)
    if not (found := _PEER.fullmatch(text)) or int(found[3]) > 0xFFFF:
        raise Malformed("a peer is no address")
    try:
        address = str(ip_address(found[1] or found[2]))
    except ValueError:
        raise Malformed("a peer is no address") from None
    return PeerInfo(address, int(found[3]), local)


def _is_local(text: str) -> bool:
    if text.startswith("unix:"):
        return is_key(text)
    return _PEER.fullmatch(text) is not None


def _idle_peer(found: object) -> IdlePeer:
    if not isinstance(found, dict):
        raise Malformed("a peer is no object")
    proxied = found.get("proxied") is not None and _flag(found, "proxied")
    local = ""
    if proxied and "local" in found:
        local = _text(found, "local")
        if not _is_local(local):
            raise Malformed("local is no address")
    return IdlePeer(_key(found.get("key")), _peer(_text(found, "peer"), local), proxied)


def _idle(found: _Body) -> Idle:
    peers = _list(found, "peers")
    _few(peers)
    return Idle(tuple(_idle_peer(one) for one in peers))


def _hello(found: _Body) -> Hello:
    version = _number(found, "version")
    if version != VERSION:
        return Hello(version, 0, 0)  # what else it says is for those who know it
    return Hello(version, _number(found, "pid"), _number(found, "generation"))


def _offer(found: _Body) -> Offer:
    pid, generation = _number(found, "pid"), _number(found, "generation")
    return Offer(pid, generation, _keys(found), _number(found, "connections"))


_PARSERS: Final[Mapping[bytes, Callable[[_Body], Message]]] = {
    b"H": _hello,
    b"O": _offer,
    b"T": lambda found: Take(_keys(found), _flag(found, "connections")),
    b"F": _fds,
    b"R": lambda found: Ready(_keys(found)),
    b"C": lambda found: Commit(),
    b"I": _idle,
    b"D": lambda found: Done(_number(found, "in_flight")),
    b"A": lambda found: Abort(_plain(_text(found, "reason"))),
}
