"""What the incumbent waits for, and what follows.

Until COMMIT has left, every failure has one answer: go on serving, and say why. From
then on the successor owns the service; the incumbent stays for `bake` seconds, with
its listeners open, and takes the service back if the successor is gone before.

| stage | waits for | then | failure, EOF, ABORT or no answer in time |
|---|---|---|---|
| `IDLE` | `Requested` | dial | |
| `DIALLING` | `PeerConnected` | | dial again; in the end go on serving |
| `GREETING` | the greeting, 250 ms | nothing came: Pingora's message | go on serving |
| `HELLO` | HELLO | OFFER; ABORT if another upgrade runs | go on serving |
| `TAKE` | TAKE | FDS, in batches | go on serving |
| `READY` | READY | stop accepting what was taken | go on serving |
| `STOPPING` | `AcceptingStopped` | COMMIT | accept again |
| `COMMITTING` | `Sent` | yield the service, collect idle connections | accept again |
| `COLLECTING` | `IdleOffered` | drain the rest | take the service back |
| `HANDING` | `Sent` | the next IDLE; after the last DONE | take the service back |
| `BAKING` | the end of `bake`, DONE | close listeners, exit 0 | take the service back |
| `TABLE` | `Sent`, of Pingora's message | hang up | go on serving |
| `LINGERING` | 5 s | stop accepting | |
| `RETIRING` | `AcceptingStopped` | drain, close listeners, exit 0 | |
| `LEFT` | the end of the process | | |
| `OVER` | nothing: the machine is done, the process serves | | |

A signal is obeyed in each: ABORT if the successor does not own the service yet, then
`Stop`. Listeners that nobody took are served until the bake is over, and closed when
their queues are empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from lbproto.handover.messages import Hello, Ready, Take

__all__ = [
    "ASKING",
    "CHANNEL",
    "COMMITTED",
    "EXPECTED",
    "STOPPED",
    "TALKING",
    "Stage",
]


class Stage(Enum):
    """What the incumbent waits for."""

    IDLE = auto()
    DIALLING = auto()
    GREETING = auto()
    HELLO = auto()
    TAKE = auto()
    READY = auto()
    STOPPING = auto()
    COMMITTING = auto()
    COLLECTING = auto()
    HANDING = auto()
    BAKING = auto()
    TABLE = auto()
    LINGERING = auto()
    RETIRING = auto()
    LEFT = auto()
    OVER = auto()


EXPECTED: Final[Mapping[Stage, type]] = {
    Stage.HELLO: Hello,
    Stage.TAKE: Take,
    Stage.READY: Ready,
}
"""The one message that moves a stage on; ABORT is right wherever there is a peer."""

ASKING: Final = (Stage.HELLO, Stage.TAKE, Stage.READY, Stage.STOPPING)
"""The successor is told when we give up."""
STOPPED: Final = (Stage.STOPPING, Stage.COMMITTING)
"""Nothing is accepted on what was taken, and the service is still ours."""
COMMITTED: Final = (Stage.COLLECTING, Stage.HANDING, Stage.BAKING)
TALKING: Final = (*ASKING, Stage.COMMITTING, *COMMITTED)
CHANNEL: Final = (Stage.DIALLING, Stage.GREETING, Stage.TABLE, *TALKING)
