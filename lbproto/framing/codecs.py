"""The codecs that one service uses, made ready once."""

from __future__ import annotations

from typing import Literal

from lbproto.framing.codec import ClientCodec, CodecLimits, ServerCodec
from lbproto.framing.h11codec import H11ClientCodec, H11ServerCodec
from lbproto.framing.native import NativeServerCodec
from lbproto.framing.nativeclient import NativeClientCodec
from lbproto.framing.usual import UsualRequests, UsualResponses

__all__ = ["Framing"]


class Framing:
    """Makes codecs of one kind, with the same limits."""

    __slots__ = ("_limits", "_requests", "_responses")

    def __init__(self, kind: Literal["native", "h11"], limits: CodecLimits) -> None:
        self._limits = limits if kind == "h11" else None
        self._requests = UsualRequests(limits)
        self._responses = UsualResponses(limits)

    def server(self) -> ServerCodec:
        """Make the codec for a client connection."""
        if self._limits is not None:
            return H11ServerCodec(self._limits)
        return NativeServerCodec(self._requests)

    def client(self) -> ClientCodec:
        """Make the codec for one exchange with a backend."""
        if self._limits is not None:
            return H11ClientCodec(self._limits)
        return NativeClientCodec(self._responses)
