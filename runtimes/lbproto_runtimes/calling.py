"""Calling what a program has written, on an event loop.

A coroutine function is awaited. A plain function may take its time, so a thread calls
it, and the loop goes on meanwhile.
"""

from __future__ import annotations

import asyncio
from inspect import isawaitable, iscoroutinefunction
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["called"]

T = TypeVar("T")


async def called(function: Callable[..., T | Awaitable[T]], *args: object) -> T:
    """Call a function of either kind, and return what it has to say."""
    waits: bool = iscoroutinefunction(function)
    result = function(*args) if waits else await asyncio.to_thread(function, *args)
    return await result if isawaitable(result) else result
