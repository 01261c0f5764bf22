from __future__ import annotations

import itertools

import pytest

from lbproto.proxy.retry import IDEMPOTENT, Failure, may_replay

METHODS = (*sorted(IDEMPOTENT), b"POST", b"PATCH", b"get", b"")


@pytest.mark.parametrize("method", METHODS)
def test_an_unused_connection_is_replaced_for_any_method(method: bytes) -> None:
    for complete in (False, True):
        assert may_replay(
            Failure.STALE, method, held=True, complete=complete, replayed=False
        )


@pytest.mark.parametrize("method", METHODS)
def test_a_request_that_was_written_is_repeated_if_it_is_idempotent(
    method: bytes,
) -> None:
    for complete in (False, True):
        assert may_replay(
            Failure.REUSED_CLOSED, method, held=True, complete=complete, replayed=False
        ) is (complete and method in IDEMPOTENT)


@pytest.mark.parametrize("method", METHODS)
def test_a_fresh_connection_is_no_excuse(method: bytes) -> None:
    assert not may_replay(
        Failure.FRESH_CLOSED, method, held=True, complete=True, replayed=False
    )


@pytest.mark.parametrize(
    ("failure", "method"), list(itertools.product(Failure, (b"GET", b"POST")))
)
def test_never_twice_and_never_without_the_whole_request(
    failure: Failure, method: bytes
) -> None:
    assert not may_replay(failure, method, held=False, complete=True, replayed=False)
    assert not may_replay(failure, method, held=True, complete=True, replayed=True)
