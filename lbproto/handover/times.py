"""How long the two sides have patience; all in seconds."""

from __future__ import annotations

from typing import Final

from lbproto.machine.values import value

__all__ = ["GREETING_TIME", "HELD", "LINGER", "QUIET", "RETRY", "Times"]

GREETING_TIME: Final = 0.25
"""Whoever says nothing for so long after it accepted is a Pingora process."""

HELD: Final = 0.5
"""How long copies of idle connections are held after they have left: on their way from
one process of the successor to another, they are lost if the first is killed."""

RETRY: Final = 0.25
"""From one dial to the next; a Pingora successor listens for six seconds only."""

LINGER: Final = 5.0
"""How long to go on accepting after Pingora's message; nothing says it is ready."""

QUIET: Final = 0.25
"""Pingora's message has no end of its own: it is over when so long nothing came."""


@value
class Times:
    """What the operator may set."""

    timeout: float = 30.0
    """For the other side to come, and then for each of its steps."""
    bake: float = 10.0
    """After COMMIT the incumbent stays, to take the service back if need be."""
