"""What a master learns and what it does: the words of the `Supervisor`.

Facts come in, deeds go out; neither names a process of the system, only workers by
their numbers.
"""

from __future__ import annotations

from typing import NewType, TypeAlias

from lbproto.machine.effects import Log
from lbproto.machine.values import value
from lbproto.processes.channel import Message

__all__ = [
    "Deed",
    "Down",
    "Exit",
    "Exited",
    "Fact",
    "Interrupted",
    "Kill",
    "Left",
    "Ready",
    "Renewed",
    "Reopened",
    "Resumed",
    "Start",
    "Started",
    "Tell",
    "Terminated",
    "Terms",
    "Tick",
    "Up",
    "WorkerId",
    "Yielded",
]

WorkerId = NewType("WorkerId", int)
"""One worker process; 1, 2, 3, ..."""


@value
class Terms:
    """What a configuration says about its workers."""

    workers: int
    grace: float
    timeout: float
    """Seconds, as in `Drain`."""


# -- facts -------------------------------------------------------------------


@value
class Started:
    """The master runs; workers are to be started."""


@value
class Ready:
    """A worker accepts clients."""

    worker: WorkerId


@value
class Exited:
    """A worker's process is gone."""

    worker: WorkerId
    how: str
    """`status 0`, `signal SIGKILL`."""
    clean: bool
    """It ended by itself, without an error."""


@value
class Terminated:
    """The operator asks for a graceful stop (SIGTERM)."""


@value
class Interrupted:
    """The operator asks for a fast stop (SIGINT)."""


@value
class Reopened:
    """The operator has moved the logs away (SIGUSR1)."""


@value
class Renewed:
    """There is a new configuration, and it was checked (SIGHUP)."""

    terms: Terms


@value
class Yielded:
    """Another process has the service: workers end when their clients do."""

    left: bool
    """Some listeners are still ours, and want workers."""


@value
class Resumed:
    """The service is ours again."""


@value
class Left:
    """Nothing is left to serve: the end is when the last client's is."""


@value
class Tick:
    """`deadline` has come."""


Fact: TypeAlias = (
    Started
    | Ready
    | Exited
    | Terminated
    | Interrupted
    | Reopened
    | Renewed
    | Yielded
    | Resumed
    | Left
    | Tick
)


# -- deeds -------------------------------------------------------------------


@value
class Start:
    """Start a worker's process, on a generation's configuration."""

    worker: WorkerId
    generation: int


@value
class Tell:
    """Send a message to a worker."""

    worker: WorkerId
    message: Message


@value
class Kill:
    """Kill a worker's process."""

    worker: WorkerId


@value
class Up:
    """A generation serves: all its workers are ready, the ones before it drain."""

    generation: int


@value
class Down:
    """A generation is given up before it served: what only it had can go."""

    generation: int


@value
class Exit:
    """All is over; end with this status."""

    status: int


Deed: TypeAlias = Start | Tell | Kill | Up | Down | Exit | Log
