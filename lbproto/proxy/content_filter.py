"""Content on its way through an application.

What an application makes of content has to fit the head that went before: a
Content-Length is a promise, and where there is none to be (an answer to HEAD, a 304)
nothing comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Generator, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from lbproto.framing.messages import (
    ABSENT,
    COUNTED,
    NO_BODY,
    WITHOUT_CONTENT,
    Body,
    BodyHint,
    End,
    ResponseHead,
    length,
)
from lbproto.proxy.flows import PhaseError

if TYPE_CHECKING:
    from lbproto.phases.session import Session
    from lbproto.proxy.caller import Caller

__all__ = ["ContentFilter", "sized"]


class ContentFilter:
    """The phases that see the content of one message."""

    __slots__ = ("_absent", "_caller", "_left", "_phases")

    def __init__(self, caller: Caller, phases: tuple[str, ...]) -> None:
        self._caller = caller
        self._phases = phases
        self._absent = True
        self._left: int | None = None

    def expect(self, body: BodyHint) -> None:
        """A message begins whose head announces this."""
        self._absent = body.kind is ABSENT
        self._left = body.length if body.kind is COUNTED else None

    def pieces(
        self, pieces: Iterable[Body | End], session: Session, ctx: object
    ) -> Generator[Awaitable[object], object, list[Body | End]]:
        """Have phases change pieces of content; the last one comes with the end.

        Raises:
            PhaseError: a phase did something wrong, or it does not fit the head.
        """
        waiting, out = deque(pieces), list[Body | End]()
        while waiting:
            piece = waiting.popleft()
            data = piece.data if isinstance(piece, Body) else b""
            end: Body | End | None = piece if isinstance(piece, End) else None
            if waiting and isinstance(waiting[0], End):
                end = waiting.popleft()
            changed = data
            for phase in self._phases:
                told = yield from self._caller.call(
                    phase, session, changed, end is not None, ctx
                )
                if told is not None:
                    changed = _content(phase, told)
            if changed is not data:
                piece = Body(piece.stream, changed)
            if changed and self._takes(len(changed)):
                out.append(piece)
            if end is not None:
                self._ends()
                out.append(end)
        return out

    def _takes(self, count: int) -> bool:
        if self._left is not None:
            if count > self._left:
                raise self._wrong("more content than Content-Length says")
            self._left -= count
        return not self._absent

    def _ends(self) -> None:
        if self._left:
            raise self._wrong("less content than Content-Length says")

    def _wrong(self, what: str) -> PhaseError:
        return PhaseError(self._phases[-1], ValueError(what))


def sized(out: ResponseHead, method: str) -> ResponseHead:
    """Leave no content where there can be none, and an empty one where there was none.

    `method` is what the client has asked with; an application may have asked a backend
    with another one, or changed the status.
    """
    if method == "HEAD" or out.status in WITHOUT_CONTENT:
        return replace(out, body=NO_BODY)
    if out.body.kind is ABSENT:
        out.headers.remove_header(b"content-length")
        return replace(out, body=length(0))
    return out


def _content(phase: str, told: object) -> bytes:
    if not isinstance(told, bytes):
        wrong = TypeError(f"{type(told).__name__} is not bytes")
        raise PhaseError(phase, wrong)
    return told
