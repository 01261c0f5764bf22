"""Backends as a program writes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from lbproto.config import Backend
from lbproto.config.addresses import backend_target
from lbproto.config.shown import shown
from lbproto.machine.effects import Target
from lbproto.machine.errors import LbError

__all__ = ["Address", "AddressError", "backend_of", "backends_of"]

MAX_WEIGHT: Final = 65535

Address: TypeAlias = Backend | Target | str | tuple[str, int]
"""A backend; or `host:port`, `[v6]:port` or `unix:/path`, perhaps with a weight."""


class AddressError(LbError, ValueError):
    """What was given for a backend is none; the message names it."""


def backend_of(address: Address) -> Backend:
    """Read one backend.

    Raises:
        AddressError: it is none.
    """
    match address:
        case Backend():
            _weight(address.weight, str(address.target))
            return address
        case Target():
            return Backend(target=address)
        case (text, weight):
            return Backend(target=_target(text), weight=_weight(weight, text))
    return Backend(target=_target(address))


def backends_of(addresses: Iterable[Address]) -> tuple[Backend, ...]:
    """Read backends; of several at one address the first counts.

    Raises:
        AddressError: one of them is none.
    """
    found = map(backend_of, addresses)
    distinct: dict[str, Backend] = {}
    for backend in found:
        distinct.setdefault(str(backend.target), backend)
    return tuple(distinct.values())


def _weight(value: object, text: object) -> int:
    if type(value) is not int or not 1 <= value <= MAX_WEIGHT:
        message = f"got the weight {shown(value)} for {shown(text)}"
        raise AddressError(f"{message}, expected 1-{MAX_WEIGHT}")
    return value


def _target(value: object) -> Target:
    try:
        return backend_target(value)
    except ValueError as error:
        raise AddressError(str(error)) from None
