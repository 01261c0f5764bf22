"""The life of an exchange, as a table.

Rule: an exchange changes its stage only through `advance`, and everything that
can happen to a stage stands in the table. What to do on a step is code in
`exchange`; whether it may happen at all is decided here. The diagram in
`docs/states.md` is drawn from this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from lbproto.machine.errors import LocalProtocolError

__all__ = [
    "AWAITING",
    "BROKEN",
    "DONE",
    "ENDED",
    "FINAL_HEAD",
    "HEAD",
    "IDLE",
    "REUSED",
    "STREAMING",
    "TRANSITIONS",
    "TUNNEL",
    "Stage",
    "Step",
    "advance",
    "mermaid",
    "passes_on",
]


class Stage(IntEnum):
    """Where an exchange stands, both directions together."""

    IDLE = 0
    """No request yet."""
    CHOOSING = 1
    """The request head is known; a backend is being picked, or waits for its try."""
    CONNECTING = 2
    """A connection to the backend is being made."""
    AWAITING = 3
    """The request goes up; no final response head yet."""
    STREAMING = 4
    """The response comes down."""
    REPLYING = 5
    """The answer is our own."""
    TUNNEL = 6
    """Bytes pass both ways after a 101."""
    DONE = 7


class Step(IntEnum):
    """What moves an exchange on."""

    HEAD = 0
    """A request head has passed the grammar."""
    BAD_HEAD = 1
    """The request was refused before it was complete."""
    LEASED = 2
    """A backend was picked and is being dialled."""
    REUSED = 3
    """A backend was picked and an idle connection to it taken."""
    CONNECTED = 4
    RETRY = 5
    """Nothing is lost yet: another connection gets the request."""
    FINAL_HEAD = 6
    SWITCHED = 7
    GIVE_UP = 8
    """We answer instead of a backend."""
    ENDED = 9
    """The response is complete."""
    BROKEN = 10
    """There will be no complete response."""


TRANSITIONS: Final[Mapping[Stage, Mapping[Step, Stage]]] = {
    Stage.IDLE: {
        Step.HEAD: Stage.CHOOSING,
        Step.BAD_HEAD: Stage.REPLYING,
        Step.BROKEN: Stage.DONE,
    },
    Stage.CHOOSING: {
        Step.LEASED: Stage.CONNECTING,
        Step.REUSED: Stage.AWAITING,
        Step.GIVE_UP: Stage.REPLYING,
        Step.BROKEN: Stage.DONE,
    },
    Stage.CONNECTING: {
        Step.CONNECTED: Stage.AWAITING,
        Step.RETRY: Stage.CHOOSING,
        Step.GIVE_UP: Stage.REPLYING,
        Step.BROKEN: Stage.DONE,
    },
    Stage.AWAITING: {
        Step.FINAL_HEAD: Stage.STREAMING,
        Step.SWITCHED: Stage.TUNNEL,
        Step.RETRY: Stage.CHOOSING,
        Step.GIVE_UP: Stage.REPLYING,
        Step.BROKEN: Stage.DONE,
    },
    Stage.STREAMING: {Step.ENDED: Stage.DONE, Step.BROKEN: Stage.DONE},
    Stage.REPLYING: {Step.ENDED: Stage.DONE},
    Stage.TUNNEL: {Step.ENDED: Stage.DONE, Step.BROKEN: Stage.DONE},
    Stage.DONE: {},
}


# Plain numbers, since every request asks for them several times: to find a member of
# an enumeration takes Python a call.
IDLE: Final = int(Stage.IDLE)
AWAITING: Final = int(Stage.AWAITING)
STREAMING: Final = int(Stage.STREAMING)
TUNNEL: Final = int(Stage.TUNNEL)
DONE: Final = int(Stage.DONE)

HEAD: Final = int(Step.HEAD)
REUSED: Final = int(Step.REUSED)
FINAL_HEAD: Final = int(Step.FINAL_HEAD)
ENDED: Final = int(Step.ENDED)
BROKEN: Final = int(Step.BROKEN)

STEPS: Final = 11
NOWHERE: Final = 255
FOLLOWING: Final = bytes(
    [int(TRANSITIONS[stage].get(step, NOWHERE)) for stage in Stage for step in Step]
)
assert len(FOLLOWING) == STEPS * len(Stage)


def advance(stage: int, step: int) -> int:
    """Return the stage that follows.

    Raises:
        LocalProtocolError: the table has no such step.
    """
    following = FOLLOWING[stage * STEPS + step]
    if following == NOWHERE:
        names = f"step {Step(step).name} from stage {Stage(stage).name}"
        raise LocalProtocolError(f"no {names}")
    return following


def passes_on(stage: int) -> bool:
    """Tell whether a backend has the request, and its words go to the client."""
    return AWAITING <= stage <= STREAMING


def mermaid() -> str:
    """Draw the table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {Stage.IDLE.name}"]
    lines += [
        f"    {stage.name} --> {following.name}: {step.name}"
        for stage, steps in TRANSITIONS.items()
        for step, following in steps.items()
    ]
    lines.append(f"    {Stage.DONE.name} --> [*]")
    return "\n".join(lines) + "\n"
