"""The codecs that one service uses, made ready once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from lbproto.framing.codec import ClientCodec, CodecLimits, ServerCodec
from lbproto.framing.h11codec import H11ClientCodec, H11ServerCodec
from lbproto.framing.native import NativeServerCodec
from lbproto.framing.nativeclient import NativeClientCodec
from lbproto.framing.usual import UsualRequests, UsualResponses

__all__ = ["Framing"]


class Framing:
    """Makes codecs of one kind, with the same limits."""

    __slots__ = ("client", "server")

    server: Callable[[], ServerCodec]
    """Make the codec for a client connection."""
    client: Callable[[], ClientCodec]
    """Make the codec for one exchange with a backend."""

    def __init__(self, kind: Literal["native", "h11"], limits: CodecLimits) -> None:
        if kind == "h11":
            self.server = partial(H11ServerCodec, limits)
            self.client = partial(H11ClientCodec, limits)
        else:
            self.server = partial(NativeServerCodec, UsualRequests(limits))
            self.client = partial(NativeClientCodec, UsualResponses(limits))
