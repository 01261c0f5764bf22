"""What an application may be made of."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from lbproto.machine.errors import Blame, ErrorCode
from lbproto.phases.errors import HttpError, ProxyError
from lbproto.phases.http import PHASES, ProxyHttp, coroutine_phases


class Asynchronous(ProxyHttp[None]):
    async def request_filter(self, session: object, ctx: None) -> bool:
        return False

    async def logging(self, session: object, error: object, ctx: None) -> None:
        pass


class Callable:
    async def __call__(self, *arguments: object) -> None:
        pass


def test_coroutine_functions_are_found() -> None:
    assert coroutine_phases(ProxyHttp()) == ()
    assert coroutine_phases(Asynchronous()) == ("request_filter", "logging")


@pytest.mark.parametrize(
    "phase",
    [Callable(), functools.partial(functools.partial(Callable.__call__, Callable()))],
)
def test_other_things_that_return_coroutines_are_found(phase: Any) -> None:
    application: Any = ProxyHttp()
    application.new_ctx = phase
    assert coroutine_phases(application) == ("new_ctx",)


def test_what_only_looks_like_a_phase_is_none() -> None:
    application: Any = ProxyHttp()
    application.new_ctx = 5
    assert coroutine_phases(application) == ()


def test_phases_are_in_the_order_in_which_they_come() -> None:
    assert PHASES[:3] == ("new_ctx", "on_connection_reuse", "early_request_filter")
    assert PHASES[-2:] == ("logging", "persist_connection_context")


def test_an_error_says_whose_fault_it_is() -> None:
    error = ProxyError(ErrorCode.CONNECT_REFUSED)
    assert (error.blame, error.status, str(error)) == (
        Blame.BACKEND,
        502,
        "connect_refused",
    )
    assert not error.retry
    error.set_retry(True)
    assert error.retry
    assert str(HttpError(429)) == "status 429"
